import * as z from "zod";
import type { Config } from "../../shared/config.ts";
import type { RequestContext } from "../context.ts";
import { noBody, nothing, type Route, route } from "../http/endpoint.ts";
import { once } from "../http/once.ts";

const statusSchema = once(() => z.object({ status: z.literal("ok") }));

const getHealthRoute = route(
  { method: "get", path: "/healthz", isPublic: "static" },
  () => ({
    operationId: "getHealth",
    tag: "Health",
    summary: "Whether the process answers",
    params: nothing,
    query: nothing,
    body: noBody,
    answers: { 200: { description: "It does", schema: statusSchema() } },
    errors: [],
  }),
  ({ c }) => c.json({ status: "ok" }),
);

const getReadinessRoute = route(
  { method: "get", path: "/readyz", isPublic: true },
  () => ({
    operationId: "getReadiness",
    tag: "Health",
    summary: "Whether Redis answers; looked at once in 5 seconds at most",
    params: nothing,
    query: nothing,
    body: noBody,
    answers: { 200: { description: "It does", schema: statusSchema() } },
    errors: [],
  }),
  async ({ context, c }) => {
    await checkRedis(context);
    return c.json({ status: "ok" });
  },
);

const READY_KEPT_MS = 5_000;

interface Readiness {
  readonly untilMs: number;
  readonly fault: unknown;
}

/** One entry an isolate: settings stay the same for its life. */
const known = new WeakMap<Config, Readiness>();

/**
 * Remembers success and failure: anybody may ask, and must not be able to load Redis or run up its bill.
 * @throws {WeirError} `redis-unavailable`
 */
async function checkRedis({ config, redis, now }: RequestContext): Promise<void> {
  let readiness = known.get(config);
  if (readiness === undefined || readiness.untilMs <= now()) {
    const fault = await redis.send(["PING"]).then(
      () => undefined,
      (error: unknown) => error,
    );
    readiness = { untilMs: now() + READY_KEPT_MS, fault };
    known.set(config, readiness);
  }
  if (readiness.fault !== undefined) throw readiness.fault;
}

export const healthRoutes: readonly Route[] = [getHealthRoute, getReadinessRoute];
