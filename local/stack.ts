// The whole of Weir on one machine: Redis, the Upstash endpoint in front of it, the Worker, and its cron.
import { join } from "node:path";
import { exitText, type Program } from "./child-process.ts";
import { HEALTH_DEFAULTS, type HealthOptions, type HealthWatch, type WatchedPart, watchHealth } from "./health.ts";
import { isAnswering, type RunningRedis, startRedis } from "./redis.ts";
import { startTicker, type Ticker } from "./ticker.ts";
import { startUpstash, type UpstashEndpoint } from "./upstash.ts";
import { isHealthy, type RunningWorker, startWorker } from "./worker.ts";

export interface StackOptions {
  /** Gets everything that is written. */
  readonly dir: string;
  readonly port: number;
  readonly rootToken: string;
  readonly reaperIntervalMs: number;
  /** With "tcp" the Worker speaks to Redis itself, without the endpoint. */
  readonly transport: "rest" | "tcp";
  /** Called with errors of the Worker and of the reaper's runs. */
  readonly log: (line: string) => void;
  /** Uses that Redis instead of starting one. */
  readonly redisUrl?: string;
  /** Further settings of the Worker. */
  readonly vars?: Readonly<Record<string, string>>;
  /** Calls the start off. */
  readonly signal?: AbortSignal;
  readonly health?: HealthOptions;
}

/** A running stack. */
export interface Stack {
  readonly url: string;
  readonly redisUrl: string;
  /** Absent when the Worker speaks to Redis itself. */
  readonly upstash?: UpstashEndpoint;
  /** The process of the Redis that was started here. */
  readonly redisPid?: number;
  /** wrangler, which leads a process group of the same number. */
  readonly workerPid: number;
  /** Ends ticker, Worker, endpoint and Redis, in this order: nobody writes to somebody who is gone. */
  stop(): Promise<void>;
  /** Settles with what happened when a part ends or hangs that nobody stopped. Never rejects. */
  readonly failed: Promise<string>;
}

/** What has been started so far, in that order. */
interface Parts {
  redis?: RunningRedis;
  upstash?: UpstashEndpoint;
  worker?: RunningWorker;
  ticker?: Ticker;
  health?: HealthWatch;
}

/**
 * Starts everything and waits until the Worker answers.
 * @throws {Error} that says which part did not start and why; what had been started is ended first
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
  const { dir, port, log, signal, health = HEALTH_DEFAULTS } = options;
  // On a terminal that would be a flood: whoever wants it sets it.
  const vars = {
    REQUEST_LOG: "off",
    ...options.vars,
    ...backendVars(redisUrl, parts.upstash),
    ROOT_TOKEN: options.rootToken,
  };
  const worker = await startWorker({ dir, port, vars, log, ...(signal && { signal }) });
  parts.worker = worker;
  parts.ticker = startTicker({ workerUrl: worker.url, intervalMs: options.reaperIntervalMs, log });
  parts.health = watchHealth(watchedParts(worker, parts.redis), health);
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
    failed: firstFailure(worker, parts.redis, parts.health),
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

/** Somebody else's Redis is not watched: the Worker's answers tell when it is away. */
function watchedParts(worker: RunningWorker, redis: RunningRedis | undefined): WatchedPart[] {
  // The health check goes through wrangler to workerd: it fails when either hangs.
  const own = {
    name: "the Worker (wrangler or workerd)",
    answers: (timeoutMs: number) => isHealthy(worker.url, timeoutMs),
  };
  return redis === undefined
    ? [own]
    : [own, { name: "redis-server", answers: (timeoutMs) => isAnswering(redis.port, timeoutMs) }];
}

function firstFailure(worker: Program, redis: Program | undefined, health: HealthWatch): Promise<string> {
  const ended = async (name: string, { exited, lastOutput }: Program) =>
    `${name} ended (${exitText(await exited)}):\n${lastOutput()}`;
  return Promise.race([
    ended("wrangler", worker),
    ...(redis === undefined ? [] : [ended("redis-server", redis)]),
    health.silent.then((name) => `${name} does not answer any more`),
  ]);
}

async function stopAll({ health, ticker, worker, upstash, redis }: Parts): Promise<void> {
  health?.stop();
  await ticker?.stop();
  await worker?.stop();
  await upstash?.close();
  await redis?.stop();
}
