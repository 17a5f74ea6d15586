// What the tests of the transport share: a Redis of a test's own, and servers that are broken on purpose.
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis as IoRedis } from "ioredis";
import { onTestFinished } from "vitest";
import { freePort } from "../../local/ports.ts";
import { type RunningRedis, startRedis } from "../../local/redis.ts";
import { startUpstash, type UpstashEndpoint } from "../../local/upstash.ts";
import { WeirError } from "../../shared/errors.ts";
import type { Connection } from "../../shared/redis/connection.ts";
import { Redis } from "../../shared/redis/redis.ts";
import { TcpConnection } from "../../shared/redis/tcp.ts";
import { UpstashConnection } from "../../shared/redis/upstash.ts";
import type { TransportName } from "../support/redis.ts";

export const BOTH: readonly TransportName[] = ["tcp", "rest"];

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
  };
}

export async function temporaryDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "weir-test-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** What a broken server does with a connection, and with what it is sent. */
export interface Behaviour {
  accepted?(socket: Socket): void;
  received?(socket: Socket, text: string): void;
}

export interface BrokenServer {
  readonly port: number;
  /** Everything that any client has sent. */
  received(): string;
  connections(): number;
  close(): Promise<void>;
}

/** A server that never works as Redis does; gone with the test. */
export async function brokenServer(behaviour: Behaviour): Promise<BrokenServer> {
  const sockets = new Set<Socket>();
  let text = "";
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    // A client that gives up resets the connection.
    socket.on("error", () => socket.destroy());
    socket.on("data", (data) => {
      text += data.toString();
      behaviour.received?.(socket, data.toString());
    });
    behaviour.accepted?.(socket);
  });
  const port = await listen(server);
  const close = async () => {
    for (const socket of sockets) socket.destroy();
    if (!server.listening) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    server.close(() => resolve());
    await promise;
  };
  onTestFinished(close);
  return { port, received: () => text, connections: () => connections, close };
}

async function listen(server: Server): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const port = await freePort();
  server.once("error", reject);
  server.listen(port, "127.0.0.1", resolve);
  await promise;
  return port;
}

/** An HTTP answer that ends with its connection. */
export function httpAnswer(status: string, body: string, type = "application/json"): string {
  const length = Buffer.byteLength(body);
  return `HTTP/1.1 ${status}\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n${body}`;
}

/** What a promise that must fail fails with. */
export async function failure(promise: Promise<unknown>): Promise<WeirError> {
  const error = await promise.then(
    (value) => new Error(`it did not fail, but answered ${String(value).slice(0, 100)}`),
    (reason: unknown) => reason,
  );
  if (error instanceof WeirError) return error;
  throw error;
}

/** Polls until the outcome is the wanted one. */
export async function eventually<T>(what: string, probe: () => Promise<T | undefined>, timeoutMs = 20_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  while (true) {
    const found = await probe();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    const { promise, resolve } = Promise.withResolvers<void>();
    setTimeout(resolve, 10);
    await promise;
  }
}
