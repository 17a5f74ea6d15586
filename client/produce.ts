import { InvalidRequestError, OutcomeUnknownError, PayloadTooLargeError, WeirError } from "./errors.ts";
import type { Call, CallOptions, Http } from "./http.ts";
import type { NewMessage, ProduceAnswer, ProduceRequest, Stream } from "./wire.ts";

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

export interface ProduceBodyOptions extends Omit<ProduceOptions, "traceparent"> {
  readonly contentType: string;
  /** The `type` of a message whose payload the body is. */
  readonly type?: string | undefined;
  /** The `key` of a message whose payload the body is. */
  readonly key?: string | undefined;
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
  if (list.length < 1 || list.length > MAX_MESSAGES) {
    throw new InvalidRequestError("invalid-request", `expected 1 to ${MAX_MESSAGES} messages, got ${list.length}`);
  }
  const content = JSON.stringify({ messages: withTrace(list, options.traceparent) } satisfies ProduceRequest);
  return send(http, stream, { body: { content, contentType: "application/json" } }, options);
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
  const window = new RepeatWindow(http, stream);
  let mayBeStored = false;
  const call: Call = {
    ...what,
    method: "POST",
    path: `${stream}/messages`,
    headers: { ...what.headers, ...(key === undefined ? {} : { "idempotency-key": key }) },
    isRepeatable: key !== undefined,
    beforeRepeat: async (given, error) => {
      mayBeStored ||= isUnsure(error);
      return key === undefined ? undefined : window.ended(given);
    },
  };
  try {
    return (await http.send<ProduceAnswer>(call, options)).body.ids;
  } catch (error) {
    throw mayBeStored && error instanceof WeirError ? unsureAfter(error) : error;
  }
}

/** Whether what was sent may have been stored all the same. */
function isUnsure({ code }: WeirError): boolean {
  return (
    code === "no-answer" || code === "unexpected-answer" || code === "outcome-unknown" || code === "internal-error"
  );
}

/** These are about the moment: they say that this attempt stored nothing, and nothing of the one before it. */
const OF_THE_MOMENT = [401, 403, 429, 500, 501, 503, 507];

/** What the last error tells when an attempt before it may have been stored. */
function unsureAfter(error: WeirError): WeirError {
  const { status, retryAfterMs } = error;
  if (isUnsure(error) || !OF_THE_MOMENT.includes(status)) return error;
  const message = `${error.message} (an attempt before it had no answer, and may have been stored)`;
  return new OutcomeUnknownError("outcome-unknown", message, { status, retryAfterMs, cause: error });
}

/** Until half of the stream's `dedupeWindowMs` is over, the same `Idempotency-Key` appends nothing twice for sure. */
class RepeatWindow {
  readonly #http: Http;
  readonly #stream: string;
  readonly #startedAt = performance.now();
  #windowMs: number | undefined;

  constructor(http: Http, stream: string) {
    this.#http = http;
    this.#stream = stream;
  }

  /** @returns why it is too late to repeat the request; undefined: it is not */
  async ended(options: CallOptions): Promise<OutcomeUnknownError | undefined> {
    this.#windowMs ??= await this.#ask(options);
    const elapsedMs = performance.now() - this.#startedAt;
    if (elapsedMs < this.#windowMs / 2) return undefined;
    const message = `POST ${this.#stream}/messages: ${Math.round(elapsedMs)} ms without an answer are too long to repeat it`;
    return new OutcomeUnknownError("outcome-unknown", message);
  }

  async #ask({ signal, timeoutMs }: CallOptions): Promise<number> {
    const call: Call = { method: "GET", path: this.#stream, isRepeatable: true };
    try {
      const { body } = await this.#http.send<Stream>(call, { signal, timeoutMs, retry: 0 });
      return body.config.dedupeWindowMs;
    } catch (error) {
      // Who may only produce is not told: it is what it is unless somebody has set it.
      if (error instanceof WeirError && error.status === 403) return DEFAULT_DEDUPE_WINDOW_MS;
      throw error;
    }
  }
}

const DEFAULT_DEDUPE_WINDOW_MS = 5 * 60_000;

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

function isList(messages: NewMessage | readonly NewMessage[]): messages is readonly NewMessage[] {
  return Array.isArray(messages);
}
