import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis as IoRedis } from "ioredis";
import { createTestHarness } from "wrangler";
import { startProgram } from "../../local/child-process.ts";
import { startRedis } from "../../local/redis.ts";
import { startUpstash } from "../../local/upstash.ts";
import { OWN_NAME } from "./redis-state.ts";
import { ROOT_TOKEN, TOKEN_SECRET } from "./tokens.ts";

/** What is fuzzed: the real app, where it runs and how it speaks to a Redis of its own. */

export type Place = "node" | "workerd";
export type Transport = "tcp" | "rest";

export interface Target {
  readonly name: string;
  readonly url: URL;
  readonly prefix: string;
  /** A client of the same Redis. */
  readonly native: IoRedis;
  /** Memory of the process that serves; undefined where that cannot be told. */
  rssBytes(): Promise<number | undefined>;
  /** The last lines that it logged. */
  log(): string;
  stop(): Promise<void>;
}

interface Served {
  readonly url: URL;
  readonly rssBytes: Target["rssBytes"];
  log(): string;
  stop(): Promise<void>;
}

const PREFIX = "fuzz:";
/** What is slower than this is looked at: in microseconds, as Redis wants it. */
const SLOW_US = 50_000;

/** Starts one. What it started ends with `stop`, or with this process. */
export async function startTarget(place: Place, transport: Transport): Promise<Target> {
  const dir = await mkdtemp(join(tmpdir(), "weir-fuzz-"));
  // DUMP compresses else, which costs more than all the rest of looking at what is there.
  const args = ["--slowlog-log-slower-than", String(SLOW_US), "--slowlog-max-len", "1000", "--rdbcompression", "no"];
  const redis = await startRedis({ dir, args });
  const upstash = await startUpstash({ redisUrl: redis.url, token: "fuzz-token" });
  const settings = {
    ROOT_TOKEN,
    TOKEN_SECRET,
    KEY_PREFIX: PREFIX,
    // The last lines that it logs are to be its faults.
    REQUEST_LOG: "off",
    ...(transport === "tcp"
      ? { REDIS_URL: redis.url }
      : { UPSTASH_REDIS_REST_URL: upstash.url, UPSTASH_REDIS_REST_TOKEN: upstash.token }),
  };
  const served = place === "node" ? await serveOnNode(settings) : await serveInWorkerd(settings);
  const native = new IoRedis(redis.url, { protocol: 2, connectionName: OWN_NAME, disableClientInfo: true });
  return {
    name: `${place} over ${transport}`,
    ...served,
    prefix: PREFIX,
    native,
    async stop() {
      await served.stop();
      native.disconnect();
      await upstash.close();
      await redis.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** In a process of its own, so that what it holds up or eats is its own. The reaper runs when a request asks for it. */
async function serveOnNode(settings: Record<string, string>): Promise<Served> {
  const { promise, resolve, reject } = Promise.withResolvers<URL>();
  const program = startProgram(process.execPath, {
    args: ["functions/node.ts"],
    env: { PATH: process.env.PATH, PORT: "0", REAPER_INTERVAL_MS: "86400000", ...settings },
    stopTimeoutMs: 5_000,
    onLine: (line) => {
      const url = /"url":"([^"]+)"/.exec(line)?.[1];
      if (url !== undefined) resolve(new URL(url));
    },
  });
  void program.exited.then(() => reject(new Error(`the server ended at its start:\n${program.lastOutput()}`)));
  return {
    url: await promise,
    rssBytes: () => rssOf(program.pid),
    log: () => program.lastOutput(),
    stop: () => program.stop(),
  };
}

async function serveInWorkerd(settings: Record<string, string>): Promise<Served> {
  // Miniflare asks a server for an example of a request's origin else, and tells at length that it cannot.
  process.env.CLOUDFLARE_CF_FETCH_ENABLED = "false";
  const harness = createTestHarness({ workers: [{ configPath: "wrangler.toml", vars: settings }] });
  const { url } = await harness.listen();
  const pid = await childNamed("workerd");
  return {
    url,
    rssBytes: async () => (pid === undefined ? undefined : rssOf(pid)),
    log: () => "",
    stop: () => harness.close(),
  };
}

/** A process that this one started, where the system tells. */
async function childNamed(name: string): Promise<number | undefined> {
  const threads = await readdir("/proc/self/task").catch(() => []);
  const children = await Promise.all(
    threads.map((thread) => readFile(`/proc/self/task/${thread}/children`, "utf8").catch(() => "")),
  );
  for (const pid of children.join(" ").split(" ").filter(Boolean)) {
    const comm = await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "");
    if (comm.trim() === name) return Number(pid);
  }
  return undefined;
}

/** Linux tells it; elsewhere it is not watched. */
async function rssOf(pid: number): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => undefined);
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(status ?? "")?.[1];
  return kib === undefined ? undefined : Number(kib) * 1_024;
}
