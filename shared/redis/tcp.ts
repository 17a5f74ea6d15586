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
    let opened = this.#connected();
    let client = await opened;
    if (!isOpen(client)) {
      // Dropped, or closed by Redis (idle, restarted): nothing is under way on it.
      this.#forget(opened);
      opened = this.#connected();
      client = await opened;
      if (!isOpen(client)) throw new ConnectionError("the connection was closed", { maybeRan: false });
    }
    flushTogether(client);
    const pipeline = client.pipeline();
    for (const [name, ...args] of commands) pipeline.callBuffer(name, ...args);
    const results = await pipeline.exec();
    if (results?.length !== commands.length) throw broken(client, "an answer is missing");
    const refusal = results.map(([error]) => error).find(refusesConnection);
    if (refusal != null) {
      client.disconnect();
      throw refused("Redis refused the connection", refusal);
    }
    return results.map(([error, value]) => {
      if (error === null) return decodeBytes(value);
      if (error.name === "ReplyError") return new ReplyError(error.message);
      throw broken(client, reason(error));
    });
  }

  async close(): Promise<void> {
    const opened = this.#client;
    this.#client = undefined;
    // A connection that was never made needs no closing; its error has been reported.
    const client = await opened?.catch(() => undefined);
    client?.disconnect();
  }

  #connected(): Promise<IoRedis> {
    if (this.#client !== undefined) return this.#client;
    const opened = connect(this.#options);
    opened.catch(() => this.#forget(opened));
    this.#client = opened;
    return opened;
  }

  #forget(opened: Promise<IoRedis>): void {
    if (this.#client === opened) this.#client = undefined;
  }
}

/** @throws {ConnectionError} */
async function connect({ url, timeoutMs }: TcpOptions): Promise<IoRedis> {
  // Loaded only here: a Worker that speaks REST never initialises it.
  const { Redis } = await import("ioredis");
  const client = new Redis(url, {
    protocol: 2, // with RESP3, raw calls get another reply shape for XREADGROUP
    lazyConnect: true,
    connectTimeout: timeoutMs,
    commandTimeout: timeoutMs,
    enableReadyCheck: false, // saves an INFO per invocation; a loading Redis says LOADING itself
    disableClientInfo: true, // saves a round trip per invocation, and a stalled Redis half the wait
    retryStrategy: () => null, // a lost connection is an error of its request; the next request connects anew
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false, // would send an XADD twice
    enableOfflineQueue: false, // would send it later, when its request has long had an error
  });
  // Without a listener ioredis prints every error; connect() itself only says that the connection is closed.
  let fault: Error | undefined;
  client.on("error", (error) => {
    fault = error;
  });
  await client.connect().catch((error: Error) => {
    fault ??= error;
  });
  // After a refused SELECT ioredis would go on, in database 0.
  if (fault === undefined) return client;
  client.disconnect();
  throw refused(`cannot connect: ${reason(fault)}`, fault);
}

/** Nothing was run. */
function refused(message: string, error: Error): ConnectionError {
  const cause = error.name === "ReplyError" ? { cause: new ReplyError(error.message) } : {};
  return new ConnectionError(message, { maybeRan: false, ...cause });
}

/**
 * Whether Redis refuses the connection so, and with it all that was sent on it: it answers once, and closes. Without a
 * password it takes commands of 10 arguments of 16 KiB at most.
 */
function refusesConnection(error: Error | null): boolean {
  return /^ERR (max number of clients|max concurrent connections|Protocol error: unauthenticated)/.test(
    error?.message ?? "",
  );
}

/** After a failed command the connection's state is unknown: it is dropped, so that the next request gets a new one. */
function broken(client: IoRedis, message: string): ConnectionError {
  client.disconnect();
  return new ConnectionError(message, { maybeRan: true });
}

/** After the other side has ended, until the socket closes, ioredis still says "ready". */
function isOpen(client: IoRedis): boolean {
  return client.status === "ready" && client.stream.writable;
}

/**
 * What requests send in the same turn of the event loop goes out in one write: under load, writes to sockets are a good
 * part of a request's CPU time, and of Redis' for reading them.
 */
function flushTogether({ stream }: IoRedis): void {
  if (stream.writableCorked > 0) return;
  stream.cork();
  setImmediate(() => stream.uncork());
}

/** A host with several addresses fails with one error for all of them, which has a code and no message. */
function reason(error: Error): string {
  if (error.message !== "") return error.message;
  return "code" in error ? String(error.code) : error.name;
}

function decodeBytes(value: unknown): Reply {
  if (!Array.isArray(value)) return decodeScalar(value);
  const decoded = decodeInPlace(value.slice());
  // ioredis' commands outlive their use for some collections of V8's young objects, and all they refer to with them.
  value.length = 0;
  return decoded;
}

/** Decodes in place: a reply may hold thousands of arrays, and nobody else sees them. */
function decodeInPlace(replies: Reply[]): Reply[] {
  for (let i = 0; i < replies.length; i++) {
    const reply: unknown = replies[i];
    replies[i] = Array.isArray(reply) ? decodeInPlace(reply) : decodeScalar(reply);
  }
  return replies;
}

function decodeScalar(value: unknown): Reply {
  if (Buffer.isBuffer(value)) return decodeText(value);
  if (typeof value === "number" || typeof value === "string" || value === null) return value;
  throw new ConnectionError(`Redis' answer holds a ${typeof value}`, { maybeRan: true });
}

/** Text, or the bytes where they are not UTF-8: only then can U+FFFD stand for them, so nearly none need the check. */
function decodeText(bytes: Buffer): string | Uint8Array {
  const text = bytes.toString();
  return text.includes("\ufffd") && !isUtf8(bytes) ? new Uint8Array(bytes) : text;
}
