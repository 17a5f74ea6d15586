// One request to Weir: the token, JSON in and out, what it cost, and when to try again.
import { asObject, asText } from "./json.ts";
import { pause } from "./pause.ts";
import type { Usage } from "./usage.ts";

/** Where Weir is, and the token for it. `log` is told when a request has to be repeated. */
export interface Endpoint {
  readonly url: string;
  readonly token: string;
  readonly log: (line: string) => void;
}

/** `usage` counts what the answer cost; `signal` calls the request off; errors with a code in `accepts` are none. */
export interface Request {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  readonly path: string;
  readonly body?: unknown;
  /** In place of `body`: sent as it is. */
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly usage?: Usage;
  readonly accepts?: readonly string[];
  readonly signal: AbortSignal;
}

/** `body` is undefined when there was none. */
export interface Answer {
  readonly headers: Headers;
  readonly body: unknown;
}

/** An error answer of Weir (RFC 9457): `code` is stable, the message is for people. */
export class Problem extends Error {
  override readonly name = "Problem";
  readonly code: string;
  readonly retryAfterMs: number | undefined;

  constructor(message: string, code: string, retryAfterMs: number | undefined) {
    super(message);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

const TIMEOUT_MS = 30_000;
const MOST_TRIES = 5;

/**
 * Sends a request, and again when Weir says `Retry-After`. All that the demo sends may be repeated: a webhook has its
 * delivery id, an acknowledgement counts once, and a batch whose answer got lost comes again when its lease ends.
 *
 * @throws Problem what Weir answered; Error when there is no Weir; the signal's reason
 */
export async function send(endpoint: Endpoint, request: Request): Promise<Answer> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await sendOnce(endpoint, request);
    } catch (error) {
      if (!(error instanceof Problem) || error.retryAfterMs === undefined || tries === MOST_TRIES) throw error;
      endpoint.log(`${error.message} Again in ${error.retryAfterMs} ms.`);
      await pause(error.retryAfterMs, request.signal);
    }
  }
}

async function sendOnce(endpoint: Endpoint, request: Request): Promise<Answer> {
  const { status, headers, text } = await exchange(endpoint, request);
  request.usage?.add(headers);
  const isJson = headers.get("content-type")?.includes("json") === true;
  if (status >= 200 && status < 300) return { headers, body: isJson ? JSON.parse(text) : undefined };
  const problem = toProblem(endpoint, request, status, headers, text);
  if (problem instanceof Problem && request.accepts?.includes(problem.code)) return { headers, body: undefined };
  throw problem;
}

async function exchange({ url, token }: Endpoint, request: Request) {
  const { method, path, body, text = body === undefined ? undefined : JSON.stringify(body), headers, signal } = request;
  try {
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...headers },
      ...(text === undefined ? {} : { body: text }),
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    return { status: response.status, headers: response.headers, text: await response.text() };
  } catch (error) {
    signal.throwIfAborted();
    throw new Error(`No answer from ${url} (${causeOf(error)}). Is Weir running there? "npm start" starts one.`);
  }
}

/** fetch says only "fetch failed"; why is in its cause. */
function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && error.cause.message !== "" ? error.cause.message : error.message;
}

function toProblem({ url }: Endpoint, { method, path }: Request, status: number, headers: Headers, text: string) {
  const what = `${method} ${path}: HTTP ${status}`;
  if (!headers.get("content-type")?.startsWith("application/problem+json")) {
    return new Error(`${what}, and not as Weir answers. Is it Weir that runs at ${url}?`);
  }
  const problem = asObject(JSON.parse(text), "the problem");
  const code = asText(problem.code, "code");
  const hint = code === "unauthenticated" ? ` Set ROOT_TOKEN to the root token of ${url}.` : "";
  const retryAfterS = headers.get("retry-after");
  const retryAfterMs = retryAfterS === null ? undefined : Number(retryAfterS) * 1_000;
  return new Problem(`${what} ${code}: ${asText(problem.detail, "detail")}.${hint}`, code, retryAfterMs);
}
