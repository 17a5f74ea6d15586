import { errorOf, InvalidRequestError, NoAnswerError, UnexpectedAnswerError, WeirError } from "./errors.ts";
import { backoffMs, pause } from "./pause.ts";
import type { Problem } from "./wire.ts";

/** As much of `fetch` as is needed, so that those of Node, browsers and service bindings fit. */
export type Fetch = (url: string, init: FetchInit) => Promise<FetchAnswer>;

export interface FetchInit {
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly signal: AbortSignal;
  readonly redirect: "manual";
}

export interface FetchAnswer {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  text(): Promise<string>;
}

/** Where Weir is, and how it is asked. */
export interface ClientOptions {
  /** Such as `https://weir.example.com`. */
  readonly url: string | URL;
  /** The root token or an access token; a function is asked for each request, for tokens that live shortly. */
  readonly token: string | (() => string | Promise<string>);
  /** What sends the requests, in place of the runtime's own `fetch`: a service binding, or a function. */
  readonly fetch?: Fetch | { readonly fetch: Fetch } | undefined;
  /** How long an attempt may take, in milliseconds; 15,000 unless set. */
  readonly timeoutMs?: number | undefined;
  /** How often a request that failed is sent again, where that is safe; 4 unless set. 0: never. */
  readonly retry?: number | undefined;
  /** Told of each attempt, what it cost included. What it throws is lost. */
  readonly onAttempt?: ((attempt: Attempt) => void) | undefined;
}

/** An attempt at a request. */
export interface Attempt {
  readonly method: string;
  readonly path: string;
  /** 1 for the first; more: a repeat. */
  readonly number: number;
  readonly durationMs: number;
  /** Undefined: no answer came. */
  readonly status: number | undefined;
  /** What Redis was billed, scripts' inner commands included, as `Server-Timing` says; undefined: it does not. */
  readonly redisCommands: number | undefined;
  readonly redisRoundTrips: number | undefined;
}

/** For a single request. */
export interface CallOptions {
  /** Calls the request off: it throws the signal's reason. What was sent may be done all the same. */
  readonly signal?: AbortSignal | undefined;
  /** In place of the client's. */
  readonly timeoutMs?: number | undefined;
  /** In place of the client's. */
  readonly retry?: number | undefined;
}

/** A request to Weir. */
export interface Call {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** With its names encoded already; see {@link pathOf}. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | undefined>> | undefined;
  /** Goes as JSON. */
  readonly json?: unknown;
  /** Goes as it is, in place of `json`. */
  readonly body?: { readonly content: string | Uint8Array<ArrayBuffer>; readonly contentType: string } | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Whether a second time does no harm. What is not repeated is repeated all the same where nothing ran: `rate-limited`. */
  readonly isRepeatable: boolean;
  /**
   * Asked before each repeat. What it throws counts as an attempt that failed.
   * @param error what the attempt before it failed with
   * @returns the error that ends the call, if it must not be repeated any more
   */
  beforeRepeat?(options: CallOptions, error: WeirError): Promise<WeirError | undefined>;
}

/** An answer that is no error. */
export interface Answer<Body> {
  readonly status: number;
  readonly headers: FetchAnswer["headers"];
  readonly body: Body;
  /** Whether an attempt before this one may have done it already. */
  readonly isRepeat: boolean;
}

const DEFAULT_TIMEOUT_MS = 15_000;
const DEFAULT_RETRY = 4;
const MIN_BACKOFF_MS = 200;
const MAX_BACKOFF_MS = 10_000;
/** Who is told to come again later than this is told so: nobody wants to wait in the dark. */
const MAX_RETRY_AFTER_MS = 60_000;

/** Sends requests: the token, a time limit for each attempt, repeats where they are safe, errors as classes. */
export class Http {
  readonly timeoutMs: number;
  readonly #url: string;
  readonly #token: ClientOptions["token"];
  readonly #fetch: Fetch;
  readonly #retry: number;
  readonly #onAttempt: ClientOptions["onAttempt"];

  constructor(options: ClientOptions) {
    this.#url = baseOf(options.url);
    this.#token = options.token;
    this.#fetch = fetchOf(options.fetch);
    this.timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#retry = options.retry ?? DEFAULT_RETRY;
    this.#onAttempt = options.onAttempt;
  }

