import { WeirError } from "../../shared/errors.ts";
import { ReplyError } from "../../shared/redis/connection.ts";
import { log } from "../log.ts";
import { ERROR_CODES, HttpError } from "./errors.ts";

/**
 * Writes an error as RFC 9457 problem details. An error that Weir did not make is told as `internal-error` and nothing
 * more; the log has the rest.
 * @param path of the request, for hints that name a route
 */
export function problemResponse(error: unknown, path: string): Response {
  const known =
    error instanceof WeirError || error instanceof HttpError
      ? error
      : new WeirError("internal-error", "see the log", { cause: error });
  const { code } = known;
  const { status, title } = ERROR_CODES[code];
  if (status >= 500) logFault(known);
  const detail = `${known.message}${hintFor(code, path)}`;
  const errors = known instanceof WeirError && known.options.errors ? { errors: known.options.errors } : {};
  const body = JSON.stringify({ type: `urn:weir:error:${code}`, title, status, detail, code, ...errors });
  return new Response(body, { status, headers: headersOf(known) });
}

function headersOf(error: WeirError | HttpError): Headers {
  const headers = new Headers({ "content-type": "application/problem+json" });
  if (error.code === "unauthenticated") headers.set("www-authenticate", 'Bearer realm="weir"');
  if (error instanceof HttpError) {
    if (error.options.allow !== undefined) headers.set("allow", error.options.allow.join(", "));
  } else if (error.options.retryAfterS !== undefined) {
    headers.set("retry-after", String(error.options.retryAfterS));
  }
  return headers;
}

/** What to do about it, where one request mends it. */
function hintFor(code: string, path: string): string {
  const stream = /^\/v1\/streams\/[^/]+/.exec(path)?.[0];
  return code === "unknown-stream" && stream !== undefined ? `; PUT ${stream} creates it` : "";
}

function logFault({ code, message, options: { cause } }: WeirError | HttpError): void {
  // Redis quotes arguments in some errors, and they may be payloads: only the code word is logged.
  const reason = cause instanceof ReplyError ? cause.word : cause instanceof Error ? cause.message : undefined;
  const stack =
    code === "internal-error" && cause instanceof Error && !(cause instanceof ReplyError) ? cause.stack : undefined;
  log("error", message, { code, reason, stack });
}
