import { once } from "node:events";
import { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createAdaptorServer, type ServerType } from "@hono/node-server";
import { type Config, parseConfig, type Settings } from "../../shared/config.ts";
import type { Connection } from "../../shared/redis/connection.ts";
import { ConnectionPool } from "../../shared/redis/pool.ts";
import { TcpConnection } from "../../shared/redis/tcp.ts";
import { UpstashConnection } from "../../shared/redis/upstash.ts";
import { createApp } from "../app.ts";
import { reap } from "../reap.ts";
import { startReaper } from "./reaper-loop.ts";
import type { ServerSettings } from "./settings.ts";

/** More than one, so that a batch of 8 MiB does not hold up the polls behind it; few, so that Redis is not used up. */
const CONNECTIONS = 4;
/** Longer than load balancers keep idle connections: they must be the ones that close them. */
const KEEP_ALIVE_MS = 120_000;
/** How long requests under way are given to end. */
const STOP_TIMEOUT_MS = 10_000;

/** A server that answers. */
export interface RunningServer {
  readonly url: string;
  /** Takes no more requests, ends those under way and the reaper's run, then closes the connections to Redis. */
  stop(): Promise<void>;
}

/**
 * Starts Weir as a server of one's own: the Worker's app, with connections to Redis that are kept.
 * @throws {WeirError} `misconfigured`; the system's error when the address cannot be had
 */
export async function startServer(env: Settings, settings: ServerSettings): Promise<RunningServer> {
  const config = parseConfig(env);
  const connection = connect(config);
  const app = createApp({
    begin: () => ({ config, connection, end: async () => undefined }),
    runReaper: (_, redis, nowMs) => reap(config, redis, { nowMs, everyStream: true }),
  });
  const server = createAdaptorServer({
    fetch: (request) => app.fetch(request, env),
    serverOptions: { keepAliveTimeout: KEEP_ALIVE_MS },
  });
  server.listen(settings.port, settings.host);
  await once(server, "listening");
  const reaper = startReaper(config, connection, settings.reaperIntervalMs);
  return {
    url: urlOf(server.address()),
    async stop() {
      await Promise.all([close(server), reaper.stop()]);
      await connection.close();
    },
  };
}

/** Takes no more connections, and ends those that are there once their requests are answered. */
async function close(server: ServerType): Promise<void> {
  const closed = once(server, "close");
  server.close();
  if (!(server instanceof Server)) return;
  // A connection that is busy now will be idle soon, and would be kept for its client's next request.
  const idle = setInterval(() => server.closeIdleConnections(), 50);
  const force = setTimeout(() => server.closeAllConnections(), STOP_TIMEOUT_MS);
  await closed.finally(() => {
    clearInterval(idle);
    clearTimeout(force);
  });
}

function connect({ redis, redisTimeoutMs: timeoutMs }: Config): Connection {
  if (redis.kind === "upstash") return new UpstashConnection({ ...redis, timeoutMs });
  return new ConnectionPool(() => new TcpConnection({ url: redis.url, timeoutMs }), CONNECTIONS);
}

function urlOf(address: AddressInfo | string | null): string {
  if (address === null || typeof address === "string") throw new TypeError("the server listens on no port");
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return `http://${host}:${address.port}`;
}
