// The whole of Weir on one machine: Redis, the Upstash endpoint in front of it, the Worker, and its cron.
import { join } from "node:path";
import { exitText, type RunningRedis, startRedis } from "./redis.ts";
import { startTicker, type Ticker } from "./ticker.ts";
import { startUpstash, type UpstashEndpoint } from "./upstash.ts";
import { type RunningWorker, startWorker } from "./worker.ts";

/**
 * `dir` gets everything that is written; `redisUrl` uses that Redis instead of starting one. With `transport` "tcp" the
 * Worker speaks to Redis itself, without the endpoint. `vars` are further variables of the Worker. `signal` calls the
 * start off. `log` is called with errors of the Worker and of the reaper's runs.
 */
export type StackOptions = {
  dir: string;
  port: number;
  rootToken: string;
  reaperIntervalMs: number;
  transport: "rest" | "tcp";
  log: (line: string) => void;
  redisUrl?: string;
  vars?: Record<string, string>;
  signal?: AbortSignal;
};

/** A running stack. */
export type Stack = {
  url: string;
  redisUrl: string;
  /** Absent when the Worker speaks to Redis itself. */
  upstash?: UpstashEndpoint;
  /** The process of the Redis that was started here. */
  redisPid?: number;
  /** wrangler, which leads a process group of the same number. */
  workerPid: number;
  /** Ends ticker, Worker, endpoint and Redis, in this order: nobody writes to somebody who is gone. */
  stop(): Promise<void>;
  /** Settles with what happened when a part ends that nobody stopped. Never rejects. */
  failed: Promise<string>;
};

/** What has been started so far, in that order. */
type Parts = { redis?: RunningRedis; upstash?: UpstashEndpoint; worker?: RunningWorker; ticker?: Ticker };

/**
 * Starts everything and waits until the Worker answers.
 *
 * @throws Error that says which part did not start and why; what had been started is ended first
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const parts: Parts = {};
  try {
    return await start(options, parts);
  } catch (error) {
    await stopAll(parts);
    throw error;
  }
}

async function start(options: StackOptions, parts: Parts): Promise<Stack> {
  const redisUrl = options.redisUrl ?? (await ownRedis(options, parts));
  options.signal?.throwIfAborted();
  if (options.transport === "rest") {
    parts.upstash = await startUpstash({ redisUrl, token: "local" });
    options.signal?.throwIfAborted();
  }
  const { dir, port, log, signal } = options;
  const vars = { ...options.vars, ...backendVars(redisUrl, parts.upstash), ROOT_TOKEN: options.rootToken };
  const worker = await startWorker({ dir, port, vars, log, ...(signal && { signal }) });
  parts.worker = worker;
  parts.ticker = startTicker({ workerUrl: worker.url, intervalMs: options.reaperIntervalMs, log });
  let stopping: Promise<void> | undefined;
  return {
    url: worker.url,
    redisUrl,
    workerPid: worker.pid,
    ...(parts.upstash && { upstash: parts.upstash }),
    ...(parts.redis && { redisPid: parts.redis.pid }),
    stop: () => {
      stopping ??= stopAll(parts);
      return stopping;
    },
    failed: firstFailure(worker, parts.redis),
  };
}

async function ownRedis(options: StackOptions, parts: Parts): Promise<string> {
  parts.redis = await startRedis({ dir: join(options.dir, "redis"), persistent: true });
  return parts.redis.url;
}

function backendVars(redisUrl: string, upstash: UpstashEndpoint | undefined): Record<string, string> {
  if (!upstash) return { REDIS_URL: redisUrl };
  return { UPSTASH_REDIS_REST_URL: upstash.url, UPSTASH_REDIS_REST_TOKEN: upstash.token };
}

function firstFailure(worker: RunningWorker, redis: RunningRedis | undefined): Promise<string> {
  const ends = [worker.exited.then((exit) => `wrangler ended (${exitText(exit)}):\n${worker.lastOutput()}`)];
  if (redis) ends.push(redis.exited.then((exit) => `redis-server ended (${exitText(exit)}):\n${redis.lastOutput()}`));
  return Promise.race(ends);
}

async function stopAll(parts: Parts): Promise<void> {
  await parts.ticker?.stop();
  await parts.worker?.stop();
  await parts.upstash?.close();
  await parts.redis?.stop();
}
