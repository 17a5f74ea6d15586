import { EVENT_BATCH_TYPE } from "./cloud-events.ts";
import {
  InvalidRequestError,
  OutcomeUnknownError,
  PayloadTooLargeError,
  WeirError,
  type WeirErrorCode,
} from "./errors.ts";
import { type Call, type CallOptions, type Http, wasNotLetIn } from "./http.ts";
import type { CloudEvent, NewMessage, ProduceAnswer, ProduceQuery, ProduceRequest, Stream } from "./wire.ts";

/** The most messages that a request may hold. */
export const MAX_MESSAGES = 1_000;
/** The longest body that Weir takes. */
export const MAX_BODY_BYTES = 8 * 1024 * 1024;

export interface ProduceOptions extends CallOptions {
  /**
   * Your own name for this batch, 1 to 255 visible ASCII characters: whoever sends the same messages under it within the
   * stream's `dedupeWindowMs` gets the same ids. One is made up unless set.
   */
  readonly idempotencyKey?: string | undefined;
  /** False: no key is made up, which saves commands, and is repeated only where nothing was stored. */
  readonly idempotent?: boolean | undefined;
  /** A W3C trace context: goes along as the attribute `traceparent` of each message that has none. */
  readonly traceparent?: string | undefined;
}

export interface ProduceBodyOptions extends Omit<ProduceOptions, "traceparent">, ProduceQuery {
  readonly contentType: string;
  /** Further headers, such as `ce-…` of a CloudEvent in binary mode. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

export async function produce(
  http: Http,
  stream: string,
  messages: NewMessage | readonly NewMessage[],
  options: ProduceOptions = {},
): Promise<readonly string[]> {
  const list = isList(messages) ? messages : [messages];
  checkCount(list);
  const content = JSON.stringify({ messages: withTrace(list, options.traceparent) } satisfies ProduceRequest);
  return send(http, stream, { body: { content, contentType: "application/json" } }, options);
}

export async function produceEvents(
  http: Http,
  stream: string,
  events: CloudEvent | readonly CloudEvent[],
  options: Omit<ProduceOptions, "traceparent"> = {},
): Promise<readonly string[]> {
  const list = isList(events) ? events : [events];
  checkCount(list);
  return send(http, stream, { body: { content: JSON.stringify(list), contentType: EVENT_BATCH_TYPE } }, options);
}

export async function produceBody(
  http: Http,
  stream: string,
  content: string | Uint8Array<ArrayBuffer>,
  { contentType, type, key, headers, ...options }: ProduceBodyOptions,
): Promise<readonly string[]> {
  return send(http, stream, { body: { content, contentType }, query: { type, key }, headers }, options);
}

async function send(
  http: Http,
  stream: string,
  what: Pick<Call, "query" | "headers"> & { readonly body: NonNullable<Call["body"]> },
  options: ProduceOptions,
): Promise<readonly string[]> {
  checkSize(what.body.content);
  const { idempotencyKey, idempotent = true } = options;
  const key = idempotencyKey ?? (idempotent ? crypto.randomUUID() : undefined);
  const repeats = new Repeats(http, stream);
  const call: Call = {
    ...what,
    method: "POST",
    path: `${stream}/messages`,
    headers: { ...what.headers, ...(key === undefined ? {} : { "idempotency-key": key }) },
    isRepeatable: key !== undefined,
    beforeRepeat: (failed, given) => repeats.before(failed, given),
  };
  try {
    return (await http.send<ProduceAnswer>(call, options)).body.ids;
  } catch (error) {
    throw error instanceof WeirError ? repeats.endedBy(error) : error;
  }
}

/** Until half of the stream's `dedupeWindowMs` is over, the same `Idempotency-Key` appends nothing twice for sure. */
class Repeats {
  readonly #http: Http;
  readonly #stream: string;
  /** When the first attempt was made that may have stored the messages. */
  #startedAt = performance.now();
  #mayBeStored = false;
  #windowMs: number | undefined;

  constructor(http: Http, stream: string) {
    this.#http = http;
    this.#stream = stream;
  }

  /** @throws {OutcomeUnknownError} when it is too late to repeat the request */
  async before(failed: WeirError, options: CallOptions): Promise<void> {
    this.#mayBeStored ||= !hasStoredNothing(failed);
    if (!this.#mayBeStored) {
      this.#startedAt = performance.now();
      return;
    }
    this.#windowMs ??= await this.#ask(options);
    const elapsedMs = performance.now() - this.#startedAt;
    if (elapsedMs < this.#windowMs / 2) return;
    throw outcomeUnknown(`${Math.round(elapsedMs)} ms without an answer are too long to repeat it`, failed);
  }

  /** What a request that ended so is told as: that its last attempt stored nothing says nothing of those before. */
  endedBy(error: WeirError): WeirError {
    return this.#mayBeStored && hasStoredNothing(error)
      ? outcomeUnknown("an attempt before that may have stored the messages", error)
      : error;
  }

  async #ask({ signal, timeoutMs }: CallOptions): Promise<number> {
    const call: Call = { method: "GET", path: this.#stream, isRepeatable: true };
    try {
      const { body } = await this.#http.send<Stream>(call, { signal, timeoutMs, retry: 0 });
      return body.config.dedupeWindowMs;
    } catch (error) {
      // Who may only produce is not told: it is what it is unless somebody has set it.
      if (error instanceof WeirError && error.code === "forbidden") return DEFAULT_DEDUPE_WINDOW_MS;
      throw error;
    }
  }
}

/** What an attempt met that has stored nothing, whatever became of those before it. */
const STORED_NOTHING: readonly WeirErrorCode[] = [
  "redis-unavailable",
  "redis-full",
  "stream-full",
  "misconfigured",
  "not-available",
];

function hasStoredNothing(error: WeirError): boolean {
  return wasNotLetIn(error) || STORED_NOTHING.includes(error.code);
}

function outcomeUnknown(why: string, cause: WeirError): OutcomeUnknownError {
  const { retryAfterMs } = cause;
  return new OutcomeUnknownError("outcome-unknown", `${cause.message}; ${why}`, { retryAfterMs, cause });
}

const DEFAULT_DEDUPE_WINDOW_MS = 5 * 60_000;

function checkCount({ length }: readonly unknown[]): void {
  if (length >= 1 && length <= MAX_MESSAGES) return;
  throw new InvalidRequestError("invalid-request", `expected 1 to ${MAX_MESSAGES} messages, got ${length}`);
}

/** @throws {PayloadTooLargeError} before it is sent in vain */
function checkSize(content: string | Uint8Array): void {
  // A UTF-16 unit is three bytes of UTF-8 at most.
  if (content.length * 3 <= MAX_BODY_BYTES) return;
  const bytes = typeof content === "string" ? new TextEncoder().encode(content).length : content.length;
  if (bytes <= MAX_BODY_BYTES) return;
  const message = `expected a body of at most ${MAX_BODY_BYTES} bytes, got ${bytes}: send fewer messages at a time`;
  throw new PayloadTooLargeError("payload-too-large", message);
}

function withTrace(messages: readonly NewMessage[], traceparent: string | undefined): readonly NewMessage[] {
  return traceparent === undefined ? messages : messages.map((message) => traced(message, traceparent));
}

/** @param traceparent undefined: the message as it is */
export function traced(message: NewMessage, traceparent: string | undefined): NewMessage {
  if (traceparent === undefined) return message;
  return { ...message, attributes: { traceparent, ...message.attributes } };
}

function isList<One extends object>(given: One | readonly One[]): given is readonly One[] {
  return Array.isArray(given);
}
