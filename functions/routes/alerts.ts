import * as z from "zod";
import { type FiringAlert, listAlerts } from "../../shared/reaper/alerts.ts";
import { noBody, nothing, type Route, route } from "../http/endpoint.ts";
import { once } from "../http/once.ts";

const alertSchema = once(() =>
  z
    .object({
      stream: z.string().nullable().meta({ description: "Null when it is about the reaper" }),
      group: z.string().nullable().meta({ description: "Null when it is about the stream or the reaper" }),
      metric: z.enum([
        "lag",
        "pending",
        "oldestPendingMs",
        "deadLetters",
        "scheduledLateMs",
        "reaperLateMs",
        "reaperIncomplete",
      ]),
      value: z.int(),
      threshold: z.int(),
      since: z.int().meta({ description: "When it was found above its threshold" }),
      notified: z.boolean().meta({ description: "Whether the webhook's receiver has been told" }),
    } satisfies Record<keyof FiringAlert, z.ZodType>)
    .meta({ id: "Alert" }),
);

const listAlertsRoute = route(
  { method: "get", path: "/v1/alerts" },
  () => ({
    operationId: "listAlerts",
    tag: "Alerts",
    summary: "List what fires, the longest first",
    description: "Groups as the reaper's last visit found them; whether the reaper is late, as it is now.",
    params: nothing,
    query: nothing,
    body: noBody,
    answers: { 200: { description: "What fires", schema: z.object({ alerts: z.array(alertSchema()) }) } },
    errors: ["conflict"],
  }),
  async ({ context: { redis, config, now }, c }) => {
    const { reaperLateMs } = config.alerts;
    return c.json({ alerts: await listAlerts(redis, config.keyPrefix, { nowMs: now(), reaperLateMs }) });
  },
);

export const alertRoutes: readonly Route[] = [listAlertsRoute];
