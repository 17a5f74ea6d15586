import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { startRedis } from "../local/redis.ts";
import { startUpstash } from "../local/upstash.ts";

declare module "vitest" {
  interface ProvidedContext {
    redisUrl: string;
    upstash: { url: string; token: string };
  }
}

/** One real Redis, with an Upstash-compatible endpoint in front, for all test files: each uses a key prefix of its own. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), "weir-test-"));
  const redis = await startRedis({ dir });
  const upstash = await startUpstash({ redisUrl: redis.url, token: "test-token" });
  project.provide("redisUrl", redis.url);
  project.provide("upstash", { url: upstash.url, token: upstash.token });
  return async () => {
    await upstash.close();
    await redis.stop();
    await rm(dir, { recursive: true, force: true });
  };
}
