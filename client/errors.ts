import type { ErrorCode, InvalidMember, Problem, Settled } from "./wire.ts";

/** What an error of this package is known by: a `code` of Weir's, or what the client itself met. */
export type WeirErrorCode =
  | ErrorCode
  | "no-answer"
  | "unexpected-answer"
  | "lease-lost"
  | "processing-timeout"
  | "stopped"
  | "closed";

export interface WeirErrorOptions {
  /** The HTTP status; 0: there was no answer. */
  readonly status?: number | undefined;
  readonly errors?: readonly InvalidMember[] | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly settled?: Settled | undefined;
  readonly cause?: unknown;
}

/** The base of every error that a request to Weir throws. Decide by `code`, which is stable, or by class. */
export class WeirError extends Error {
  override readonly name: string = "WeirError";
  readonly code: WeirErrorCode;
  /** The HTTP status; 0: there was no answer. */
  readonly status: number;
  /** Every invalid member of the request at once; empty where it is about something else. */
  readonly errors: readonly InvalidMember[];
  /** After how many milliseconds Weir wants to be asked again; undefined: it did not say. */
  readonly retryAfterMs: number | undefined;
  /** What the request settled all the same; undefined: nothing is known of that. */
  readonly settled: Settled | undefined;

  constructor(code: WeirErrorCode, message: string, options: WeirErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? 0;
    this.errors = options.errors ?? [];
    this.retryAfterMs = options.retryAfterMs;
    this.settled = options.settled;
  }
}

/** 400, 405, 415, 422 and other 4xx: the request is not valid, and will not be when it is sent again. `errors` lists the members. */
export class InvalidRequestError extends WeirError {
  override readonly name = "InvalidRequestError";
}

/** 401 and 403: the token is missing, wrong or expired, or does not permit this. */
export class AccessError extends WeirError {
  override readonly name = "AccessError";
}

/** 404: there is no such stream, group, consumer, message, dead letter or route; `code` says which. */
export class NotFoundError extends WeirError {
  override readonly name = "NotFoundError";
}

/** 409: it conflicts with what is there. */
export class ConflictError extends WeirError {
  override readonly name = "ConflictError";
}

/** 413: a message or the body is above its limit. `errors` names the messages, as `messages[3]`. */
export class PayloadTooLargeError extends WeirError {
  override readonly name = "PayloadTooLargeError";
}

/** 429: the consumer holds as much as Redis allows, or the token has made too many requests. */
export class TooManyError extends WeirError {
  override readonly name = "TooManyError";
}

/** 507: the stream is full, or Redis is. Nothing was stored. */
export class FullError extends WeirError {
  override readonly name = "FullError";
}

/** 500, 501 and 503: Weir could not serve this. */
export class UnavailableError extends WeirError {
  override readonly name = "UnavailableError";
}

/**
 * The write may or may not have happened: 503 `outcome-unknown`, or a produce of which an attempt may have been stored could
 * not be repeated to its end.
 */
export class OutcomeUnknownError extends WeirError {
  override readonly name = "OutcomeUnknownError";
}

/** No answer came: no connection, one that broke, or none within `timeoutMs`. A write may have happened. */
export class NoAnswerError extends WeirError {
  override readonly name = "NoAnswerError";
}

/** An answer came that is none of Weir's: a proxy's, or of something else at that address. */
export class UnexpectedAnswerError extends WeirError {
  override readonly name = "UnexpectedAnswerError";
}

/** Why a handler's `signal` is aborted: another delivery holds its message by now. What the handler does is done twice. */
export class LeaseLostError extends WeirError {
  override readonly name = "LeaseLostError";
}

/** Why a handler's `signal` is aborted: `maxProcessingMs` is over, and its lease is not extended any more. */
export class ProcessingTimeoutError extends WeirError {
  override readonly name = "ProcessingTimeoutError";
}

/** Why a handler's `signal` is aborted: the consumer stops, and its grace period is over. */
export class StoppedError extends WeirError {
  override readonly name = "StoppedError";
}

type ErrorClass = new (code: WeirErrorCode, message: string, options?: WeirErrorOptions) => WeirError;

const CLASS_OF_STATUS: Readonly<Record<number, ErrorClass>> = {
  400: InvalidRequestError,
  401: AccessError,
  403: AccessError,
  404: NotFoundError,
  405: InvalidRequestError,
  409: ConflictError,
  413: PayloadTooLargeError,
  415: InvalidRequestError,
  422: InvalidRequestError,
  429: TooManyError,
  507: FullError,
};

/**
 * An error answer as an error.
 * @param what the request, such as `POST /v1/streams/orders/messages`
 */
export function errorOf(problem: Problem, what: string, retryAfterMs: number | undefined): WeirError {
  const { code, status, detail, errors, settled } = problem;
  const ClassOfOthers = status < 500 ? InvalidRequestError : UnavailableError;
  const Class = code === "outcome-unknown" ? OutcomeUnknownError : (CLASS_OF_STATUS[status] ?? ClassOfOthers);
  return new Class(code, `${what}: ${code}: ${detail}`, { status, errors, settled, retryAfterMs });
}
