import { InvalidRequestError, WeirError } from "../errors.ts";
import type { GroupClient } from "../group.ts";
import { wasNotLetIn } from "../http.ts";
import { backoffMs, MAX_TIMER_MS } from "../pause.ts";
import type { Reject, Retry, Settled, SettleRequest } from "../wire.ts";
import type { Outcome } from "./outcome.ts";

/** As many leases as a request may hold. */
export const MAX_LEASES = 1_000;

const MIN_BACKOFF_MS = 200;
const MAX_BACKOFF_MS = 10_000;

/** Settling by a request that may be sent again; releases go by one of their own, which may not. */
export interface Riding {
  readonly acks: readonly string[];
  readonly retries: readonly Retry[];
  readonly rejects: readonly Reject[];
}

/** Told what came of it. */
export interface SettlementsListener {
  settled(settled: Settled): void;
  failed(error: unknown): void;
}

/** What is to be settled. It rides with the next poll, or goes by a request of its own when none comes in time. */
export class Settlements {
  #acks: string[] = [];
  #retries: Retry[] = [];
  #rejects: Reject[] = [];
  #releases: string[] = [];
  #sending: Promise<void> | undefined;
  #inFlight = 0;
  #unknownReleases = 0;
  #failures = 0;
  /** How long Weir wants to be left alone. */
  #retryAfterMs = 0;
  readonly #stop = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #group: GroupClient;
  readonly #listener: SettlementsListener;
  readonly #delayMs: () => number;

  /** @param delayMs how long something may wait here for a poll that takes it along */
  constructor(group: GroupClient, listener: SettlementsListener, delayMs: () => number) {
    this.#group = group;
    this.#listener = listener;
    this.#delayMs = delayMs;
  }

  /** How many leases are not settled yet, those on their way included. */
  get size(): number {
    return this.#waiting + this.#inFlight;
  }

  /** How many of them would not ride with a poll. */
  get notRiding(): number {
    return this.size - Math.min(MAX_LEASES, this.#waiting - this.#releases.length);
  }

  /** How many leases were given back by a request whose answer was lost: perhaps they were. */
  get unknownReleases(): number {
    return this.#unknownReleases;
  }

  get hasRetries(): boolean {
    return this.#retries.length > 0;
  }

  get #waiting(): number {
    return this.#acks.length + this.#retries.length + this.#rejects.length + this.#releases.length;
  }

  add(lease: string, outcome: Outcome): void {
    switch (outcome.kind) {
      case "ack":
        this.#acks.push(lease);
        break;
      case "retry":
        this.#retries.push({ lease, delayMs: outcome.delayMs, reason: outcome.reason });
        break;
      case "reject":
        this.#rejects.push({ lease, reason: outcome.reason });
        break;
      case "release":
        this.#releases.push(lease);
    }
    this.#arm(this.#delayMs());
  }

  /** What a poll takes along: no releases, since a poll is sent again in effect. The caller says what came of it. */
  take(): Riding {
    const acks = this.#acks.splice(0, MAX_LEASES);
    const retries = this.#retries.splice(0, MAX_LEASES - acks.length);
    const rejects = this.#rejects.splice(0, MAX_LEASES - acks.length - retries.length);
    if (this.#waiting === 0) this.#disarm();
    const riding = { acks, retries, rejects };
    this.#inFlight += count(riding);
    return riding;
  }

  /** They are settled, or settle nothing any more. */
  taken(riding: Riding): void {
    this.#inFlight -= count(riding);
    this.#failures = 0;
  }

  /**
   * They may not be settled: the next request has them again. To settle twice does no harm.
   * @param error what the request met
   */
  putBack({ acks, retries, rejects }: Riding, error: unknown): void {
    this.#inFlight -= acks.length + retries.length + rejects.length;
    this.#acks.unshift(...acks);
    this.#retries.unshift(...retries);
    this.#rejects.unshift(...rejects);
    this.#noteFailure(error);
    if (this.#waiting > 0) this.#arm(this.pauseMs());
  }

  /** How long to wait before the next attempt, after those that failed. */
  pauseMs(minMs = MIN_BACKOFF_MS, maxMs = MAX_BACKOFF_MS): number {
    if (this.#failures === 0) return this.#delayMs();
    return Math.max(backoffMs(this.#failures, minMs, maxMs), this.#retryAfterMs);
  }

  /** Sends what waits, by requests of their own, until nothing does or one of them fails. */
  async send(): Promise<void> {
    while (this.#sending !== undefined) await this.#sending;
    this.#sending = this.#sendAll();
    await this.#sending.finally(() => {
      this.#sending = undefined;
    });
  }

  /** Sends nothing any more, and calls off what is on its way. */
  stop(reason: unknown): void {
    this.#disarm();
    this.#stop.abort(reason);
  }

  #sendInTime(): void {
    this.#timer = undefined;
    void this.send();
  }

  async #sendAll(): Promise<void> {
    this.#disarm();
    while (this.#waiting > 0 && !this.#stop.signal.aborted) {
      const outcomes = await Promise.all([this.#sendSettling(), this.#sendReleases()]);
      if (outcomes.includes(false)) break;
    }
    if (this.#waiting > 0) this.#arm(this.pauseMs());
  }

  /** @returns whether it went well */
  async #sendSettling(): Promise<boolean> {
    const riding = this.take();
    if (count(riding) === 0) return true;
    try {
      const settled = await this.#settle(riding);
      this.taken(riding);
      this.#listener.settled(settled);
      return true;
    } catch (error) {
      // What Weir will never take comes again by itself when its lease ends.
      if (error instanceof InvalidRequestError) this.taken(riding);
      else this.putBack(riding, error);
      this.#listener.failed(error);
      return false;
    }
  }

  async #sendReleases(): Promise<boolean> {
    const releases = this.#releases.splice(0, MAX_LEASES);
    if (releases.length === 0) return true;
    this.#inFlight += releases.length;
    try {
      const settled = await this.#settle({ releases });
      this.#inFlight -= releases.length;
      this.#listener.settled(settled);
      return true;
    } catch (error) {
      this.#inFlight -= releases.length;
      // Never twice, unless nothing ran: a second one could give back what the same name was handed meanwhile.
      if (error instanceof WeirError && wasNotLetIn(error)) this.#releases.unshift(...releases);
      else this.#unknownReleases += releases.length;
      this.#noteFailure(error);
      this.#listener.failed(error);
      return false;
    }
  }

  async #settle(request: SettleRequest): Promise<Settled> {
    const settled = await this.#group.settle(request, { signal: this.#stop.signal, retry: 0 });
    this.#failures = 0;
    return settled;
  }

  #noteFailure(error: unknown): void {
    this.#failures++;
    this.#retryAfterMs = error instanceof WeirError ? (error.retryAfterMs ?? 0) : 0;
  }

  #arm(ms: number): void {
    if (this.#stop.signal.aborted) return;
    this.#timer ??= setTimeout(() => this.#sendInTime(), Math.min(ms, MAX_TIMER_MS));
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

function count({ acks, retries, rejects }: Riding): number {
  return acks.length + retries.length + rejects.length;
}
