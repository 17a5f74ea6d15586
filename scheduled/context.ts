import type { AlertSettings } from "../shared/config.ts";
import type { Redis } from "../shared/redis/redis.ts";

/** What every job works with. */
export interface JobContext {
  readonly redis: Redis;
  readonly keyPrefix: string;
  /** After how long without work a consumer that holds nothing is removed. */
  readonly consumerIdleMs: number;
  readonly alerts?: AlertSettings;
}

/** How much of a run is left: round trips (Workers' free plan has 50 subrequests) and time. */
export class Budget {
  readonly #redis: Redis;
  readonly #lastRoundTrip: number;
  readonly #deadlineMs: number;
  readonly #clock: () => number;

  /** @param clock monotonic milliseconds */
  constructor(redis: Redis, max: { roundTrips: number; durationMs: number }, clock = () => performance.now()) {
    this.#redis = redis;
    this.#lastRoundTrip = redis.usage.roundTrips + max.roundTrips;
    this.#deadlineMs = clock() + max.durationMs;
    this.#clock = clock;
  }

  /** Whether another round trip may be made, besides those kept back for the end of the run. */
  allows(): boolean {
    return this.#redis.usage.roundTrips < this.#lastRoundTrip && this.#clock() < this.#deadlineMs;
  }
}