  /**
   * @returns the answer, its body parsed where it is JSON, else as text
   * @throws {WeirError} what Weir answered, or that it did not
   * @throws the reason of `options.signal`
   */
  async send<Body>(call: Call, options: CallOptions = {}): Promise<Answer<Body>> {
    const repeats = options.retry ?? this.#retry;
    let mayBeDone = false;
    let freshTokens = 0;
    let failed: WeirError | undefined;
    for (let number = 1; ; number++) {
      const outcome = await this.#attempt<Body>(call, options, number, failed);
      if (!("error" in outcome)) return { ...outcome, isRepeat: mayBeDone };
      const { error, isFinal } = outcome;
      failed = error;
      // A token of a function may have ended on its way.
      const isOldToken = error.code === "unauthenticated" && typeof this.#token === "function" && freshTokens++ === 0;
      if (isFinal || number > repeats || !(isOldToken || isWorthRepeating(error, call))) throw error;
      mayBeDone ||= error.code !== "rate-limited" && !isOldToken;
      if (!isOldToken) await pause(waitMs(error, number), options.signal);
      options.signal?.throwIfAborted();
    }
  }

  async #attempt<Body>(
    call: Call,
    options: CallOptions,
    number: number,
    failed: WeirError | undefined,
  ): Promise<Omit<Answer<Body>, "isRepeat"> | { readonly error: WeirError; readonly isFinal: boolean }> {
    try {
      const end = failed === undefined ? undefined : await call.beforeRepeat?.(options, failed);
      if (end !== undefined) return { error: end, isFinal: true };
      return await this.#exchange<Body>(call, options, number);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof WeirError) return { error, isFinal: false };
      throw error;
    }
  }

  async #exchange<Body>(call: Call, { signal, timeoutMs = this.timeoutMs }: CallOptions, number: number) {
    signal?.throwIfAborted();
    const what = `${call.method} ${call.path}`;
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    // Not AbortSignal.any(): Node 20 keeps what it makes for as long as the outer signal lives.
    const limit = new AbortController();
    const stop = () => limit.abort(signal?.reason);
    signal?.addEventListener("abort", stop);
    const timer = setTimeout(() => limit.abort(new Error(`none within ${timeoutMs} ms`)), timeoutMs);
    const startedAt = performance.now();
    let answer: FetchAnswer | undefined;
    try {
      answer = await this.#fetch(this.#url + call.path + queryText(call.query), initOf(call, token, limit.signal));
      return readAnswer<Body>(answer, await answer.text(), what);
    } catch (error) {
      if (error instanceof WeirError) throw error;
      const reason: unknown = limit.signal.aborted ? limit.signal.reason : error;
      throw new NoAnswerError("no-answer", `${what}: no answer from ${this.#url} (${wordsOf(reason)})`, {
        cause: error,
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
      this.#tell(call, number, performance.now() - startedAt, answer);
    }
  }

  #tell({ method, path }: Call, number: number, durationMs: number, answer: FetchAnswer | undefined): void {
    if (this.#onAttempt === undefined) return;
    const [, commands, roundTrips] =
      /desc="(\d+) commands?, (\d+) round trips?"/.exec(answer?.headers.get("server-timing") ?? "") ?? [];
    const redisCommands = commands === undefined ? undefined : Number(commands);
    const redisRoundTrips = roundTrips === undefined ? undefined : Number(roundTrips);
    try {
      this.#onAttempt({ method, path, number, durationMs, status: answer?.status, redisCommands, redisRoundTrips });
    } catch {
      // Whoever watches must not change what is watched.
    }
  }
}

/** Makes a request of which only the body matters. */
export async function bodyOf<Body>(http: Http, call: Call, options?: CallOptions): Promise<Body> {
  return (await http.send<Body>(call, options)).body;
}

/** A GET. */
export function read<Body>(http: Http, path: string, query: Call["query"], options?: CallOptions): Promise<Body> {
  return bodyOf(http, { method: "GET", path, query, isRepeatable: true }, options);
}

/**
 * A path of encoded names.
 * @throws {InvalidRequestError} for a name that no URL can hold: it would name another path
 */
export function pathOf(parts: TemplateStringsArray, ...names: readonly string[]): string {
  return String.raw({ raw: parts }, ...names.map(encodeName));
}

