import { ERROR_CODES, WeirError } from "../shared/errors.ts";
import { ReplyError } from "../shared/redis/connection.ts";

/** Writes an error as RFC 9457 problem details; what is no {@link WeirError} is told as an internal error only. */
export function problemResponse(error: unknown): Response {
  const known = error instanceof WeirError ? error : new WeirError("internal-error", "see the log", { cause: error });
  if (known.status >= 500) logFault(known);
  const { code, status, message: detail, options } = known;
  const headers = new Headers({ "content-type": "application/problem+json" });
  if (options.retryAfterS !== undefined) headers.set("retry-after", String(options.retryAfterS));
  if (options.allow !== undefined) headers.set("allow", options.allow.join(", "));
  if (code === "unauthenticated") headers.set("www-authenticate", 'Bearer realm="weir"');
  const { title } = ERROR_CODES[code];
  const errors = options.errors === undefined ? {} : { errors: options.errors };
  return new Response(JSON.stringify({ type: `urn:weir:error:${code}`, title, status, detail, code, ...errors }), {
    status,
    headers,
  });
}

function logFault({ code, message, options: { cause } }: WeirError): void {
  // Redis quotes arguments in some errors: of those only the code word is logged.
  const reason = cause instanceof ReplyError ? cause.word : cause instanceof Error ? cause.message : undefined;
  const stack =
    code === "internal-error" && cause instanceof Error && !(cause instanceof ReplyError) ? cause.stack : undefined;
  console.error(JSON.stringify({ level: "error", code, message, reason, stack }));
}
