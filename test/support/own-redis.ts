import { Redis as IoRedis } from "ioredis";
import { onTestFinished } from "vitest";
import { type RunningRedis, startRedis } from "../../local/redis.ts";
import { startUpstash, type UpstashEndpoint } from "../../local/upstash.ts";
import type { Connection } from "../../shared/redis/connection.ts";
import { Redis } from "../../shared/redis/redis.ts";
import { TcpConnection } from "../../shared/redis/tcp.ts";
import { UpstashConnection } from "../../shared/redis/upstash.ts";
import { temporaryDir } from "./folder.ts";
import type { TransportName } from "./redis.ts";

/** Weir's Redis towards any port of this machine; closed with the test. */
export function openAt(transport: TransportName, port: number, timeoutMs = 10_000): Redis {
  return new Redis(connectionAt(transport, port, timeoutMs));
}

export function connectionAt(transport: TransportName, port: number, timeoutMs: number): Connection {
  const connection =
    transport === "tcp"
      ? new TcpConnection({ url: `redis://127.0.0.1:${port}`, timeoutMs })
      : new UpstashConnection({ url: `http://127.0.0.1:${port}`, token: "own-token", timeoutMs });
  onTestFinished(() => connection.close());
  return connection;
}

export interface OwnRedis {
  readonly native: IoRedis;
  readonly upstash: UpstashEndpoint;
  readonly redis: RunningRedis;
  readonly dir: string;
  open(transport: TransportName, timeoutMs?: number): Redis;
  /** @param user with the password, as in a URL; over REST the endpoint is that user */
  openAs(transport: TransportName, user: string): Promise<Redis>;
}

/** A Redis that the test may fill up, block or break, with an endpoint in front; gone with the test. */
export async function ownRedis(args: string[] = []): Promise<OwnRedis> {
  const dir = await temporaryDir();
  const redis = await startRedis({ dir, args });
  onTestFinished(() => redis.stop());
  const upstash = await startUpstash({ redisUrl: redis.url, token: "own-token" });
  onTestFinished(() => upstash.close());
  const native = new IoRedis(redis.url, { protocol: 2, disableClientInfo: true });
  onTestFinished(() => native.disconnect());
  const port = { tcp: redis.port, rest: upstash.port };
  return {
    native,
    upstash,
    redis,
    dir,
    open: (transport, timeoutMs) => openAt(transport, port[transport], timeoutMs),
    async openAs(transport, user) {
      const url = redis.url.replace("//", `//${user}@`);
      if (transport === "rest") {
        const endpoint = await startUpstash({ redisUrl: url, token: "own-token" });
        onTestFinished(() => endpoint.close());
        return openAt(transport, endpoint.port);
      }
      const connection = new TcpConnection({ url, timeoutMs: 10_000 });
      onTestFinished(() => connection.close());
      return new Redis(connection);
    },
  };
}
