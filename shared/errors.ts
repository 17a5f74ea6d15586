/** What can go wrong in the stream module and below it. Codes are stable: clients decide by them. */
export type ErrorCode =
  | "invalid-request"
  | "unknown-stream"
  | "unknown-group"
  | "unknown-consumer"
  | "unknown-message"
  | "unknown-dead-letter"
  | "conflict"
  | "payload-too-large"
  | "idempotency-mismatch"
  | "too-many-pending"
  | "stream-full"
  | "redis-full"
  | "redis-unavailable"
  | "outcome-unknown"
  | "misconfigured"
  | "internal-error";

/** One invalid member of a request: where it is, what was expected and what came. */
export interface InvalidMember {
  readonly path: string;
  readonly message: string;
}

export interface WeirErrorOptions {
  /** The underlying fault; for the log, never for an answer. */
  readonly cause?: unknown;
  /** After how many seconds to try again. */
  readonly retryAfterS?: number;
  /** Every invalid member at once. */
  readonly errors?: readonly InvalidMember[];
  /** What the request settled all the same. */
  readonly settled?: object;
}

/** An error whose code and detail a client may see. */
export class WeirError extends Error {
  override readonly name = "WeirError";
  readonly code: ErrorCode;
  readonly options: WeirErrorOptions;

  /** @param detail a sentence for the client: what was expected and what came; no payload, no secret */
  constructor(code: ErrorCode, detail: string, options: WeirErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.options = options;
  }
}
