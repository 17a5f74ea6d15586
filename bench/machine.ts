import { readFileSync } from "node:fs";
import { arch, availableParallelism, cpus, loadavg, platform, release, totalmem } from "node:os";
import { join } from "node:path";
import { connectRedis } from "./load/redis.ts";
import type { Stack } from "./stack.ts";
import { PROJECT } from "./version.ts";

/** What the numbers were measured with, by name. */
export async function describeSurroundings(stack: Stack): Promise<Record<string, string>> {
  const redis = connectRedis(stack.redisPort);
  const info = await redis.info("server");
  redis.disconnect();
  const project = ["hono", "@hono/node-server", "ioredis", "@upstash/redis", "workerd", "wrangler"];
  const peers = ["bullmq", "@nats-io/jetstream"];
  const versions = [
    ...project.map((name) => `${name} ${packageVersion(join(PROJECT, "node_modules"), name)}`),
    ...peers.map((name) => `${name} ${packageVersion(join(import.meta.dirname, "node_modules"), name)}`),
  ];
  return {
    commit: stack.servers[0]?.version.commit ?? "",
    machine: `${availableParallelism()} cores (${cpus()[0]?.model ?? "unknown"}), ${Math.round(totalmem() / 2 ** 30)} GiB, ${platform()} ${release()} ${arch()}`,
    "load before": loadavg()
      .map((load) => load.toFixed(2))
      .join(" "),
    node: process.version,
    redis: /redis_version:(\S+)/.exec(info)?.[1] ?? "unknown",
    "nats-server": stack.nats?.version ?? "not installed",
    packages: versions.join(", "),
  };
}

function packageVersion(dir: string, name: string): string {
  const manifest: { version?: string } = JSON.parse(readFileSync(join(dir, name, "package.json"), "utf8"));
  return manifest.version ?? "unknown";
}
