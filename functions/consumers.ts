import { type OpenAPIHono, z } from "@hono/zod-openapi";
import { listConsumers, removeConsumer } from "../shared/stream/consumers.ts";
import { openStream } from "../shared/stream/stream.ts";
import type { AppEnv } from "./app.ts";
import { endpoint, noBody } from "./endpoint.ts";
import { AnyName, GroupParams, Limit, Name, Next } from "./schemas.ts";

const tag = "Consumers";
const path = "/v1/streams/{stream}/groups/{group}";

/** `/v1/streams/{stream}/groups/{group}/consumers` and below. */
export function consumerRoutes(app: OpenAPIHono<AppEnv>): void {
  endpoint(
    app,
    {
      method: "get",
      path: `${path}/consumers`,
      tag,
      summary: "List the consumers by name",
      description: "Names that start with `@` are Weir's own: they hold what is to be handed out again.",
      params: GroupParams,
      query: z.strictObject({ cursor: AnyName.optional(), limit: Limit }),
      body: noBody,
      answers: {
        200: {
          description: "A page",
          schema: z.object({
            consumers: z.array(
              z.object({
                name: z.string(),
                pending: z.int().openapi({ description: "What it has in hand" }),
                idleMs: z.int().openapi({ description: "Since it was handed something, or asked for new messages" }),
              }),
            ),
            next: Next,
          }),
        },
      },
      errors: ["unknown-stream", "unknown-group", "conflict"],
    },
    async ({ params, query, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      const { items, next } = await listConsumers(stream, params.group, query);
      return c.json({ consumers: items, next });
    },
  );

  endpoint(
    app,
    {
      method: "delete",
      path: `${path}/consumers/{consumer}`,
      tag,
      summary: "Remove a consumer, and hand on what it holds",
      description:
        "To the consumer `handoverTo`, which gets it by `recover`; without one it is held to be handed out at once. " +
        "No delivery is charged, and nothing is lost.",
      params: GroupParams.extend({ consumer: AnyName }),
      query: z.strictObject({ handoverTo: Name.optional() }),
      body: noBody,
      answers: { 200: { description: "How many messages it held", schema: z.object({ handedOver: z.int() }) } },
      errors: ["unknown-stream", "unknown-group", "unknown-consumer", "conflict", "outcome-unknown"],
    },
    async ({ params, query, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      const { group, consumer } = params;
      return c.json({ handedOver: await removeConsumer(stream, group, consumer, query.handoverTo) });
    },
  );
}
