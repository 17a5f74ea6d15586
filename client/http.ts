import {
  AccessError,
  errorOf,
  InvalidRequestError,
  NoAnswerError,
  UnexpectedAnswerError,
  WeirError,
} from "./errors.ts";
import { backoffMs, MAX_TIMER_MS, pause } from "./pause.ts";
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
  /**
   * The root token or an access token. A function is asked for each request, for tokens that live shortly, within the
   * request's `timeoutMs`; what it throws the request throws, at once.
   */
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
  /** Whether the answer is text; else it is JSON, or empty. */
  readonly isText?: boolean | undefined;
  /** Whether a second time does no harm. What is not repeated is repeated all the same where nothing ran: `rate-limited`. */
  readonly isRepeatable: boolean;
  /**
   * Called before each repeat with what the attempt before met. What it throws counts as an attempt that failed.
   * @throws {OutcomeUnknownError} when it must not be repeated any more
   */
  beforeRepeat?(failed: WeirError, options: CallOptions): Promise<void>;
}

/** An answer that is no error. */
export interface Answer<Body> {
  readonly status: number;
  readonly headers: FetchAnswer["headers"];
  readonly body: Body;
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

  /** @throws {TypeError} when an option is not what it should be */
  constructor(options: ClientOptions) {
    this.#url = baseOf(options.url);
    this.#token = options.token;
    this.#fetch = fetchOf(options.fetch);
    this.timeoutMs = atLeast(1, "timeoutMs", options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    this.#retry = atLeast(0, "retry", options.retry ?? DEFAULT_RETRY);
    this.#onAttempt = options.onAttempt;
  }

  /**
   * @returns the answer, its body parsed unless it is text
   * @throws {WeirError} what Weir answered, or that it did not
   * @throws the reason of `options.signal`, and what the token's function throws
   */
  async send<Body>(call: Call, options: CallOptions = {}): Promise<Answer<Body>> {
    const repeats = atLeast(0, "retry", options.retry ?? this.#retry);
    const timeoutMs = atLeast(1, "timeoutMs", options.timeoutMs ?? this.timeoutMs);
    const request = requestOf(call, this.#url);
    let failed: WeirError | undefined;
    let freshTokens = 0;
    for (let number = 1; ; number++) {
      const outcome = await this.#attempt<Body>(request, { ...options, timeoutMs }, number, failed);
      if (!(outcome instanceof WeirError)) return outcome;
      failed = outcome;
      // A token of a function may have ended on its way.
      const isOldToken = failed.code === "unauthenticated" && typeof this.#token === "function" && freshTokens++ === 0;
      if (number > repeats || !(isOldToken || isWorthRepeating(failed, call))) throw failed;
      // The next attempt throws where the signal ended it.
      if (!isOldToken) await pause(waitMs(failed, number), options.signal);
    }
  }

  async #attempt<Body>(
    request: ReadyRequest,
    options: AttemptOptions,
    number: number,
    failed: WeirError | undefined,
  ): Promise<Answer<Body> | WeirError> {
    try {
      if (failed !== undefined) await request.call.beforeRepeat?.(failed, options);
      return await this.#exchange<Body>(request, options, number);
    } catch (error) {
      if (error instanceof WeirError) return error;
      throw error;
    }
  }

  async #exchange<Body>(request: ReadyRequest, { signal, timeoutMs }: AttemptOptions, number: number) {
    signal?.throwIfAborted();
    const noAnswer = (why: string, cause?: unknown) =>
      new NoAnswerError("no-answer", `${request.what}: no answer from ${this.#url} (${why})`, { cause });
    // Not AbortSignal.any(): Node 20 keeps what it makes for as long as the outer signal lives.
    const limit = new AbortController();
    const stop = () => limit.abort(signal?.reason);
    signal?.addEventListener("abort", stop);
    // A longer timer would fire at once.
    const timer = setTimeout(
      () => limit.abort(noAnswer(`none within ${timeoutMs} ms`)),
      Math.min(timeoutMs, MAX_TIMER_MS),
    );
    let sentAt: number | undefined;
    let answer: FetchAnswer | undefined;
    const ask = async () => {
      const headers = { authorization: await this.#authorization(), ...request.headers };
      // Not every fetch looks at it.
      limit.signal.throwIfAborted();
      sentAt = performance.now();
      try {
        answer = await this.#fetch(request.url, initOf(request, headers, limit.signal));
        return { answer, text: await answer.text() };
      } catch (error) {
        throw noAnswer(wordsOf(error), error);
      }
    };
    try {
      const got = await unlessAborted(ask(), limit.signal);
      return readAnswer<Body>(got.answer, got.text, request, noAnswer);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
      if (sentAt !== undefined) this.#tell(request.call, number, performance.now() - sentAt, answer);
    }
  }

  /** @throws {AccessError} for what no header can hold: fetch would quote it in its error */
  async #authorization(): Promise<string> {
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    if (typeof token === "string" && /^[\x21-\x7e]+$/.test(token)) return `Bearer ${token}`;
    const got = typeof token === "string" ? `${token.length} characters, others among them or none` : typeof token;
    throw new AccessError("unauthenticated", `expected a token of visible ASCII characters, got ${got}`);
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

/** A request as it is sent, each time. */
interface ReadyRequest {
  readonly call: Call;
  /** Names it in errors. */
  readonly what: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly content: FetchInit["body"];
}

interface AttemptOptions extends CallOptions {
  readonly timeoutMs: number;
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
  if (typeof name !== "string" || ["", ".", ".."].includes(name) || !name.isWellFormed()) {
    throw new InvalidRequestError(
      "invalid-request",
      `expected a name of whole characters other than "", "." and "..", got ${String(name)}`,
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
  return typeof given === "function" ? (url, init) => given(url, init) : (url, init) => given.fetch(url, init);
}

function atLeast(min: number, name: string, value: number): number {
  if (typeof value === "number" && value >= min) return value;
  throw new TypeError(`${name}: expected a number of at least ${min}, got ${String(value)}`);
}

function queryText(query: Call["query"] = {}): string {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) given.set(name, String(value));
  return given.size === 0 ? "" : `?${given}`;
}

/**
 * @throws {TypeError} for what JSON cannot hold
 * @throws {InvalidRequestError} for what a header cannot hold: fetch would quote it in its error
 */
function requestOf(call: Call, base: string): ReadyRequest {
  const { method, path, query, json, body } = call;
  const isJson = json !== undefined;
  const contentType = isJson ? "application/json" : body?.contentType;
  const headers = { ...(contentType === undefined ? {} : { "content-type": contentType }), ...call.headers };
  for (const [name, value] of Object.entries(headers)) {
    if (/^[\w!#$%&'*+.^`|~-]+$/.test(name) && /^[\t\x20-\x7e\x80-\xff]*$/.test(value)) continue;
    throw new InvalidRequestError(
      "invalid-request",
      `expected what an HTTP header can hold, as ${JSON.stringify(name)}`,
    );
  }
  const content = isJson ? JSON.stringify(json) : body?.content;
  return { call, what: `${method} ${path}`, url: base + path + queryText(query), headers, content };
}

function initOf({ call, content }: ReadyRequest, headers: Record<string, string>, signal: AbortSignal): FetchInit {
  const body = content === undefined ? {} : { body: content };
  // A POST that is redirected would go on as a GET.
  return { method: call.method, headers, ...body, signal, redirect: "manual" };
}

/** Fails with the signal's reason as soon as that is aborted, whatever goes on: not every fetch or token looks at it. */
function unlessAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
    work.then(resolve, reject);
  });
}

function readAnswer<Body>(
  answer: FetchAnswer,
  text: string,
  { call, what }: ReadyRequest,
  noAnswer: (why: string) => NoAnswerError,
): Answer<Body> {
  const { status, headers } = answer;
  const isJson = /^application\/(?:[\w.-]+\+)?json\b/.test(headers.get("content-type") ?? "");
  const parsed = isJson ? parse(text) : undefined;
  if (status < 200 || status >= 300) {
    // Others have problems, too (RFC 9457), but no code.
    if (!isProblem(parsed?.value)) throw unexpected(answer, what);
    throw errorOf(parsed.value, what, retryAfterMs(headers));
  }
  const content: Parsed | undefined = call.isText ? { value: text } : status === 204 ? { value: undefined } : parsed;
  // An answer of no stated length that is cut looks whole.
  if (content === undefined && isJson) throw noAnswer("its JSON is not whole");
  if (content === undefined) throw unexpected(answer, what);
  // What the contract says: the one place where an answer becomes typed.
  const body: Body = content.value;
  return { status, headers, body };
}

interface Parsed {
  // biome-ignore lint/suspicious/noExplicitAny: as JSON.parse has it; whoever takes it says what it is
  readonly value: any;
}

function parse(text: string): Parsed | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

/** Others answer problems too, with a `code` and `errors` of their own making or without. */
function isProblem(value: Partial<Problem> | null | undefined): value is Problem {
  return typeof value?.code === "string" && (value.errors === undefined || Array.isArray(value.errors));
}

/** Without anything of its body, which may hold what was sent. */
function unexpected({ status, headers }: FetchAnswer, what: string): UnexpectedAnswerError {
  const kind = headers.get("content-type") ?? "no content type";
  const server = headers.get("server");
  const from = server === null ? "" : ` from ${server}`;
  const message = `${what}: expected an answer of Weir's, got status ${status}, ${kind}${from}`;
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

function isWorthRepeating({ code, status, retryAfterMs: asked = 0 }: WeirError, { isRepeatable }: Call): boolean {
  if (asked > MAX_RETRY_AFTER_MS) return false;
  if (code === "rate-limited") return true;
  if (!isRepeatable || NOT_SOON.includes(code)) return false;
  return code === "no-answer" || status === 408 || status === 429 || (status >= 500 && status !== 507);
}

/** Whether a request was refused before anything of it ran. */
export function wasNotLetIn({ code }: WeirError): boolean {
  return code === "rate-limited" || code === "unauthenticated" || code === "forbidden";
}

function waitMs({ retryAfterMs: asked }: WeirError, number: number): number {
  const ms = backoffMs(number, MIN_BACKOFF_MS, MAX_BACKOFF_MS);
  // Not all at the same moment, and not before it.
  return asked === undefined ? ms : Math.max(ms, asked * (1 + Math.random() / 5));
}

/** fetch says only "fetch failed"; why is in its cause, of which that of several addresses has a code alone. */
function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  return cause.message || ("code" in cause ? String(cause.code) : error.message);
}
