import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import Redis from "ioredis";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type RunningRedis, startRedis } from "../../local/redis.ts";
import { environmentFor, findRedisServer } from "../../local/redis-binary.ts";
import { temporaryFolder } from "../support/folder.ts";
import { isAlive } from "../support/processes.ts";
import { eventually } from "../support/wait.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
const started: RunningRedis[] = [];

beforeEach(async () => {
  folder = await temporaryFolder();
});

afterEach(async () => {
  await Promise.all(started.splice(0).map((redis) => redis.stop()));
  await folder.remove();
});

async function start(options: Partial<Parameters<typeof startRedis>[0]> = {}): Promise<RunningRedis> {
  const redis = await startRedis({ dir: folder.dir, ...options });
  started.push(redis);
  return redis;
}

async function using<T>(redis: RunningRedis, work: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(redis.url, { protocol: 2 });
  try {
    return await work(client);
  } finally {
    client.disconnect();
  }
}

describe("the program", () => {
  it("is found, or made, by several at once, and is 7.0 or newer", async () => {
    const found = await Promise.all([findRedisServer(), findRedisServer(), findRedisServer()]);
    const [binary] = found;
    expect(new Set(found.map((one) => one.path)).size).toBe(1);
    const { stdout } = await promisify(execFile)(binary.path, ["--version"], { env: environmentFor(binary) });
    expect(Number(/v=(\d+)/.exec(stdout)?.[1])).toBeGreaterThanOrEqual(7);
  });
});

describe("a started Redis", () => {
  it("answers at once, on this machine only, and never evicts", async () => {
    const redis = await start();
    await using(redis, async (client) => {
      expect(await client.ping()).toBe("PONG");
      expect(await client.config("GET", "bind")).toEqual(["bind", "127.0.0.1"]);
      expect(await client.config("GET", "maxmemory-policy")).toEqual(["maxmemory-policy", "noeviction"]);
    });
  });

  it("gets a port of its own, many at once", async () => {
    const many = await Promise.all(Array.from({ length: 5 }, (_, i) => start({ dir: join(folder.dir, String(i)) })));
    expect(new Set(many.map((redis) => redis.port)).size).toBe(5);
  });

  it("takes further arguments", async () => {
    const redis = await start({ args: ["--maxmemory", "50mb"] });
    expect(await using(redis, (client) => client.config("GET", "maxmemory"))).toEqual(["maxmemory", "52428800"]);
  });

  it("forgets its data, unless it is persistent", async () => {
    for (const [persistent, kept] of [
      [false, null],
      [true, "v"],
    ] as const) {
      const first = await start({ persistent });
      await using(first, (client) => client.set("k", "v"));
      await first.stop();
      const second = await start({ persistent });
      expect(await using(second, (client) => client.get("k"))).toBe(kept);
      await second.stop();
    }
  });

  it("tells how it ended, and may be stopped twice", async () => {
    const redis = await start();
    await Promise.all([redis.stop(), redis.stop()]);
    expect(await redis.exited).toEqual({ code: 0, signal: null });
    const killed = await start();
    process.kill(killed.pid, "SIGKILL");
    expect(await killed.exited).toEqual({ code: null, signal: "SIGKILL" });
  });
});

describe("a Redis that can not start", () => {
  it("says why, in Redis' own words", async () => {
    await expect(start({ args: ["--no-such-option", "1"] })).rejects.toThrow(/no-such-option/);
  });

  it("says that the port is taken", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address ? address.port : 0;
    await expect(start({ port })).rejects.toThrow(/Address already in use/);
    server.close();
  });

  it("says so also when it is another Redis that has the port", async () => {
    const first = await start();
    await expect(start({ port: first.port })).rejects.toThrow(/Address already in use/);
  });
});

describe("a Redis whose parent ends", () => {
  const starter = join(import.meta.dirname, "fixtures", "start-redis.ts");

  it.each(["SIGKILL", "SIGTERM", "throw", "exit"])("ends too, with its data written: %s", async (how) => {
    const parent = spawn(process.execPath, [starter, folder.dir, how], { stdio: ["ignore", "pipe", "ignore"] });
    const [line] = await once(parent.stdout, "data");
    const pid = Number(String(line));
    expect(pid).toBeGreaterThan(0);
    if (how.startsWith("SIG")) parent.kill(how === "SIGKILL" ? "SIGKILL" : "SIGTERM");
    await eventually("redis-server ends", () => !isAlive(pid));
    const next = await start({ persistent: true });
    expect(await using(next, (client) => client.get("written"))).toBe("before the end");
  });
});
