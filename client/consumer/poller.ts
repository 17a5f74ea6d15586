import { AccessError, NotFoundError, WeirError } from "../errors.ts";
import { backoffMs, MAX_TIMER_MS } from "../pause.ts";
import type { Batch } from "../wire.ts";

/** What the poller needs to know of whom it polls for. */
export interface Demand {
  /** How many messages there is room for. */
  readonly room: number;
  /** Whether nothing is held. */
  readonly isEmpty: boolean;
  /** Whether somebody who could work has nothing to do. */
  readonly isIdle: boolean;
  /** Whether something waits that must not wait for the pace of an idle group. */
  readonly isPressing: boolean;
}

export interface PollerOptions {
  /** From so much room on a poll is worth its round trip. */
  readonly worthwhileRoom: number;
  demand(): Demand;
  /** @returns what was answered */
  poll(room: number, pollState: string | undefined, signal: AbortSignal): Promise<Batch>;
  failed(error: unknown): void;
}

/** Others that work may be done in a moment: one poll for all of them instead of one each. */
const LINGER_MS = 5;
const BACKOFF = { minMs: 250, maxMs: 15_000 } as const;
/** A token that was revoked, a stream that is not there yet: it takes a person. */
const SLOW_BACKOFF = { minMs: 1_000, maxMs: 60_000 } as const;

/** Decides when to poll. One poll at a time; no error ends it. */
export class Poller {
  readonly #options: PollerOptions;
  readonly #abort = new AbortController();
  #pollState: string | undefined;
  #polling: Promise<void> | undefined;
  #isStopped = false;
  #notBeforeMs = 0;
  #idleSinceMs: number | undefined;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAtMs = 0;
  /** Counts how often the demand has changed. */
  #changes = 0;

  constructor(options: PollerOptions) {
    this.#options = options;
  }

  /** To be called whenever the demand has changed. */
  consider(): void {
    this.#changes++;
    if (this.#isStopped || this.#polling !== undefined) return;
    const demand = this.#options.demand();
    const nowMs = performance.now();
    if (!demand.isIdle) this.#idleSinceMs = undefined;
    if (demand.room < 1) return;
    const dueMs = this.#dueMs(demand, nowMs);
    if (dueMs === undefined) return;
    if (dueMs <= nowMs) this.#start();
    else this.#wakeAt(dueMs, nowMs);
  }

  /**
   * No poll begins any more.
   * @returns when the one under way is over: what it brings is handed out already
   */
  stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    return this.#polling ?? Promise.resolve();
  }

  /** Calls off the one under way. */
  abort(reason: unknown): void {
    this.#abort.abort(reason);
  }

  /** @returns undefined: not before something else has happened */
  #dueMs({ room, isEmpty, isIdle, isPressing }: Demand, nowMs: number): number | undefined {
    const notBeforeMs = isPressing && this.#failures === 0 ? nowMs : this.#notBeforeMs;
    if (isEmpty || room >= this.#options.worthwhileRoom) return notBeforeMs;
    if (!isIdle) return undefined;
    this.#idleSinceMs ??= nowMs;
    return Math.max(notBeforeMs, this.#idleSinceMs + LINGER_MS);
  }

  #wakeAt(atMs: number, nowMs: number): void {
    if (this.#timer !== undefined && this.#timerAtMs <= atMs) return;
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.consider();
      },
      Math.min(atMs - nowMs, MAX_TIMER_MS),
    );
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#idleSinceMs = undefined;
    this.#polling = this.#poll().finally(() => {
      this.#polling = undefined;
      this.consider();
    });
  }

  /** Until those are done that are about to be, without a timer: fast handlers finish all in one go. */
  async #quiet(): Promise<void> {
    for (let turns = 0, seen = this.#changes; turns < QUIET_TURNS; turns++) {
      await null;
      if (seen !== this.#changes) turns = 0;
      seen = this.#changes;
    }
  }

  async #poll(): Promise<void> {
    await this.#quiet();
    const { room } = this.#options.demand();
    if (room < 1 || this.#isStopped) return;
    try {
      const { pollState, pollAfterMs } = await this.#options.poll(room, this.#pollState, this.#abort.signal);
      this.#pollState = pollState;
      this.#failures = 0;
      this.#notBeforeMs = performance.now() + pollAfterMs;
    } catch (error) {
      this.#failures++;
      this.#notBeforeMs = performance.now() + pauseAfter(error, this.#failures);
      this.#options.failed(error);
    }
  }
}

/** More than a handler takes that has nothing to wait for. */
const QUIET_TURNS = 8;

function pauseAfter(error: unknown, failures: number): number {
  const isSlow = error instanceof AccessError || error instanceof NotFoundError;
  const { minMs, maxMs } = isSlow ? SLOW_BACKOFF : BACKOFF;
  const asked = error instanceof WeirError ? (error.retryAfterMs ?? 0) : 0;
  return Math.max(backoffMs(failures, minMs, maxMs), asked * (1 + Math.random() / 5));
}
