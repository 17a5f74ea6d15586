import { type OpenAPIHono, z } from "@hono/zod-openapi";
import { consume } from "../shared/stream/consume.ts";
import { settle } from "../shared/stream/settle.ts";
import { openStream } from "../shared/stream/stream.ts";
import type { AppEnv } from "./app.ts";
import { endpoint, jsonBody, jsonResponse, nothing } from "./endpoint.ts";
import { DeliverySchema } from "./message-schemas.ts";
import { GroupParams, integer, Name } from "./schemas.ts";

const tag = "Consuming";
const path = "/v1/streams/{stream}/groups/{group}";

const Leases = z.array(z.string()).max(1_000);

const SettledSchema = z
  .object({
    acked: z.int().openapi({ description: "Deliveries that this took off the pending ones" }),
    stale: z.array(z.object({ lease: z.string(), outcome: z.enum(["foreign", "malformed"]) })),
  })
  .openapi("Settled");

/** Handing out and settling. */
export function consumeRoutes(app: OpenAPIHono<AppEnv>): void {
  endpoint(
    app,
    {
      method: "post",
      path: `${path}/consume`,
      tag,
      summary: "Acknowledge the last batch and get the next one; never waits",
      description:
        "What is handed out is leased for the group's `ackWaitMs` and handed out again after it, up to " +
        "`maxDeliveries` times. Hand back the last `pollState`: without it every poll looks for expired deliveries, " +
        "which costs more commands. May answer fewer than `batchSize` while there is more: `pollAfterMs` is 0 then.",
      params: GroupParams,
      query: nothing,
      body: jsonBody(
        z.strictObject({
          consumer: Name,
          batchSize: integer(1, 1_000).default(10),
          acks: Leases.default([]),
          pollState: z.string().max(1_000).nullish(),
        }),
      ),
      answers: {
        200: {
          description: "A batch, empty when there is nothing",
          schema: z.object({
            messages: z.array(DeliverySchema),
            settled: SettledSchema,
            ackWaitMs: z.int(),
            pollState: z.string(),
            pollAfterMs: z.int(),
          }),
        },
      },
      errors: ["unknown-stream", "unknown-group", "conflict", "too-many-pending", "outcome-unknown"],
    },
    async ({ params, body, weir }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      const request = { ...body, pollState: body.pollState ?? undefined };
      const { messages, ...rest } = await consume(stream, params.group, request, weir.cache);
      return jsonResponse(`{"messages":[${messages.join(",")}],${JSON.stringify(rest).slice(1)}`);
    },
  );

  endpoint(
    app,
    {
      method: "post",
      path: `${path}/settle`,
      tag,
      summary: "Acknowledge deliveries",
      description: "Also late: the work was done. What is acknowledged already counts nothing and is no error.",
      params: GroupParams,
      query: nothing,
      body: jsonBody(z.strictObject({ acks: Leases.default([]) })),
      answers: { 200: { description: "What was settled", schema: z.object({ settled: SettledSchema }) } },
      errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown"],
    },
    async ({ params, body, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      return c.json({ settled: await settle(stream, params.group, body.acks) });
    },
  );
}
