import * as z from "zod";
import { listRuns } from "../../shared/reaper/runs.ts";
import { jsonResponse, noBody, nothing, type Route, route } from "../http/endpoint.ts";
import { once } from "../http/once.ts";

const runSchema = once(() =>
  z
    .object({
      startedAt: z.int(),
      durationMs: z.int(),
      complete: z.boolean().meta({ description: "False when the budget ended the run: the next one goes on" }),
      backlog: z.int().meta({ description: "Streams that were due and not served to the end" }),
      redisCommands: z.int(),
      groups: z.array(
        z.object({
          stream: z.string(),
          group: z.string(),
          expired: z.int(),
          deadLettered: z.int(),
          payloadMissing: z.int(),
          consumersRemoved: z.int(),
          deadLettersExpired: z.int(),
          dropped: z.int().meta({ description: "What other clients' trims have taken from it unread" }),
        }),
      ),
      streams: z.array(
        z.object({
          stream: z.string(),
          promoted: z.int().meta({ description: "Scheduled messages that were appended" }),
          trimmed: z.int(),
          deadLettered: z.int(),
          dropped: z.int(),
        }),
      ),
      errors: z.array(z.object({ stream: z.string().nullable(), group: z.string().optional(), code: z.string() })),
    })
    .meta({ id: "ReaperRun" }),
);

const tag = "Reaper";

const runReaperRoute = route(
  { method: "post", path: "/v1/reaper/run" },
  () => ({
    operationId: "runReaper",
    repeat: "repeating it is safe: a run may meet another one, or die anywhere",
    tag,
    summary: "Run the scheduled work now",
    params: nothing,
    query: nothing,
    body: noBody,
    answers: { 200: { description: "The run's report", schema: runSchema() } },
    errors: ["conflict", "outcome-unknown"],
  }),
  async ({ context, c }) => c.json(await context.runReaper()),
);

const listReaperRunsRoute = route(
  { method: "get", path: "/v1/reaper" },
  () => ({
    operationId: "listReaperRuns",
    tag,
    summary: "The reports of the last 100 runs, newest first",
    params: nothing,
    query: nothing,
    body: noBody,
    answers: { 200: { description: "The reports", schema: z.object({ runs: z.array(runSchema()) }) } },
    errors: ["conflict"],
  }),
  async ({ context }) => {
    const runs = await listRuns(context.redis, context.config.keyPrefix);
    return jsonResponse(`{"runs":[${runs.join(",")}]}`);
  },
);

export const reaperRoutes: readonly Route[] = [runReaperRoute, listReaperRunsRoute];