function encodeName(name: string): string {
  if (typeof name !== "string" || name === "" || name === "." || name === "..") {
    throw new InvalidRequestError(
      "invalid-request",
      `expected a name other than "", "." and "..", got ${String(name)}`,
    );
  }
  return encodeURIComponent(name);
}

function baseOf(url: string | URL): string {
  const { protocol, origin, pathname } = new URL(url);
  if (protocol !== "http:" && protocol !== "https:") {
    throw new TypeError(`expected a url of http or https, got ${protocol}`);
  }
  return origin + pathname.replace(/\/+$/, "");
}

function fetchOf(given: ClientOptions["fetch"]): Fetch {
  // Called as methods of what they belong to: some refuse anything else.
  if (given === undefined) return (url, init) => globalThis.fetch(url, init);
  return typeof given === "function" ? given : (url, init) => given.fetch(url, init);
}

function queryText(query: Call["query"] = {}): string {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) given.set(name, String(value));
  return given.size === 0 ? "" : `?${given}`;
}

function initOf({ method, json, body, headers }: Call, token: string, signal: AbortSignal): FetchInit {
  const content = json === undefined ? body?.content : JSON.stringify(json);
  const contentType = json === undefined ? body?.contentType : "application/json";
  return {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(contentType === undefined ? {} : { "content-type": contentType }),
      ...headers,
    },
    ...(content === undefined ? {} : { body: content }),
    signal,
    // A POST that is redirected would go on as a GET.
    redirect: "manual",
  };
}

function readAnswer<Body>(answer: FetchAnswer, text: string, what: string): Omit<Answer<Body>, "isRepeat"> {
  const { status, headers } = answer;
  const contentType = headers.get("content-type") ?? "";
  const parsed = /^application\/(?:[\w.-]+\+)?json\b/.test(contentType) ? parse(text) : { value: text };
  if (parsed === undefined) throw unexpected(answer, text, what);
  if (status >= 200 && status < 300) {
    // What the contract says: the one place where an answer becomes typed.
    const body: Body = parsed.value;
    return { status, headers, body };
  }
  if (!contentType.startsWith("application/problem+json") || !isProblem(parsed.value)) {
    throw unexpected(answer, text, what);
  }
  throw errorOf(parsed.value, what, retryAfterMs(headers));
}

/** Others answer problems too (RFC 9457), with a `code` and `errors` of their own making or without. */
function isProblem(value: Partial<Problem> | null): value is Problem {
  return typeof value?.code === "string" && (value.errors === undefined || Array.isArray(value.errors));
}

// biome-ignore lint/suspicious/noExplicitAny: as JSON.parse has it; whoever takes it says what it is
function parse(text: string): { readonly value: any } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

function unexpected({ status, headers }: FetchAnswer, text: string, what: string): UnexpectedAnswerError {
  const kind = headers.get("content-type") ?? "no content type";
  const beginning = text.slice(0, 100).replaceAll(/\s+/g, " ");
  const message = `${what}: expected an answer of Weir's, got status ${status}, ${kind}: ${beginning}`;
  return new UnexpectedAnswerError("unexpected-answer", message, { status, retryAfterMs: retryAfterMs(headers) });
}

/** Seconds or a date (RFC 9110, section 10.2.3). */
function retryAfterMs(headers: FetchAnswer["headers"]): number | undefined {
  const text = headers.get("retry-after");
  if (text === null) return undefined;
  const ms = /^\d+$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

/** Full, and what holds too much: it takes more than a moment. A setting that is wrong stays wrong. */
const NOT_SOON = ["too-many-pending", "misconfigured", "not-available"];

function isWorthRepeating(error: WeirError, { isRepeatable }: Call): boolean {
  if ((error.retryAfterMs ?? 0) > MAX_RETRY_AFTER_MS) return false;
  if (error.code === "rate-limited") return true;
  if (!isRepeatable || NOT_SOON.includes(error.code)) return false;
  const { status } = error;
  return status === 0 || status === 408 || status === 429 || (status >= 500 && status !== 507);
}

function waitMs({ retryAfterMs: asked }: WeirError, number: number): number {
  const ms = backoffMs(number, MIN_BACKOFF_MS, MAX_BACKOFF_MS);
  // Not all at the same moment, and not before it.
  return asked === undefined ? ms : Math.max(ms, asked * (1 + Math.random() / 5));
}

/** fetch says only "fetch failed"; why is in its cause. */
function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && error.cause.message !== "" ? error.cause.message : error.message;
}
