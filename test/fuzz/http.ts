import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { gunzipSync } from "node:zlib";

/** A request as it goes over the wire. */
export interface WireRequest {
  readonly method: string;
  /** With the query, as it is sent: nothing is put right. */
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer | undefined;
  /** How the body is framed; `short`: as if more of it were to come, and then nothing does. */
  readonly framing: "length" | "chunked" | "short";
}

export interface WireAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly text: string;
  readonly durationMs: number;
}

/** A client that sends what it is told, over one connection. */
export class HttpClient {
  readonly #base: URL;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(base: URL) {
    this.#base = base;
  }

  /** @returns undefined when the connection was closed without an answer */
  send(request: WireRequest, timeoutMs: number): Promise<WireAnswer | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<WireAnswer | undefined>();
    const startedMs = performance.now();
    const { hostname, port } = this.#base;
    const sent = httpRequest({
      hostname,
      port,
      method: request.method,
      path: request.target,
      headers: headersOf(request),
      // A request that is cut short takes its connection with it.
      ...(request.framing === "short" ? { agent: false } : { agent: this.#agent }),
    });
    const timer = setTimeout(() => {
      sent.destroy();
      reject(new Error(`no answer within ${timeoutMs} ms`));
    }, timeoutMs);
    const done = (answer: WireAnswer | undefined) => {
      clearTimeout(timer);
      resolve(answer);
    };
    sent.on("response", (response) => {
      void readAnswer(response, startedMs).then(done, () => done(undefined));
    });
    sent.on("error", () => done(undefined));
    write(sent, request);
    return promise;
  }

  close(): void {
    this.#agent.destroy();
  }
}

function headersOf({ headers, body, framing }: WireRequest): Record<string, string | string[]> {
  const byName: Record<string, string | string[]> = {};
  for (const [name, value] of headers) {
    const before = byName[name];
    byName[name] = before === undefined ? value : [before, value].flat();
  }
  if (body !== undefined && framing === "chunked") byName["transfer-encoding"] = "chunked";
  else if (body !== undefined) byName["content-length"] = String(body.length + (framing === "short" ? 10 : 0));
  return byName;
}

function write(sent: ReturnType<typeof httpRequest>, { body, framing }: WireRequest): void {
  if (framing !== "short") {
    sent.end(body);
    return;
  }
  sent.write(body ?? "", () => sent.socket?.end());
}

async function readAnswer(response: IncomingMessage, startedMs: number): Promise<WireAnswer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(Buffer.from(chunk));
  const headers = Object.fromEntries(
    Object.entries(response.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : value]),
  );
  return {
    status: response.statusCode ?? 0,
    headers,
    text: decoded(Buffer.concat(chunks), headers["content-encoding"]).toString(),
    durationMs: performance.now() - startedMs,
  };
}

function decoded(body: Buffer, encoding: string | undefined): Buffer {
  return encoding === "gzip" ? gunzipSync(body) : body;
}
