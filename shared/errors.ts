/** Every `code` of an error answer with its HTTP status and title; the table of the API reference. */
export const ERROR_CODES = {
  "invalid-request": { status: 400, title: "The request is not valid" },
  unauthenticated: { status: 401, title: "A valid bearer token is needed" },
  forbidden: { status: 403, title: "The token does not permit this" },
  "unknown-stream": { status: 404, title: "There is no such stream" },
  "unknown-group": { status: 404, title: "There is no such group" },
  "unknown-consumer": { status: 404, title: "There is no such consumer" },
  "unknown-message": { status: 404, title: "There is no such message" },
  "unknown-dead-letter": { status: 404, title: "There is no such dead letter" },
  "not-found": { status: 404, title: "There is no such route" },
  "method-not-allowed": { status: 405, title: "The route does not have this method" },
  conflict: { status: 409, title: "The request conflicts with what is there" },
  "payload-too-large": { status: 413, title: "A message or the body is above its limit" },
  "unsupported-media-type": { status: 415, title: "The body's media type is not supported" },
  "idempotency-mismatch": { status: 422, title: "The Idempotency-Key was used with other content" },
  "too-many-pending": { status: 429, title: "The consumer holds too many unsettled messages" },
  "internal-error": { status: 500, title: "Something went wrong inside Weir" },
  misconfigured: { status: 500, title: "The deployment's configuration is not complete" },
  "redis-unavailable": { status: 503, title: "Redis cannot serve this now" },
  "outcome-unknown": { status: 503, title: "The write may or may not have happened" },
  "stream-full": { status: 507, title: "The stream is full, and a group still needs its oldest message" },
  "redis-full": { status: 507, title: "Redis is out of memory" },
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** One invalid member of a request: where it is and what was expected and came. */
export interface InvalidMember {
  readonly path: string;
  readonly message: string;
}

export interface WeirErrorOptions {
  /** The underlying fault; for the log, never for an answer. */
  readonly cause?: unknown;
  /** When to try again, in seconds (HTTP's unit for `Retry-After`). */
  readonly retryAfterS?: number;
  /** Every invalid member at once. */
  readonly errors?: readonly InvalidMember[];
  /** The methods that the route has, for 405. */
  readonly allow?: readonly string[];
}

/** An error whose `code`, status and `detail` may be told to a client. */
export class WeirError extends Error {
  override readonly name = "WeirError";
  readonly code: ErrorCode;
  readonly options: WeirErrorOptions;

  /**
   * @param code a row of {@link ERROR_CODES}
   * @param detail a sentence for the client: what was expected and what came; no payload, no secret
   */
  constructor(code: ErrorCode, detail: string, options: WeirErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.options = options;
  }

  get status(): number {
    return ERROR_CODES[this.code].status;
  }
}
