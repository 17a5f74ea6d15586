import { type OpenAPIHono, z } from "@hono/zod-openapi";
import type { AppEnv, Weir } from "./app.ts";
import { endpoint, noBody, nothing } from "./endpoint.ts";

const StatusSchema = z.object({ status: z.literal("ok") });
const READY_KEPT_MS = 5_000;

/** `/healthz` and `/readyz`: no token needed. */
export function healthRoutes(app: OpenAPIHono<AppEnv>): void {
  endpoint(
    app,
    {
      method: "get",
      path: "/healthz",
      tag: "Health",
      summary: "Whether the process answers",
      isPublic: true,
      params: nothing,
      query: nothing,
      body: noBody,
      answers: { 200: { description: "It does", schema: StatusSchema } },
      errors: [],
    },
    ({ c }) => c.json({ status: "ok" }),
  );

  const isReady = cachedReadiness();
  endpoint(
    app,
    {
      method: "get",
      path: "/readyz",
      tag: "Health",
      summary: "Whether Redis answers; looked at once in 5 seconds at most",
      isPublic: true,
      params: nothing,
      query: nothing,
      body: noBody,
      answers: { 200: { description: "It does", schema: StatusSchema } },
      errors: ["redis-unavailable"],
    },
    async ({ weir, c }) => {
      await isReady(weir);
      return c.json({ status: "ok" });
    },
  );
}

/** Remembers both answers: anybody may ask, and must not be able to load Redis or to run up its bill. */
function cachedReadiness(): (weir: Weir) => Promise<void> {
  let known: { untilMs: number; fault: unknown } | undefined;
  return async (weir) => {
    if (known === undefined || known.untilMs <= weir.now()) {
      const fault = await weir.redis.send(["PING"]).then(
        () => undefined,
        (error: unknown) => error,
      );
      known = { untilMs: weir.now() + READY_KEPT_MS, fault };
    }
    if (known.fault !== undefined) throw known.fault;
  };
}
