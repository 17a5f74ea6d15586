import { matchedRoutes } from "hono/route";
import { NAME } from "../../shared/keys.ts";
import type { AppContext } from "../context.ts";
import { log } from "../log.ts";

/** What a client, or a proxy before Weir, may call its request. */
const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;

/** Where anybody may post: nothing of a request that is not verified goes into the log. */
export const WEBHOOK_PATH = "/hooks/";

/** The request's own `X-Request-Id` where that is sane, else a new one. */
export function requestIdOf(c: AppContext): string {
  const given = c.req.path.startsWith(WEBHOOK_PATH) ? "" : (c.req.header("x-request-id") ?? "");
  return REQUEST_ID.test(given) ? given : crypto.randomUUID();
}

/**
 * Writes the line of a request that was answered: what was asked for, by its route and the names in it, and what became of
 * it. Nothing else of the request: no query, no header, no payload.
 */
export function logRequest(c: AppContext, startedMs: number): void {
  const { requestId, context, errorCode, caller } = c.var;
  const { usage } = context.redis;
  const route = routeOf(c);
  log("info", "request", {
    requestId,
    method: c.req.method,
    route: route ?? null,
    status: c.res.status,
    durationMs: Math.round(performance.now() - startedMs),
    code: errorCode,
    redisCommands: usage.commands,
    redisRoundTrips: usage.roundTrips,
    token: tokenName(caller),
    ...(route === undefined || isStrange(route, errorCode) ? {} : namesIn(route, c.req.path)),
  });
}

/** A webhook to a source that there is not: its name is whatever somebody made up. */
function isStrange(route: string, errorCode: string | undefined): boolean {
  return route.startsWith(WEBHOOK_PATH) && errorCode === "not-found";
}

/** Absent for a caller that was not let in. */
function tokenName(caller: AppContext["var"]["caller"] | undefined): string | undefined {
  if (caller === undefined || caller === "root") return caller;
  return caller.id ?? undefined;
}

/** The route as the reference has it, also where the request did not get that far; undefined for none. */
function routeOf(c: AppContext): string | undefined {
  const route = matchedRoutes(c).find(({ method }) => method !== "ALL");
  return route?.path.replaceAll(/:(\w+)/g, "{$1}");
}

/** Stream, group and webhook source; what could not be a name is not logged. */
function namesIn(
  route: string,
  path: string,
): { readonly stream?: string; readonly group?: string; readonly source?: string } {
  const parts = path.split("/");
  const at = (name: string) => {
    const part = decoded(parts[route.split("/").indexOf(`{${name}}`)] ?? "");
    return NAME.test(part) ? { [name]: part } : {};
  };
  return { ...at("stream"), ...at("group"), ...at("source") };
}

/** "" for what cannot be decoded. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}
