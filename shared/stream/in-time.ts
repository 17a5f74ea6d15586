import { WeirError } from "../errors.ts";
import type { RedisClock } from "../redis/clock.ts";
import type { Redis } from "../redis/redis.ts";

/** Who waits for an answer, and how long. */
export interface Waiting {
  readonly clock: RedisClock;
  /** How long one round trip may take. */
  readonly timeoutMs: number;
}

/** What a script answers that is told until when it may run. */
export interface InTime {
  /** Redis' time; undefined when Redis answered with an error. */
  readonly redisNowMs: number | undefined;
  /** It came too late, and did nothing. */
  readonly isLate: boolean;
}

/**
 * Runs a script that charges deliveries, if Redis comes to it while somebody surely waits for the answer. Whether a client
 * has gone away, a Worker cannot tell for sure; so a Redis that took long is told, and nothing was handed out.
 * @param run told until when, by Redis' clock. Done once more when that was too early only because our clock has been set
 * @throws {WeirError} `redis-unavailable` when Redis took too long
 */
export async function inTime<Answer extends InTime>(
  redis: Redis,
  { clock, timeoutMs }: Waiting,
  run: (untilMs: number) => Promise<Answer>,
): Promise<Answer> {
  for (let attempt = 1; attempt <= 2; attempt++) {
    const patienceMs = Math.min(clock.patienceMs, timeoutMs);
    const untilMs = await clock.deadline(redis, patienceMs);
    const askedMs = clock.now();
    const answer = await run(untilMs);
    const tookMs = clock.now() - askedMs;
    if (answer.redisNowMs !== undefined) clock.learn(askedMs, answer.redisNowMs);
    if (!answer.isLate) return answer;
    if (tookMs >= patienceMs) break;
  }
  throw new WeirError("redis-unavailable", "Redis was too slow to serve this in time; nothing was handed out", {
    retryAfterS: 1,
  });
}
