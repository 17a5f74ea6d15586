import { randomUUID } from "node:crypto";
import { Redis as IoRedis } from "ioredis";
import { inject, onTestFinished } from "vitest";
import type { Connection } from "../../shared/redis/connection.ts";
import { Redis } from "../../shared/redis/redis.ts";
import { TcpConnection } from "../../shared/redis/tcp.ts";
import { UpstashConnection } from "../../shared/redis/upstash.ts";
import { TEST_CLIENT } from "./slow-log.ts";

/** A prefix that no other test uses; what a failed test leaves can be looked at. */
export function uniquePrefix(): string {
  return `t${randomUUID().slice(0, 8)}:`;
}

/** The two transports; a suite that runs over both shows that they are interchangeable. */
export const TRANSPORTS = {
  tcp: (): Connection => new TcpConnection({ url: inject("redisUrl"), timeoutMs: 10_000 }),
  rest: (): Connection => new UpstashConnection({ ...inject("upstash"), timeoutMs: 10_000 }),
} as const;

export type TransportName = keyof typeof TRANSPORTS;

/** For `describe.each`: what holds over one transport holds over the other. */
export const BOTH_TRANSPORTS: readonly TransportName[] = ["tcp", "rest"];

/** Weir's Redis over one of the transports, closed with the test. */
export function openRedis(transport: TransportName = "tcp"): Redis {
  const connection = TRANSPORTS[transport]();
  onTestFinished(() => connection.close());
  return new Redis(connection);
}

/** Another client on the same Redis, as a native one would be; closed with the test. */
export function nativeClient(): IoRedis {
  const client = new IoRedis(inject("redisUrl"), { protocol: 2, connectionName: TEST_CLIENT });
  onTestFinished(() => client.disconnect());
  return client;
}
