// One connection to Redis, for whoever sends whole batches of commands and wants the replies as bytes.
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { type Arg, encodeCommand, errorText, ReplySplitter } from "./resp.ts";

interface Batch {
  missing: number;
  replies: Buffer[];
  resolve: (replies: Buffer[]) => void;
  reject: (e: Error) => void;
}

/** The connection to Redis is gone, or could not be made: whether the commands ran is not known. */
export class RedisUnreachable extends Error {
  override name = "RedisUnreachable";
}

/**
 * A connection that is made at the first batch and made again at the first batch after a loss. It repeats nothing by
 * itself: a batch whose connection breaks is rejected, since a write in it may have happened.
 */
export class RedisLink {
  readonly #url: URL;
  #current: Promise<Connection> | undefined;

  /** @param url `redis://[user:password@]host:port[/db]`, or `rediss://` for TLS */
  constructor(url: string) {
    this.#url = new URL(url);
  }

  /**
   * Sends commands in one go; on this connection nothing comes between them.
   *
   * @param commands each a name and its arguments
   * @returns one reply for each, errors included
   * @throws RedisUnreachable
   */
  async send(commands: readonly (readonly Arg[])[]): Promise<Buffer[]> {
    const connection = await this.#connection();
    return connection.send(commands);
  }

  /** Ends the connection; what is still under way is rejected. */
  async close(): Promise<void> {
    const closing = this.#current;
    this.#current = undefined;
    // A connection that could not be made needs no closing, and whoever asked for it has been told.
    const connection = await closing?.catch(() => undefined);
    connection?.end();
  }

  #connection(): Promise<Connection> {
    if (this.#current) return this.#current;
    const forget = () => {
      if (this.#current === opened) this.#current = undefined;
    };
    const opened = Connection.to(this.#url, forget);
    opened.catch(forget);
    this.#current = opened;
    return opened;
  }
}

class Connection {
  readonly #socket: Socket;
  readonly #waiting: Batch[] = [];
  readonly #splitter = new ReplySplitter();
  #lost: Error | undefined;

  static async to(url: URL, onLost: () => void): Promise<Connection> {
    const connection = new Connection(await openSocket(url), onLost);
    const hello = greeting(url);
    const refused = (await connection.send(hello)).map(errorText).find((text) => text !== undefined);
    if (refused === undefined) return connection;
    connection.end();
    throw new RedisUnreachable(`Redis refused the connection: ${refused}`);
  }

  private constructor(socket: Socket, onLost: () => void) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => {
      onLost();
      this.#fail(new Error("the connection was closed"));
    });
  }

  send(commands: readonly (readonly Arg[])[]): Promise<Buffer[]> {
    if (this.#lost) return Promise.reject(this.#lost);
    if (commands.length === 0) return Promise.resolve([]);
    const { promise, resolve, reject } = Promise.withResolvers<Buffer[]>();
    this.#waiting.push({ missing: commands.length, replies: [], resolve, reject });
    this.#socket.cork();
    for (const command of commands) for (const chunk of encodeCommand(command)) this.#socket.write(chunk);
    this.#socket.uncork();
    return promise;
  }

  end(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    try {
      this.#splitter.push(chunk, (reply) => this.#take(reply));
    } catch (error) {
      this.#socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #take(reply: Buffer): void {
    const batch = this.#waiting[0];
    if (!batch) throw new Error("Redis answered something that was not asked");
    batch.replies.push(reply);
    if (--batch.missing > 0) return;
    this.#waiting.shift();
    batch.resolve(batch.replies);
  }

  #fail(cause: Error): void {
    this.#lost ??= new RedisUnreachable(`Redis is unreachable: ${cause.message}`, { cause });
    for (const batch of this.#waiting.splice(0)) batch.reject(this.#lost);
  }
}

function openSocket(url: URL): Promise<Socket> {
  const port = Number(url.port || 6379);
  const host = url.hostname.replace(/^\[|\]$/g, "") || "127.0.0.1";
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const tls = url.protocol === "rediss:";
  const socket = tls ? connectTls({ host, port, servername: host }) : connect({ host, port });
  socket.setNoDelay(true);
  const failed = (error: Error) => {
    reject(new RedisUnreachable(`no Redis at ${host}:${port}: ${error.message || "refused"}`, { cause: error }));
  };
  socket.once("error", failed);
  socket.once(tls ? "secureConnect" : "connect", () => {
    socket.off("error", failed);
    resolve(socket);
  });
  return promise;
}

function greeting(url: URL): string[][] {
  const commands: string[][] = [];
  const user = decodeURIComponent(url.username);
  const password = decodeURIComponent(url.password);
  if (password) commands.push(user ? ["AUTH", user, password] : ["AUTH", password]);
  const db = url.pathname.slice(1);
  if (db && db !== "0") commands.push(["SELECT", db]);
  return commands;
}
