import { type Config, parseConfig, type Settings } from "../shared/config.ts";
import type { Connection } from "../shared/redis/connection.ts";
import { TcpConnection } from "../shared/redis/tcp.ts";
import { UpstashConnection } from "../shared/redis/upstash.ts";
import type { Invocation } from "./server.ts";

/**
 * Reads the settings and connects, for one invocation of a Worker. REST is stateless, so one adapter serves the isolate;
 * a TCP socket belongs to the invocation that opened it, so each opens its own and closes it.
 */
export class WorkerHost {
  #known: { env: Settings; config: Config; rest: Connection | undefined } | undefined;

  /** @throws {WeirError} `misconfigured` */
  begin(env: Settings): Invocation {
    // An isolate has one environment; parsing it again for every request would be waste.
    if (this.#known?.env !== env) this.#known = { env, ...readSettings(env) };
    const { config, rest } = this.#known;
    if (rest !== undefined) return { config, connection: rest, end: () => rest.close() };
    const connection = new TcpConnection({ url: config.redis.url, timeoutMs: config.redisTimeoutMs });
    return { config, connection, end: () => connection.close() };
  }
}

function readSettings(env: Settings): { config: Config; rest: Connection | undefined } {
  const config = parseConfig(env);
  const { redis, redisTimeoutMs: timeoutMs } = config;
  return { config, rest: redis.kind === "upstash" ? new UpstashConnection({ ...redis, timeoutMs }) : undefined };
}
