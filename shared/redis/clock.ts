import type { Redis } from "./redis.ts";
import { asArray, asNumber } from "./reply.ts";

const PATIENCE_MS = { usual: 1_000, whenSlow: 2_000 } as const;

/**
 * Redis' time as seen from here, so that a script can be told until when, by Redis' own clock, somebody waits for its
 * answer. A request that was given up may still run, once a stalled Redis goes on: what it hands out then reaches nobody.
 * A deadline by this machine's clock would be useless where that is ahead, and an outage where it is behind.
 *
 * Each answer that tells Redis' time bounds how far the clocks are apart: by when it was asked for, and by when it came.
 */
export class RedisClock {
  readonly #now: () => number;
  /**
   * How long a script that charges deliveries may wait for Redis: short, because nobody may be waiting for it any more, and
   * longer while Redis is known to be slow.
   */
  #patienceMs: number = PATIENCE_MS.usual;
  /** Redis' time less ours: at least, at most. */
  #offset: { readonly lowMs: number; readonly highMs: number } | undefined;

  /** @param now this machine's clock, in ms from any beginning; it may step */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get patienceMs(): number {
    return this.#patienceMs;
  }

  /** This machine's time, for {@link learn}. */
  now(): number {
    return this.#now();
  }

  /**
   * Until when a script may run that somebody waits for from now on.
   * @param patienceMs how long they wait
   * @returns Redis' time in ms, rather too early than too late; the first time it asks Redis, in a round trip of its own
   * @throws {WeirError} as {@link Redis.send}
   */
  async deadline(redis: Redis, patienceMs: number): Promise<number> {
    if (this.#offset === undefined) {
      const askedMs = this.#now();
      const [seconds, microseconds] = asArray(await redis.send(["TIME"]));
      this.learn(askedMs, asNumber(seconds) * 1_000 + Math.floor(asNumber(microseconds) / 1_000));
    }
    return this.#now() + (this.#offset?.lowMs ?? 0) + patienceMs;
  }

  /**
   * Notes what an answer tells.
   * @param askedMs this machine's time when it was asked for
   * @param redisMs Redis' time in the answer, which has just come
   */
  learn(askedMs: number, redisMs: number): void {
    const nowMs = this.#now();
    this.#patienceMs = nowMs - askedMs < PATIENCE_MS.usual ? PATIENCE_MS.usual : PATIENCE_MS.whenSlow;
    const heard = { lowMs: redisMs - nowMs, highMs: redisMs - askedMs };
    // Our clock was set back meanwhile: worth nothing.
    if (heard.lowMs > heard.highMs) {
      this.#offset = undefined;
      return;
    }
    const known = this.#offset ?? heard;
    const both = { lowMs: Math.max(known.lowMs, heard.lowMs), highMs: Math.min(known.highMs, heard.highMs) };
    // They contradict each other: a clock has been set, or has drifted. The later one is right.
    this.#offset = both.lowMs <= both.highMs ? both : heard;
  }
}
