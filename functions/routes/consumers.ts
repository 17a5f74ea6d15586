import * as z from "zod";
import { listConsumers, removeConsumer } from "../../shared/stream/consumers.ts";
import { noBody, type Route, streamRoute } from "../http/endpoint.ts";
import { AnyName, cursor, GroupParams, Limit, Name, Next } from "../http/schemas.ts";

const tag = "Consumers";
const path = "/v1/streams/{stream}/groups/{group}";

const listConsumersRoute = streamRoute(
  { method: "get", path: `${path}/consumers` },
  () => ({
    operationId: "listConsumers",
    tag,
    summary: "List the consumers by name",
    description: "Names that start with `@` are Weir's own: they hold what is to be handed out again.",
    params: GroupParams,
    query: z.strictObject({ cursor: cursor(AnyName), limit: Limit }),
    body: noBody,
    answers: {
      200: {
        description: "A page",
        schema: z.object({
          consumers: z.array(
            z.object({
              name: z.string(),
              pending: z.int().meta({ description: "What it has in hand" }),
              idleMs: z.int().meta({ description: "Since it was handed something, or asked for new messages" }),
            }),
          ),
          next: Next,
        }),
      },
    },
    errors: ["unknown-stream", "unknown-group", "conflict"],
  }),
  async ({ stream, params, query, c }) => {
    const { items, next } = await listConsumers(stream, params.group, query);
    return c.json({ consumers: items, next });
  },
);

const removeConsumerRoute = streamRoute(
  { method: "delete", path: `${path}/consumers/{consumer}`, permission: "consume" },
  () => ({
    operationId: "removeConsumer",
    repeat: "repeating it is safe: 404 means that it is gone",
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
  }),
  async ({ stream, params, query, c }) => {
    const { group, consumer } = params;
    return c.json({ handedOver: await removeConsumer(stream, group, consumer, query.handoverTo) });
  },
);

export const consumerRoutes: readonly Route[] = [listConsumersRoute, removeConsumerRoute];
