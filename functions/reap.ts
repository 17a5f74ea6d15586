import { type ReaperOptions, runReaper } from "../scheduled/reaper.ts";
import type { Config } from "../shared/config.ts";
import type { ReaperRun } from "../shared/reaper/runs.ts";
import type { Redis } from "../shared/redis/redis.ts";

/**
 * Runs the scheduled work with a deployment's settings. The one door from here to `scheduled/`.
 * @throws {WeirError} `redis-unavailable`
 */
export function reap(config: Config, redis: Redis, options: ReaperOptions): Promise<ReaperRun> {
  const { keyPrefix, consumerIdleMs, alerts } = config;
  return runReaper({ redis, keyPrefix, consumerIdleMs, alerts }, options);
}
