import { type Config, parseConfig, type Settings } from "../shared/config.ts";
import type { ReaperRun } from "../shared/reaper/runs.ts";
import type { Connection } from "../shared/redis/connection.ts";
import type { Redis } from "../shared/redis/redis.ts";
import { TcpConnection } from "../shared/redis/tcp.ts";
import { UpstashConnection } from "../shared/redis/upstash.ts";

/** What one invocation has of its surroundings. */
export interface Invocation {
  readonly config: Config;
  readonly connection: Connection;
  /** Called once the answer is made. */
  end(): Promise<void>;
}

/** What the app needs from where it runs: a Worker or Node. */
export interface Host {
  /** @throws {WeirError} `misconfigured` */
  begin(env: Settings): Invocation;
  runReaper(config: Config, redis: Redis, nowMs: number): Promise<ReaperRun>;
}

/**
 * Reads the settings and connects, for one invocation of a Worker. REST has no state, so one adapter serves the isolate.
 * A TCP socket belongs to the invocation that opened it: each opens its own and closes it.
 */
export class WorkerConnections {
  #known: { readonly env: Settings; readonly config: Config; readonly rest: Connection | undefined } | undefined;

  /** @throws {WeirError} `misconfigured` */
  begin(env: Settings): Invocation {
    // An isolate has one environment: it is parsed once.
    if (this.#known?.env !== env) this.#known = { env, ...readSettings(env) };
    const { config, rest } = this.#known;
    const connection = rest ?? new TcpConnection({ url: config.redis.url, timeoutMs: config.redisTimeoutMs });
    return { config, connection, end: () => connection.close() };
  }
}

function readSettings(env: Settings): { config: Config; rest: Connection | undefined } {
  const config = parseConfig(env);
  const { redis, redisTimeoutMs: timeoutMs } = config;
  return { config, rest: redis.kind === "upstash" ? new UpstashConnection({ ...redis, timeoutMs }) : undefined };
}
