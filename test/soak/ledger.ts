/** One bit for each message. */
class Bitmap {
  readonly #bytes: Uint8Array;
  count = 0;

  constructor(size: number) {
    this.#bytes = new Uint8Array(Math.ceil(size / 8)).fill(0);
  }

  has(n: number): boolean {
    return ((this.#bytes[n >> 3] ?? 0) & (1 << (n & 7))) !== 0;
  }

  add(n: number): void {
    if (this.has(n)) return;
    this.#bytes[n >> 3] = (this.#bytes[n >> 3] ?? 0) | (1 << (n & 7));
    this.count += 1;
  }
}

export interface Delivered {
  readonly lease: string;
  readonly deliveries: number;
  /** When the request was sent that got it: its lease began then or later. */
  readonly sentAtMs: number;
  readonly receivedAtMs: number;
  /** Whether the consumer asked for what it holds, whose leases are still running. */
  readonly isRecovery: boolean;
}

/** What has become of each message in one group. Of fixed size, but for what is in hand. */
export class Ledger {
  readonly #size: number;
  readonly #ackWaitMs: number;
  readonly #acked: Bitmap;
  readonly #dead: Bitmap;
  /** Acknowledged or dead: it is done. */
  readonly #done: Bitmap;
  /** For each message until when its lease surely runs; 0: it has none that we know of. */
  readonly #leasedUntilMs: Float64Array;
  readonly #numberOf = new Map<string, number>();
  deliveries = 0;
  redelivered = 0;
  crashes = 0;
  retries = 0;
  rejects = 0;
  lateAcks = 0;
  redriven = 0;
  /** Messages that were handed out although a lease was surely still running. */
  early = 0;

  constructor(size: number, ackWaitMs: number) {
    this.#size = size;
    this.#ackWaitMs = ackWaitMs;
    this.#acked = new Bitmap(size);
    this.#dead = new Bitmap(size);
    this.#done = new Bitmap(size);
    // Written once, so that its memory is this process' from the start and not taken for growth.
    this.#leasedUntilMs = new Float64Array(size).fill(0);
  }

  get doneCount(): number {
    return this.#done.count;
  }

  get isComplete(): boolean {
    return this.#done.count === this.#size;
  }

  delivered(n: number, { lease, deliveries, sentAtMs, receivedAtMs, isRecovery }: Delivered): void {
    this.deliveries += 1;
    if (deliveries > 1) this.redelivered += 1;
    if (receivedAtMs < (this.#leasedUntilMs[n] ?? 0) && !isRecovery) this.early += 1;
    this.#leasedUntilMs[n] = sentAtMs + this.#ackWaitMs;
    this.#numberOf.set(lease, n);
  }

  /** Retried or rejected: it may be handed out again at once. */
  released(n: number, lease: string): void {
    this.#leasedUntilMs[n] = 0;
    this.#numberOf.delete(lease);
  }

  /** Leases that nobody knows any more. */
  forget(leases: readonly string[]): void {
    for (const lease of leases) this.#numberOf.delete(lease);
  }

  acknowledged(leases: readonly string[]): void {
    for (const lease of leases) {
      const n = this.#numberOf.get(lease);
      this.#numberOf.delete(lease);
      if (n === undefined) continue;
      this.#acked.add(n);
      this.#done.add(n);
    }
  }

  dead(n: number): void {
    this.#dead.add(n);
    this.#done.add(n);
  }

  missing(): number[] {
    return Array.from({ length: this.#size }, (_, n) => n).filter((n) => !this.#done.has(n));
  }

  summary(): string {
    return `acknowledged ${this.#acked.count}, dead ${this.#dead.count}`;
  }

  report(): string {
    const { deliveries, redelivered, crashes, retries, rejects, lateAcks, redriven } = this;
    const figures = { deliveries, redelivered, crashes, retries, rejects, lateAcks, redriven };
    return `${this.summary()}; ${Object.entries(figures)
      .map(([name, count]) => `${name} ${count}`)
      .join(", ")}`;
  }
}
