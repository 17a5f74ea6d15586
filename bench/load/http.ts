// HTTP/1.1 on one kept connection, as cheap as it gets: whole requests go out as prebuilt bytes, and of answers only
// what is asked for is read. With node:http or fetch the load generator would cost more than the server.
import { connect, type Socket } from "node:net";

export interface HttpAnswer {
  status: number;
  head: string;
  body: string;
}

const HEAD_END = Buffer.from("\r\n\r\n");

export class HttpConnection {
  readonly #socket: Socket;
  #waiting: { resolve(answer: HttpAnswer): void; reject(error: Error): void } | undefined;
  #chunks: Buffer[] = [];
  #received = 0;
  /** How many bytes the answer has in all, once its head is there. */
  #expected = 0;
  #fault: Error | undefined;

  static async open(port: number): Promise<HttpConnection> {
    const socket = connect({ host: "127.0.0.1", port, noDelay: true });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.once("connect", resolve);
    socket.once("error", reject);
    await promise;
    socket.off("error", reject);
    return new HttpConnection(socket);
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("the server closed the connection")));
  }

  /** One request at a time. */
  send(...parts: readonly (Buffer | string)[]): Promise<HttpAnswer> {
    if (this.#fault) return Promise.reject(this.#fault);
    const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
    this.#waiting = { resolve, reject };
    if (parts.length > 1) this.#socket.cork();
    for (const part of parts) this.#socket.write(part);
    if (parts.length > 1) this.#socket.uncork();
    return promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#received += chunk.length;
    if (this.#received < this.#expected) return;
    const bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    this.#chunks = [bytes];
    const headEnd = bytes.indexOf(HEAD_END);
    if (headEnd === -1) return;
    const head = bytes.toString("latin1", 0, headEnd);
    const start = headEnd + HEAD_END.length;
    const length = /\ncontent-length: *(\d+)/i.exec(head)?.[1];
    const isChunked = length === undefined && /\ntransfer-encoding: *chunked/i.test(head);
    this.#expected = isChunked ? 0 : start + Number(length ?? 0);
    if (this.#received < this.#expected) return;
    // Leases and poll states are ASCII, and nothing else of a body is looked at.
    const body = isChunked ? dechunked(bytes, start) : bytes.toString("latin1", start, this.#expected);
    if (body === undefined) return;
    this.#chunks = [];
    this.#received = 0;
    this.#expected = 0;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve({ status: Number(head.slice(9, 12)), head, body });
  }

  #fail(error: Error): void {
    this.#fault ??= error;
    this.#waiting?.reject(this.#fault);
    this.#waiting = undefined;
  }
}

/** @returns undefined while the last chunk is not there */
function dechunked(bytes: Buffer, start: number): string | undefined {
  let body = "";
  let at = start;
  while (true) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd === -1) return undefined;
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    const from = lineEnd + 2;
    if (bytes.length < from + size + 2) return undefined;
    if (size === 0) return body;
    body += bytes.toString("latin1", from, from + size);
    at = from + size + 2;
  }
}

/** What stands before the body of a request to Weir. */
export function headOf(method: string, path: string, token: string, bodyBytes: number): string {
  return (
    `${method} ${path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer ${token}\r\n` +
    `content-type: application/json\r\ncontent-length: ${bodyBytes}\r\n\r\n`
  );
}
