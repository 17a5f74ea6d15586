import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { startRedis } from "../local/redis.ts";
import { startUpstash } from "../local/upstash.ts";
import { SLOW_LOG_ARGS, type SlowCommand, SlowLog, summaryOf, tooSlow } from "./support/slow-log.ts";

declare module "vitest" {
  interface ProvidedContext {
    redisUrl: string;
    upstash: { url: string; token: string };
  }
}

/** One real Redis, with an Upstash-compatible endpoint in front, for all test files: each uses a key prefix of its own. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), "weir-test-"));
  const redis = await startRedis({ dir, args: [...SLOW_LOG_ARGS] });
  const slowLog = new SlowLog(redis);
  const upstash = await startUpstash({ redisUrl: redis.url, token: "test-token" });
  project.provide("redisUrl", redis.url);
  project.provide("upstash", { url: upstash.url, token: upstash.token });
  return async () => {
    const slow = await slowLog.end();
    await upstash.close();
    await redis.stop();
    await rm(dir, { recursive: true, force: true });
    tell(project.name, slow);
  };
}

/** @throws {Error} when Weir held Redis up */
function tell(level: string, slow: readonly SlowCommand[]): void {
  if (slow.length > 0) console.log(`${level}: what took Redis 20 ms and more\n${summaryOf(slow)}`);
  const guilty = tooSlow(slow);
  if (guilty.length > 0) throw new Error(`commands of Weir's took Redis too long:\n${summaryOf(guilty)}`);
}
