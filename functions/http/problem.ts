import { WeirError } from "../../shared/errors.ts";
import { ReplyError } from "../../shared/redis/connection.ts";
import { log } from "../log.ts";
import { ERROR_CODES, HttpError, type ProblemCode } from "./errors.ts";

/** The request that failed, as far as an answer says what to do about it. */
export interface Failed {
  readonly path: string;
  /** What repeating the request means, where its outcome is unknown. */
  readonly repeat?: string | undefined;
  /** By which the log names it. */
  readonly requestId?: string | undefined;
}

/** An error as it is told. One that Weir did not make is `internal-error` and nothing more; the log has the rest. */
export function knownError(error: unknown): WeirError | HttpError {
  if (error instanceof WeirError || error instanceof HttpError) return error;
  return new WeirError("internal-error", "see the log", { cause: error });
}

/** Writes an error as RFC 9457 problem details. */
export function problemResponse(error: unknown, failed: Failed): Response {
  const known = knownError(error);
  const { code } = known;
  const { status, title } = ERROR_CODES[code];
  if (status >= 500) logFault(known, failed);
  const detail = [known.message, ...hintFor(code, failed)].join("; ");
  const { errors, settled } = known instanceof WeirError ? known.options : {};
  const body = JSON.stringify({ type: `urn:weir:error:${code}`, title, status, detail, code, errors, settled });
  return new Response(body, { status, headers: headersOf(known) });
}

function headersOf(error: WeirError | HttpError): Headers {
  const further = error instanceof HttpError ? error.options.headers : undefined;
  const headers = new Headers({ ...further, "content-type": "application/problem+json" });
  if (error.code === "unauthenticated") headers.set("www-authenticate", 'Bearer realm="weir"');
  // A 401 names what it expects (RFC 9110, section 15.5.2).
  if (error.code === "bad-signature") headers.set("www-authenticate", 'Signature realm="weir"');
  if (error instanceof HttpError && error.options.allow !== undefined) {
    headers.set("allow", error.options.allow.join(", "));
  }
  if (error.options.retryAfterS !== undefined) headers.set("retry-after", String(error.options.retryAfterS));
  return headers;
}

/** What to do about it: a request that mends it, or whether to repeat this one. */
function hintFor(code: ProblemCode, { path, repeat }: Failed): string[] {
  const stream = /^\/v1\/streams\/[^/]+/.exec(path)?.[0];
  if (code === "unknown-stream" && stream !== undefined) return [`PUT ${stream} creates it`];
  return code === "outcome-unknown" && repeat !== undefined ? [repeat] : [];
}

function logFault({ code, message, options: { cause } }: WeirError | HttpError, { requestId }: Failed): void {
  // Redis quotes arguments in some errors, and they may be payloads: only the code word is logged.
  const reason = cause instanceof ReplyError ? cause.word : cause instanceof Error ? cause.message : undefined;
  const stack =
    code === "internal-error" && cause instanceof Error && !(cause instanceof ReplyError) ? cause.stack : undefined;
  log("error", message, { requestId, code, reason, stack });
}
