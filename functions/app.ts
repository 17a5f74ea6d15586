import { Hono } from "hono";
import { createMiddleware } from "hono/factory";
import { RedisClock } from "../shared/redis/clock.ts";
import { Redis, type Usage } from "../shared/redis/redis.ts";
import { Revocations } from "../shared/revocations.ts";
import { SettingsCache } from "../shared/stream/settings-cache.ts";
import type { AppContext, AppEnv, RequestContext } from "./context.ts";
import type { Host } from "./host.ts";
import { authenticate } from "./http/auth.ts";
import { preflightAnswer, shareAnswer } from "./http/cors.ts";
import type { Route } from "./http/endpoint.ts";
import { HttpError } from "./http/errors.ts";
import { knownError, problemResponse } from "./http/problem.ts";
import { limitCaller } from "./http/rate-limit.ts";
import { logRequest, requestIdOf, WEBHOOK_PATH } from "./http/request-log.ts";
import { apiDocument } from "./openapi.ts";
import { alertRoutes } from "./routes/alerts.ts";
import { consumeRoutes } from "./routes/consume.ts";
import { consumerRoutes } from "./routes/consumers.ts";
import { deadLetterRoutes } from "./routes/dead-letters.ts";
import { groupRoutes } from "./routes/groups.ts";
import { healthRoutes } from "./routes/health.ts";
import { messageRoutes } from "./routes/messages.ts";
import { metricsRoutes } from "./routes/metrics.ts";
import { pendingRoutes } from "./routes/pending.ts";
import { reaperRoutes } from "./routes/reaper.ts";
import { referenceRoutes } from "./routes/reference.ts";
import { scheduledRoutes } from "./routes/scheduled.ts";
import { startRoutes } from "./routes/start.ts";
import { streamRoutes } from "./routes/streams.ts";
import { tokenRoutes } from "./routes/tokens.ts";
import { ingressRoutes } from "./webhooks/ingress-routes.ts";
import { sourceRoutes } from "./webhooks/source-routes.ts";
import { WebhookMemory } from "./webhooks/sources.ts";

/** Every route, in the order in which the reference shows them. */
const ROUTES: readonly Route[] = [
  ...startRoutes,
  ...healthRoutes,
  ...streamRoutes,
  ...messageRoutes,
  ...scheduledRoutes,
  ...sourceRoutes,
  ...ingressRoutes,
  ...groupRoutes,
  ...consumeRoutes,
  ...pendingRoutes,
  ...consumerRoutes,
  ...deadLetterRoutes,
  ...reaperRoutes,
  ...tokenRoutes,
  ...metricsRoutes,
  ...alertRoutes,
  ...referenceRoutes(() => apiDocument(ROUTES)),
];

/** Monitors ask for it all the time; what is served without settings is not logged either. */
const NOT_LOGGED = "/readyz";

/**
 * Makes the HTTP app.
 * @param now the clock, in Unix milliseconds
 */
export function createApp(host: Host, now: () => number = Date.now): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  const cache = new SettingsCache(now);
  const revocations = new Revocations(now);
  const clock = new RedisClock();
  const webhooks = new WebhookMemory(now);
  const isStatic = new Set(ROUTES.filter(({ isPublic }) => isPublic === "static").map(pathOf));

  app.onError((error, c) => {
    // Served without a context: what needs neither settings nor Redis.
    const context: RequestContext | undefined = c.var.context;
    return problem(c, context?.redis.explain(error) ?? error);
  });
  app.use(async (c, next) => {
    c.set("requestId", requestIdOf(c));
    await next();
    // Not c.header(): once the answer is made, that would copy it as a stream.
    const { headers } = c.res;
    headers.set("x-request-id", c.var.requestId);
    headers.set("x-content-type-options", "nosniff");
    // Payloads, tokens, figures of now. The pages, which are the same for all, say for how long they may be kept.
    if (!headers.has("cache-control")) headers.set("cache-control", "no-store");
  });
  app.use(async (c, next) => {
    if (isStatic.has(c.req.path)) return next();
    const startedMs = performance.now();
    const { config, connection, end } = host.begin(c.env);
    const redis = new Redis(connection);
    const runReaper = () => host.runReaper(config, redis, now());
    c.set("context", { config, redis, cache, revocations, clock, webhooks, now, runReaper });
    await next();
    if (redis.usage.roundTrips > 0) c.res.headers.set("server-timing", serverTiming(redis.usage));
    await end();
    if (config.requestLog && c.req.path !== NOT_LOGGED) logRequest(c, startedMs);
  });
  app.use(shareWithPages);
  app.use("/v1/*", authenticate, limitRate);
  app.use("/metrics", authenticate, limitRate);
  for (const route of ROUTES) app.on(route.method.toUpperCase(), pathOf(route), (c) => route.handle(c));
  app.notFound((c) => problem(c, noSuchRoute(app, c.req.method, c.req.path)));
  return app;
}

/** An error as an answer, its code noted for the log. */
function problem(c: AppContext, error: unknown): Response {
  const known = knownError(error);
  const { requestId, repeat } = c.var;
  c.set("errorCode", known.code);
  return problemResponse(known, { path: c.req.path, repeat, requestId });
}

/** Answers what a browser asks before it sends a request, which has no token, and lets permitted pages read answers. */
const shareWithPages = createMiddleware<AppEnv>(async (c, next) => {
  // Served without a context: pages of Weir's own. Webhooks come from servers: no page has to send one.
  const context: RequestContext | undefined = c.var.context;
  if (context === undefined || c.req.path.startsWith(WEBHOOK_PATH)) return next();
  const preflight = preflightAnswer(c);
  if (preflight === undefined) await next();
  else c.res = preflight;
  shareAnswer(c);
});

const limitRate = createMiddleware<AppEnv>(async (c, next) => {
  await limitCaller(c);
  return next();
});

/** A route's path as Hono writes it: `:stream` for `{stream}`. */
function pathOf({ path }: Route): string {
  return path.replaceAll(/\{(\w+)\}/g, ":$1");
}

function serverTiming({ commands, roundTrips, durationMs }: Usage): string {
  const counted = (count: number, noun: string) => `${count} ${noun}${count === 1 ? "" : "s"}`;
  return `redis;dur=${durationMs.toFixed(1)};desc="${counted(commands, "command")}, ${counted(roundTrips, "round trip")}"`;
}

/** 405 with the methods that the path has, or 404. */
function noSuchRoute(app: Hono<AppEnv>, method: string, path: string): HttpError {
  const allow = app.routes
    .filter((route) => route.method !== "ALL" && matches(route.path, path))
    .map((route) => route.method);
  if (allow.length === 0) return new HttpError("not-found", "there is no such route; see /openapi.json");
  const methods = [...new Set(allow)].sort();
  return new HttpError("method-not-allowed", `expected ${methods.join(" or ")}, got ${method}`, { allow: methods });
}

function matches(pattern: string, path: string): boolean {
  const [expected, got] = [pattern.split("/"), path.split("/")];
  return (
    expected.length === got.length &&
    expected.every((part, i) => (part.startsWith(":") ? got[i] !== "" : part === got[i]))
  );
}
