import { Buffer, isUtf8 } from "node:buffer";
import type { Redis as IoRedis } from "ioredis";
import { type Command, type Connection, ConnectionError, type Outcome, type Reply, ReplyError } from "./connection.ts";

export interface TcpOptions {
  /** `redis://` or, with TLS, `rediss://`. */
  readonly url: string;
  readonly timeoutMs: number;
}

/**
 * Redis over TCP or TLS by ioredis. Connects at the first command and again after a failure, never repeating a
 * command. In a Worker it must live no longer than the invocation (workerd's sockets belong to one request);
 * in Node one is kept for the process.
 */
export class TcpConnection implements Connection {
  readonly #options: TcpOptions;
  #client: Promise<IoRedis> | undefined;

  constructor(options: TcpOptions) {
    this.#options = options;
  }

  async run(commands: readonly Command[]): Promise<Outcome[]> {
    this.#client ??= this.#connect();
    const pending = this.#client;
    const client = await pending.catch((cause: unknown) => {
      this.#forget(pending);
      throw new ConnectionError(`cannot connect: ${reason(cause)}`, { maybeRan: false, cause });
    });
    const pipeline = client.pipeline();
    for (const [name, ...args] of commands) pipeline.callBuffer(name, ...args);
    const results = await pipeline.exec();
    if (results?.length !== commands.length) throw this.#broken(pending, client, new Error("no answer"));
    return results.map(([error, value]) => {
      if (error === null) return decodeBytes(value);
      if (error.name === "ReplyError") return new ReplyError(error.message);
      throw this.#broken(pending, client, error);
    });
  }

  async close(): Promise<void> {
    const pending = this.#client;
    this.#client = undefined;
    if (pending !== undefined) await pending.then((client) => client.disconnect(), ignoreFailedConnect);
  }

  async #connect(): Promise<IoRedis> {
    // Loaded only here: a Worker that speaks REST never initialises it.
    const { Redis } = await import("ioredis");
    const { url, timeoutMs } = this.#options;
    const client = new Redis(url, {
      protocol: 2, // with RESP3, raw calls get another reply shape for XREADGROUP
      lazyConnect: true,
      connectTimeout: timeoutMs,
      commandTimeout: timeoutMs,
      enableReadyCheck: false, // saves an INFO per invocation; a loading Redis says LOADING itself
      retryStrategy: () => null, // a lost connection is an error of its request; the next request connects anew
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false, // would send an XADD twice
    });
    const connected = this.#whenConnected(client);
    return connected;
  }

  async #whenConnected(client: IoRedis): Promise<IoRedis> {
    let last: Error | undefined;
    // Without a listener ioredis prints every error; connect() itself only says that the connection is closed.
    client.on("error", (error) => {
      last = error;
    });
    await client.connect().catch((error: unknown) => {
      client.disconnect();
      throw last ?? error;
    });
    return client;
  }

  /** After a failed command the connection's state is unknown: it is dropped, so that the next request gets a new one. */
  #broken(pending: Promise<IoRedis>, client: IoRedis, cause: Error): ConnectionError {
    this.#forget(pending);
    client.disconnect();
    return new ConnectionError(reason(cause), { maybeRan: true, cause });
  }

  #forget(pending: Promise<IoRedis>): void {
    if (this.#client === pending) this.#client = undefined;
  }
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : "unknown fault";
}

function ignoreFailedConnect(): void {
  // A connection that was never made needs no closing; whoever asked for it has had its error.
}

function decodeBytes(value: unknown): Reply {
  if (Buffer.isBuffer(value)) return isUtf8(value) ? value.toString() : new Uint8Array(value);
  if (typeof value === "number" || typeof value === "string" || value === null) return value;
  if (Array.isArray(value)) return value.map(decodeBytes);
  throw new ConnectionError(`Redis' answer holds a ${typeof value}`, { maybeRan: true });
}
