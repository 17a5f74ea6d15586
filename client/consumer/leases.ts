import { LeaseLostError, ProcessingTimeoutError } from "../errors.ts";
import type { GroupClient } from "../group.ts";
import { MAX_TIMER_MS } from "../pause.ts";
import { elapsedMs, moment } from "./elapsed.ts";
import type { Received } from "./received.ts";
import { MAX_LEASES } from "./settlements.ts";

export interface LeasesOptions {
  readonly group: GroupClient;
  /** After so long nobody's lease is extended any more. */
  readonly maxProcessingMs: number;
  /** Told that another delivery holds the message by now. */
  lost(message: Received): void;
  extended(count: number): void;
  failed(error: unknown): void;
}

/** A third of a lease leaves time for two attempts more. */
const PARTS = 3;
/** How long to wait after an attempt that failed, as a part of a lease. */
const RETRY_PARTS = 20;
const MIN_PAUSE_MS = 50;

/** What is held, buffered or worked on, and the one timer that keeps its leases from ending. */
export class Leases {
  readonly #held = new Set<Received>();
  readonly #options: LeasesOptions;
  #ackWaitMs = 30_000;
  #extending: { readonly messages: ReadonlySet<Received>; readonly done: Promise<void> } | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAtMs = 0;
  readonly #stop = new AbortController();

  constructor(options: LeasesOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#held.size;
  }

  get ackWaitMs(): number {
    return this.#ackWaitMs;
  }

  /** @param ackWaitMs how long the leases of these run */
  hold(messages: readonly Received[], ackWaitMs: number): void {
    this.#ackWaitMs = ackWaitMs;
    for (const message of messages) this.#held.add(message);
    if (messages.length > 0) this.#armFor(this.#refreshMs());
  }

  has(message: Received): boolean {
    return this.#held.has(message);
  }

  all(): Received[] {
    return [...this.#held];
  }

  /** Somebody begins to work on it. */
  started(message: Received): void {
    const { maxProcessingMs } = this.#options;
    message.startedAtMs = performance.now();
    // The timer is there already, and early enough, but for the first of them: nothing else is done for each message.
    if (this.#timer === undefined || message.startedAtMs + maxProcessingMs < this.#timerAtMs)
      this.#armFor(maxProcessingMs);
  }

  /** It is not extended any more. */
  drop(message: Received): void {
    this.#held.delete(message);
    if (this.#held.size === 0) this.#disarm();
  }

  /** Whether its lease may have ended: the process stood still, or a clock was set. */
  isDoubtful(message: Received): boolean {
    return elapsedMs(message.heldSince) >= this.#ackWaitMs;
  }

  /** @returns when an extension on its way that has this message is over; undefined: there is none */
  extensionOf(message: Received): Promise<void> | undefined {
    return this.#extending?.messages.has(message) ? this.#extending.done : undefined;
  }

  /** Extends these now. Never two requests at once: the one on its way ends first. */
  async extend(messages: readonly Received[]): Promise<void> {
    while (this.#extending !== undefined) await this.#extending.done;
    // What is done only waits for the extension before this one to be settled.
    const held = messages.filter((message) => this.#held.has(message) && message.stage !== "done").slice(0, MAX_LEASES);
    if (held.length === 0 || this.#stop.signal.aborted) return;
    const done = this.#request(held).finally(() => {
      this.#extending = undefined;
      this.#arm();
    });
    this.#extending = { messages: new Set(held), done };
    await done;
  }

  /**
   * Extends nothing any more, and calls off what is on its way: that comes too late for what is settled meanwhile.
   * @returns when that is over
   */
  stop(): Promise<void> {
    this.#disarm();
    this.#stop.abort();
    return this.#extending?.done ?? Promise.resolve();
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #request(messages: readonly Received[]): Promise<void> {
    const { group, lost, extended, failed } = this.#options;
    const sentAt = moment();
    try {
      const settled = await group.settle(
        { extends: messages.map(({ lease }) => lease) },
        // One that takes longer could end after the leases.
        {
          retry: 0,
          timeoutMs: Math.min(group.timeoutMs, Math.max(MIN_PAUSE_MS, this.#ackWaitMs / PARTS)),
          signal: this.#stop.signal,
        },
      );
      const stale = new Set(settled.stale.map(({ lease }) => lease));
      for (const message of messages) {
        if (!stale.has(message.lease)) message.heldSince = sentAt;
        else if (this.#held.delete(message)) {
          message.abort(new LeaseLostError("lease-lost", `another delivery holds the message ${message.id} by now`));
          lost(message);
        }
      }
      extended(settled.extended);
    } catch (error) {
      if (!this.#stop.signal.aborted) failed(error);
    }
  }

  #tick(): void {
    this.#timer = undefined;
    const due: Received[] = [];
    for (const message of this.#held) {
      if (this.#isOver(message)) this.#giveUp(message);
      // What was handed out just before would have to be extended again with what comes next.
      else if (elapsedMs(message.heldSince) >= this.#ackWaitMs / PARTS / 2) due.push(message);
    }
    if (due.length > 0) void this.extend(due);
    else this.#arm();
  }

  #isOver(message: Received): boolean {
    return message.stage === "running" && this.#leftMs(message) <= 0;
  }

  /** It stays held: whoever works on it may settle it until its lease has ended. */
  #giveUp(message: Received): void {
    if (message.isAborted) return;
    const { maxProcessingMs } = this.#options;
    const words = `the message ${message.id} was worked on for ${maxProcessingMs} ms; its lease is not extended any more`;
    message.abort(new ProcessingTimeoutError("processing-timeout", words));
  }

  /** For what is held the longest, soon after an attempt that failed; or for what nobody may work on any longer. */
  #arm(): void {
    if (this.#held.size === 0) return;
    let oldestMs = 0;
    let overInMs = Number.POSITIVE_INFINITY;
    for (const message of this.#held) {
      if (this.#isOver(message)) continue;
      oldestMs = Math.max(oldestMs, elapsedMs(message.heldSince));
      if (message.stage === "running") overInMs = Math.min(overInMs, this.#leftMs(message));
    }
    const refreshInMs = Math.max(this.#refreshMs() - oldestMs, this.#ackWaitMs / RETRY_PARTS, MIN_PAUSE_MS);
    this.#armFor(Math.min(refreshInMs, overInMs));
  }

  /** How much longer it may be worked on. */
  #leftMs({ startedAtMs }: Received): number {
    return startedAtMs + this.#options.maxProcessingMs - performance.now();
  }

  #armFor(ms: number): void {
    if (this.#stop.signal.aborted) return;
    const atMs = performance.now() + ms;
    if (this.#timer !== undefined && this.#timerAtMs <= atMs) return;
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    this.#timer = setTimeout(() => this.#tick(), Math.min(ms, MAX_TIMER_MS));
  }

  /** Not at the same moment as all the others that began together. */
  #refreshMs(): number {
    return (this.#ackWaitMs / PARTS) * (0.8 + 0.2 * Math.random());
  }
}
