/** What becomes of a message that was handled. */
export type Outcome =
  | { readonly kind: "ack" }
  | { readonly kind: "retry"; readonly delayMs: number | undefined; readonly reason: string | undefined }
  | { readonly kind: "reject"; readonly reason: string | undefined }
  | { readonly kind: "release" };

export const ACK: Outcome = { kind: "ack" };
export const RELEASE: Outcome = { kind: "release" };

export interface RetryOptions {
  /** How long until it comes again: 0 to 12 hours, in milliseconds. By the group's backoff unless set. */
  readonly afterMs?: number | undefined;
  /** Kept with the message, up to 1,024 characters. */
  readonly reason?: string | undefined;
}

const MAX_DELAY_MS = 12 * 3_600_000;
const MAX_REASON_CHARACTERS = 1_024;

export function retryIn({ afterMs, reason }: RetryOptions = {}): Outcome {
  const delayMs = afterMs === undefined ? undefined : Math.round(Math.min(Math.max(afterMs, 0), MAX_DELAY_MS));
  // Of what is no number nobody knows what was meant.
  return { kind: "retry", delayMs: Number.isNaN(delayMs) ? undefined : delayMs, reason: toReason(reason) };
}

export function rejectWith(reason: string | undefined): Outcome {
  return { kind: "reject", reason: toReason(reason) };
}

/** Weir refuses what is too long and what is no Unicode, and the whole request with it. */
function toReason(text: string | undefined): string | undefined {
  return text?.slice(0, MAX_REASON_CHARACTERS).toWellFormed();
}

/** Thrown by a handler: the message comes again, after `afterMs` if that is set. */
export class RetryError extends Error {
  override readonly name = "RetryError";
  readonly afterMs: number | undefined;

  /** @example throw new RetryError({ afterMs: 60_000, reason: "the bank is closed", cause: error }); */
  constructor({ afterMs, reason, cause }: RetryOptions & { readonly cause?: unknown } = {}) {
    super(reason ?? "to be retried", { cause });
    this.afterMs = afterMs;
  }
}

/** Thrown by a handler: the message can never succeed, and goes to the group's dead letters. */
export class RejectError extends Error {
  override readonly name = "RejectError";

  /** @example throw new RejectError("no such customer"); */
  constructor(reason: string, options?: { readonly cause?: unknown }) {
    super(reason, options);
  }
}

/** What `onError` decides; undefined: as if it were not there. */
export type ErrorDecision =
  | { readonly retryAfterMs: number }
  | { readonly reject: string | true }
  | { readonly ack: true }
  | undefined;

/** Whatever was thrown: not all of it can be made a text. */
function wordsOf(error: unknown): string {
  try {
    return String(error instanceof Error ? error.message : error);
  } catch {
    return "something without words was thrown";
  }
}

/** What becomes of a message whose handler threw. */
export function outcomeOf(error: unknown, decision: ErrorDecision): Outcome {
  const reason = wordsOf(error);
  if (decision === undefined) {
    if (error instanceof RejectError) return rejectWith(reason);
    return retryIn({ afterMs: error instanceof RetryError ? error.afterMs : undefined, reason });
  }
  if ("ack" in decision) return ACK;
  if ("reject" in decision) return rejectWith(typeof decision.reject === "string" ? decision.reject : reason);
  return retryIn({ afterMs: decision.retryAfterMs, reason });
}
