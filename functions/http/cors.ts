import type { AppContext } from "../context.ts";

/** Cross-origin requests of browsers (https://fetch.spec.whatwg.org/#http-cors-protocol), where the settings permit them. */

const METHODS = "GET, HEAD, PUT, POST, DELETE";
const REQUEST_HEADERS = ["authorization", "content-type", "idempotency-key", "x-request-id"];
/** Attributes of CloudEvents may have any name, and `*` would not stand for all that is sent beside Authorization. */
const ATTRIBUTE_HEADER = /^ce-[a-z0-9]{1,64}$/;
const EXPOSED = [
  "Idempotency-Replayed",
  "Link",
  "RateLimit",
  "RateLimit-Policy",
  "Retry-After",
  "Server-Timing",
  "WWW-Authenticate",
  "X-Request-Id",
].join(", ");
/** What Chromium keeps the answer for at most. */
const MAX_AGE_S = "7200";

/**
 * The answer to a browser that asks whether it may send a request; undefined when this is no such question, or the page's
 * origin may not call.
 */
export function preflightAnswer(c: AppContext): Response | undefined {
  const origin = permittedOrigin(c);
  const isPreflight = c.req.method === "OPTIONS" && c.req.header("access-control-request-method") !== undefined;
  if (origin === undefined || !isPreflight) return undefined;
  const asked = (c.req.header("access-control-request-headers") ?? "")
    .split(",")
    .map((name) => name.trim().toLowerCase());
  const headers = {
    "access-control-allow-methods": METHODS,
    "access-control-allow-headers": [...REQUEST_HEADERS, ...asked.filter((name) => ATTRIBUTE_HEADER.test(name))].join(
      ", ",
    ),
    "access-control-max-age": MAX_AGE_S,
    vary: "Access-Control-Request-Headers",
  };
  return new Response(null, { status: 204, headers });
}

/** Lets the page read the answer, whatever it is. */
export function shareAnswer(c: AppContext): void {
  const { corsOrigins } = c.var.context.config;
  if (corsOrigins.length === 0) return;
  const { headers } = c.res;
  // What is answered to one origin must not be kept for another, nor for none.
  if (!corsOrigins.includes("*")) headers.append("vary", "Origin");
  const origin = permittedOrigin(c);
  if (origin === undefined) return;
  headers.set("access-control-allow-origin", origin);
  headers.set("access-control-expose-headers", EXPOSED);
}

/** What the answer may name: undefined when no page asks, or one whose origin is not permitted. */
function permittedOrigin(c: AppContext): string | undefined {
  const { corsOrigins } = c.var.context.config;
  const origin = c.req.header("origin");
  if (origin === undefined) return undefined;
  if (corsOrigins.includes("*")) return "*";
  return corsOrigins.includes(origin) ? origin : undefined;
}
