import { type Outcome, type Reply, ReplyError } from "../redis/connection.ts";
import type { Call } from "../redis/redis.ts";
import { asText } from "../redis/reply.ts";
import { groupError } from "./missing.ts";
import { STREAM_DEFAULTS } from "./settings.ts";
import type { CachedGroup } from "./settings-cache.ts";
import { both, type Settled, type SettlePlan, settleRest, withSettled } from "./settle.ts";
import type { EventStream } from "./stream.ts";

/** What one step of settling surely takes: see `STEP_BYTES` of `scripts/parts/message-size.lua.ts`. */
const SURE_BYTES = 2 * 1024 * 1024;

/** The settling part of a poll, which is done once. */
export class Settling {
  readonly #stream: EventStream;
  readonly #group: string;
  readonly #plan: SettlePlan;
  #settled: Settled | undefined;
  #areAcksMade = false;
  #handedOutBeside = false;

  constructor(stream: EventStream, group: string, plan: SettlePlan) {
    this.#stream = stream;
    this.#group = group;
    this.#plan = plan;
  }

  get settled(): Settled {
    return this.#settled ?? this.#plan.decode([]).settled;
  }

  /** The calls to send before the poll. */
  get calls(): readonly Call[] {
    if (this.#settled !== undefined) return [];
    // A rejected message must not be handed out again, so the settling script always runs before the poll.
    return this.#plan.calls.map((call) => ("script" in call ? { ...call, inTurn: true as const } : call));
  }

  /** What the poll beside must not hand out. */
  get moving(): string {
    return this.#plan.moving;
  }

  /** What the script of a reclaim poll is to acknowledge. */
  get acks(): string {
    return this.#areAcksMade ? "" : this.#plan.uncertain.argument;
  }

  /** Settles in round trips of its own what may be too much for one step. */
  async ahead({ maxMessageBytes }: Pick<CachedGroup, "maxMessageBytes"> = STREAM_DEFAULTS): Promise<void> {
    const { moves, calls } = this.#plan;
    if (moves <= 1 || moves * maxMessageBytes <= SURE_BYTES) return;
    const outcomes = await this.#stream.redis.pipeline(calls);
    await this.#takeSettled(outcomes);
    const refused = outcomes.find((outcome) => outcome instanceof ReplyError);
    if (refused !== undefined) throw this.told(await groupError(this.#stream, this.#group, refused));
  }

  /**
   * Takes what the calls and the poll after them were answered.
   * @returns the poll's answer
   * @throws {ReplyError} what Redis answered instead, to the poll or a call before it
   */
  async take(outcomes: readonly Outcome[]): Promise<Reply> {
    const [before, poll = null] = [outcomes.slice(0, -1), outcomes.at(-1)];
    if (this.#settled === undefined) await this.#takeSettled(before);
    const refused = before.find((outcome) => outcome instanceof ReplyError);
    this.#handedOutBeside = refused !== undefined && !(poll instanceof ReplyError);
    if (refused !== undefined) {
      // Only the script of a reclaim poll has any to make.
      if (this.acks !== "" && Array.isArray(poll)) this.takeAcks(poll[1], poll[2]);
      throw refused;
    }
    if (poll instanceof ReplyError) throw poll;
    // When Redis refused the script new messages, it answers Redis' words, so that its commands still count.
    if (Array.isArray(poll) && poll[0] === "refused") {
      this.takeAcks(poll[2], poll[3]);
      throw new ReplyError(asText(poll[1]));
    }
    return poll;
  }

  /** Takes what a reclaim poll acknowledged. */
  takeAcks(acked: Reply | undefined, foreign: Reply | undefined): void {
    if (this.#areAcksMade) return;
    this.#areAcksMade = true;
    this.#settled = both(this.#plan.uncertain.decode(acked, foreign), this.settled);
  }

  /** An error that ends the poll, with what was done all the same. */
  told(error: unknown): unknown {
    if (this.#settled === undefined) return error;
    const beside = this.#handedOutBeside ? "; what was handed out beside comes again when its leases end" : "";
    return withSettled(error, this.#settled, beside);
  }

  async #takeSettled(outcomes: readonly Outcome[]): Promise<void> {
    const first = this.#plan.decode(outcomes);
    this.#settled = first.settled;
    this.#settled = await settleRest(this.#stream, this.#group, first);
  }
}
