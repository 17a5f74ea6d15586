import { InvalidRequestError, WeirError } from "../errors.ts";
import type { GroupClient } from "../group.ts";
import { backoffMs } from "../pause.ts";
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
    this.#timer ??= setTimeout(() => this.#sendInTime(), this.#delayMs());
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
  }

  /** They may not be settled: the next request has them again. To settle twice does no harm. */
  putBack({ acks, retries, rejects }: Riding): void {
    this.#inFlight -= acks.length + retries.length + rejects.length;
    this.#acks.unshift(...acks);
    this.#retries.unshift(...retries);
    this.#rejects.unshift(...rejects);
    if (this.#waiting > 0) this.#timer ??= setTimeout(() => this.#sendInTime(), this.#delayMs());
  }

  /**
   * Sends what waits, by requests of their own, until nothing does or one of them fails.
   * @param signal gives up
   */
  async send(signal?: AbortSignal): Promise<void> {
    while (this.#sending !== undefined) await this.#sending;
    this.#sending = this.#sendAll(signal);
    await this.#sending.finally(() => {
      this.#sending = undefined;
    });
  }

  /** Sends no more by itself. */
  stop(): void {
    this.#disarm();
  }

  #sendInTime(): void {
    this.#timer = undefined;
    void this.send();
  }

  async #sendAll(signal: AbortSignal | undefined): Promise<void> {
    this.#disarm();
    while (this.#waiting > 0) {
      const outcomes = await Promise.all([this.#sendSettling(signal), this.#sendReleases(signal)]);
      if (outcomes.includes(false)) break;
    }
    if (this.#waiting === 0 || signal !== undefined) return;
    const ms = Math.max(this.#delayMs(), backoffMs(this.#failures, MIN_BACKOFF_MS, MAX_BACKOFF_MS));
    this.#timer ??= setTimeout(() => this.#sendInTime(), ms);
  }

  /** @returns whether it went well */
  async #sendSettling(signal: AbortSignal | undefined): Promise<boolean> {
    const riding = this.take();
    if (count(riding) === 0) return true;
    try {
      await this.#settle(riding, signal);
      this.taken(riding);
      return true;
    } catch (error) {
      // What Weir will never take comes again by itself when its lease ends.
      if (error instanceof InvalidRequestError) this.taken(riding);
      else this.putBack(riding);
      return this.#fail(error);
    }
  }

  async #sendReleases(signal: AbortSignal | undefined): Promise<boolean> {
    const releases = this.#releases.splice(0, MAX_LEASES);
    if (releases.length === 0) return true;
    this.#inFlight += releases.length;
    try {
      await this.#settle({ releases }, signal);
      return true;
    } catch (error) {
      // Never twice, unless nothing ran: a second one could give back what the same name was handed meanwhile.
      if (error instanceof WeirError && error.code === "rate-limited") this.#releases.unshift(...releases);
      else this.#unknownReleases += releases.length;
      return this.#fail(error);
    } finally {
      this.#inFlight -= releases.length;
    }
  }

  async #settle(request: SettleRequest, signal: AbortSignal | undefined): Promise<void> {
    const settled = await this.#group.settle(request, { signal, retry: 0 });
    this.#failures = 0;
    this.#listener.settled(settled);
  }

  #fail(error: unknown): false {
    this.#failures++;
    this.#listener.failed(error);
    return false;
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

function count({ acks, retries, rejects }: Riding): number {
  return acks.length + retries.length + rejects.length;
}
