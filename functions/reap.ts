import { type ReaperOptions, runReaper } from "../scheduled/reaper.ts";
import type { Config } from "../shared/config.ts";
import type { ReaperRun } from "../shared/reaper/runs.ts";
import type { Redis } from "../shared/redis/redis.ts";
import { log } from "./log.ts";

/**
 * Runs the scheduled work with a deployment's settings. The one door from here to `scheduled/`.
 * @throws {WeirError} `redis-unavailable`
 */
export async function reap(config: Config, redis: Redis, options: ReaperOptions): Promise<ReaperRun> {
  const { keyPrefix, consumerIdleMs, alerts } = config;
  const run = await runReaper({ redis, keyPrefix, consumerIdleMs, alerts }, options);
  const concernsAll = run.errors.filter(({ stream }) => stream === null);
  // Its report may not be in Redis: what it did must be somewhere.
  if (concernsAll.length > 0) log("error", "the reaper ran, but could not keep its report or tell of alerts", { run });
  return run;
}
