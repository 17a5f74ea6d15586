// What requests cost at Redis, as each answer's Server-Timing says: `redis;dur=1.2;desc="3 commands, 1 round trip"`.

/** Sums up what it is shown. */
export class Usage {
  requests = 0;
  commands = 0;
  roundTrips = 0;

  /** Counts an answer; one without the header did not touch Redis. */
  add(headers: Headers): void {
    this.requests += 1;
    const match = /\bredis;.*?desc="(\d+) commands?, (\d+) round trips?"/.exec(headers.get("server-timing") ?? "");
    this.commands += Number(match?.[1] ?? 0);
    this.roundTrips += Number(match?.[2] ?? 0);
  }
}
