import { type OpenAPIHono, z } from "@hono/zod-openapi";
import { type FiringAlert, listAlerts } from "../shared/alerts.ts";
import type { AppEnv } from "./app.ts";
import { endpoint, noBody, nothing } from "./endpoint.ts";

const AlertSchema = z
  .object({
    stream: z.string().nullable().openapi({ description: "Null when it is about the reaper" }),
    group: z.string().nullable(),
    metric: z.enum(["lag", "pending", "oldestPendingMs", "deadLetters", "reaperLateMs", "reaperIncomplete"]),
    value: z.int(),
    threshold: z.int(),
    since: z.int().openapi({ description: "When it was found above its threshold" }),
    notified: z.boolean().openapi({ description: "Whether the webhook's receiver has been told" }),
  } satisfies Record<keyof FiringAlert, z.ZodType>)
  .openapi("Alert");

/** `/v1/alerts`. */
export function alertRoutes(app: OpenAPIHono<AppEnv>): void {
  endpoint(
    app,
    {
      method: "get",
      path: "/v1/alerts",
      tag: "Alerts",
      summary: "List what fires, the longest first",
      description: "Groups as the reaper's last visit found them; whether the reaper is late, as it is now.",
      params: nothing,
      query: nothing,
      body: noBody,
      answers: { 200: { description: "What fires", schema: z.object({ alerts: z.array(AlertSchema) }) } },
      errors: [],
    },
    async ({ weir: { redis, config, now }, c }) => {
      const { reaperLateMs } = config.alerts;
      return c.json({ alerts: await listAlerts(redis, config.keyPrefix, { nowMs: now(), reaperLateMs }) });
    },
  );
}
