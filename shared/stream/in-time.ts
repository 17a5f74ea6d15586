import { WeirError } from "../errors.ts";
import type { RedisClock } from "../redis/clock.ts";
import type { Redis } from "../redis/redis.ts";

/** Who waits for an answer, and how long. */
export interface Waiting {
  readonly clock: RedisClock;
  /** How long one round trip may take. */
  readonly timeoutMs: number;
  /** Whether whoever asked has gone away. */
  readonly isGone?: () => boolean;
}

/** What a script answers that is told until when it may run. */
export interface InTime {
  /** Redis' time; undefined when Redis answered with an error. */
  readonly redisNowMs: number | undefined;
  /** It came too late, and did nothing. */
  readonly isLate: boolean;
}

/**
 * How long a script that charges deliveries may have waited for Redis, at the first attempt: short, because nobody may be
 * waiting any more, and whoever still does gets a second one, which may take longer.
 */
const PATIENCE_MS = [1_000, 5_000];

/**
 * Runs a script that charges deliveries, if Redis comes to it while somebody waits for the answer.
 * @param run told until when, by Redis' clock; repeated once when that was too early
 * @throws {WeirError} `redis-unavailable` when it came too late both times, or whoever asked has gone
 */
export async function inTime<Answer extends InTime>(
  redis: Redis,
  { clock, timeoutMs, isGone }: Waiting,
  run: (untilMs: number) => Promise<Answer>,
): Promise<Answer> {
  for (const patienceMs of PATIENCE_MS) {
    const untilMs = await clock.deadline(redis, Math.min(patienceMs, timeoutMs));
    const askedMs = clock.now();
    const answer = await run(untilMs);
    if (answer.redisNowMs !== undefined) clock.learn(askedMs, answer.redisNowMs);
    if (!answer.isLate) return answer;
    if (isGone?.() === true) break;
  }
  throw new WeirError("redis-unavailable", "Redis was too slow to serve this in time; nothing was handed out", {
    retryAfterS: 1,
  });
}
