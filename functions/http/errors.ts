import type * as Wire from "../../client/wire.ts";
import type { ErrorCode, WeirErrorOptions } from "../../shared/errors.ts";

/** What only a request over HTTP can meet. */
type HttpOnlyCode =
  | "unauthenticated"
  | "forbidden"
  | "not-found"
  | "method-not-allowed"
  | "unsupported-media-type"
  | "rate-limited"
  | "bad-signature"
  | "stale-webhook"
  | "not-available";

/** The `code` of an error answer. */
export type ProblemCode = ErrorCode | HttpOnlyCode;

/** Every `code` of an error answer with its HTTP status and title: the table of the API reference. */
export const ERROR_CODES: Readonly<Record<ProblemCode, { readonly status: number; readonly title: string }>> = {
  "invalid-request": { status: 400, title: "The request is not valid" },
  "stale-webhook": { status: 400, title: "The webhook's signed time is outside the tolerance" },
  unauthenticated: { status: 401, title: "A valid bearer token is needed" },
  "bad-signature": { status: 401, title: "The webhook's signature is missing or wrong" },
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
  "rate-limited": { status: 429, title: "Too many requests" },
  "internal-error": { status: 500, title: "Something went wrong inside Weir" },
  misconfigured: { status: 500, title: "The deployment's configuration is not complete" },
  "not-available": { status: 501, title: "The deployment lacks what this needs" },
  "redis-unavailable": { status: 503, title: "Redis cannot serve this now" },
  "outcome-unknown": { status: 503, title: "The write may or may not have happened" },
  "stream-full": { status: 507, title: "The stream is full, and a group still needs its oldest message" },
  "redis-full": { status: 507, title: "Redis is out of memory" },
} satisfies Readonly<Record<Wire.ErrorCode, unknown>>;

export function isProblemCode(name: string): name is ProblemCode {
  return Object.hasOwn(ERROR_CODES, name);
}

export interface HttpErrorOptions extends Pick<WeirErrorOptions, "cause" | "retryAfterS"> {
  /** The methods that the path has, for 405. */
  readonly allow?: readonly string[];
  /** Further headers of the answer. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** An error of the HTTP layer itself; those of the stream module are {@link WeirError}s. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly code: HttpOnlyCode;
  readonly options: HttpErrorOptions;

  /** @param detail a sentence for the client: what was expected and what came; no payload, no secret */
  constructor(code: HttpOnlyCode, detail: string, options: HttpErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.options = options;
  }
}
