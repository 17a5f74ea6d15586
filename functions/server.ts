import { OpenAPIHono } from "@hono/zod-openapi";
import type { Config, Settings } from "../shared/config.ts";
import { WeirError } from "../shared/errors.ts";
import type { ReaperRun } from "../shared/reaper-runs.ts";
import type { Connection } from "../shared/redis/connection.ts";
import { Redis, type Usage } from "../shared/redis/redis.ts";
import { SettingsCache } from "../shared/stream/settings-cache.ts";
import { alertRoutes } from "./alerts.ts";
import type { AppEnv } from "./app.ts";
import { authenticate } from "./auth.ts";
import { consumeRoutes } from "./consume.ts";
import { consumerRoutes } from "./consumers.ts";
import { deadLetterRoutes } from "./dead-letters.ts";
import { docsRoute } from "./docs.ts";
import { groupRoutes } from "./groups.ts";
import { healthRoutes } from "./health.ts";
import { messageRoutes } from "./messages.ts";
import { metricsRoute } from "./metrics.ts";
import { openApiRoute } from "./openapi.ts";
import { problemResponse } from "./problem.ts";
import { reaperRoutes } from "./reaper.ts";
import { streamRoutes } from "./streams.ts";
import { tokenRoutes } from "./tokens.ts";

/** These need neither settings nor Redis. */
const NEED_NOTHING = ["/healthz", "/openapi.json", "/docs"];

/** What one invocation has of its surroundings. */
export interface Invocation {
  readonly config: Config;
  readonly connection: Connection;
  /** Called when the answer is made. */
  end(): Promise<void>;
}

/** What the app needs from where it runs. */
export interface Host {
  /** @throws {WeirError} `misconfigured` */
  begin(env: Settings): Invocation;
  runReaper(config: Config, redis: Redis, nowMs: number): Promise<ReaperRun>;
}

/**
 * Makes the HTTP app.
 * @param now the clock, in Unix milliseconds
 */
export function createApp(host: Host, now: () => number = Date.now): OpenAPIHono<AppEnv> {
  const app = new OpenAPIHono<AppEnv>();
  const cache = new SettingsCache(now);

  app.onError((error) => problemResponse(error));
  app.use(async (c, next) => {
    if (NEED_NOTHING.includes(c.req.path)) return next();
    const { config, connection, end } = host.begin(c.env);
    const redis = new Redis(connection);
    c.set("weir", { config, redis, cache, now, runReaper: () => host.runReaper(config, redis, now()) });
    await next();
    // Not c.header(): after the answer is made that would copy it, as a stream.
    if (redis.usage.roundTrips > 0) c.res.headers.set("server-timing", serverTiming(redis.usage));
    await end();
  });
  app.use("/v1/*", authenticate);
  app.use("/metrics", authenticate);

  healthRoutes(app);
  streamRoutes(app);
  messageRoutes(app);
  groupRoutes(app);
  consumeRoutes(app);
  consumerRoutes(app);
  deadLetterRoutes(app);
  reaperRoutes(app);
  tokenRoutes(app);
  metricsRoute(app);
  alertRoutes(app);
  openApiRoute(app);
  docsRoute(app);
  app.notFound((c) => problemResponse(noSuchRoute(app, c.req.method, c.req.path)));
  return app;
}

function serverTiming({ commands, roundTrips, durationMs }: Usage): string {
  const many = (count: number, noun: string) => `${count} ${noun}${count === 1 ? "" : "s"}`;
  return `redis;dur=${durationMs.toFixed(1)};desc="${many(commands, "command")}, ${many(roundTrips, "round trip")}"`;
}

/** 405 with what the path has, or 404. */
function noSuchRoute(app: OpenAPIHono<AppEnv>, method: string, path: string): WeirError {
  const allow = app.routes
    .filter((route) => route.method !== "ALL" && matches(route.path, path))
    .map((route) => route.method);
  if (allow.length === 0) return new WeirError("not-found", "there is no such route; see /openapi.json");
  const methods = [...new Set(allow)].sort();
  return new WeirError("method-not-allowed", `expected ${methods.join(" or ")}, got ${method}`, { allow: methods });
}

function matches(pattern: string, path: string): boolean {
  const [expected, got] = [pattern.split("/"), path.split("/")];
  return (
    expected.length === got.length &&
    expected.every((part, i) => (part.startsWith(":") ? got[i] !== "" : part === got[i]))
  );
}
