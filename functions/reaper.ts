import { type OpenAPIHono, z } from "@hono/zod-openapi";
import { listRuns } from "../shared/reaper-runs.ts";
import type { AppEnv } from "./app.ts";
import { endpoint, jsonResponse, noBody, nothing } from "./endpoint.ts";

const RunSchema = z
  .object({
    startedAt: z.int(),
    durationMs: z.int(),
    complete: z.boolean().openapi({ description: "False when the budget ended the run: the next one goes on" }),
    backlog: z.int().openapi({ description: "Streams that were due and not served to the end" }),
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
      }),
    ),
    streams: z.array(z.object({ stream: z.string(), trimmed: z.int(), deadLettered: z.int(), dropped: z.int() })),
    errors: z.array(z.object({ stream: z.string().nullable(), group: z.string().optional(), code: z.string() })),
  })
  .openapi("ReaperRun");

const tag = "Reaper";

/** `/v1/reaper`. */
export function reaperRoutes(app: OpenAPIHono<AppEnv>): void {
  endpoint(
    app,
    {
      method: "post",
      path: "/v1/reaper/run",
      tag,
      summary: "Run the scheduled work now",
      params: nothing,
      query: nothing,
      body: noBody,
      answers: { 200: { description: "The run's report", schema: RunSchema } },
      errors: ["outcome-unknown"],
    },
    async ({ weir, c }) => c.json(await weir.runReaper()),
  );

  endpoint(
    app,
    {
      method: "get",
      path: "/v1/reaper",
      tag,
      summary: "The reports of the last 100 runs, newest first",
      params: nothing,
      query: nothing,
      body: noBody,
      answers: { 200: { description: "The reports", schema: z.object({ runs: z.array(RunSchema) }) } },
      errors: [],
    },
    async ({ weir }) => {
      const runs = await listRuns(weir.redis, weir.config.keyPrefix);
      return jsonResponse(`{"runs":[${runs.join(",")}]}`);
    },
  );
}
