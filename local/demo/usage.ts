import type { Attempt } from "../../client/index.ts";

/** Sums up what requests cost at Redis. */
export class Usage {
  requests = 0;
  commands = 0;
  roundTrips = 0;

  /** Counts an answer; one that tells no cost did not touch Redis. */
  add({
    status,
    redisCommands = 0,
    redisRoundTrips = 0,
  }: Pick<Attempt, "status" | "redisCommands" | "redisRoundTrips">) {
    if (status === undefined) return;
    this.requests += 1;
    this.commands += redisCommands;
    this.roundTrips += redisRoundTrips;
  }
}
