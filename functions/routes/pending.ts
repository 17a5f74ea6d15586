import * as z from "zod";
import { claim } from "../../shared/stream/claim.ts";
import { listPending, parsePendingCursor } from "../../shared/stream/pending.ts";
import { jsonBody, jsonResponse, noBody, nothing, type Route, streamRoute } from "../http/endpoint.ts";
import { deliverySchema } from "../http/message-schemas.ts";
import { AnyName, cursor, EntryIds, GroupParams, integer, Limit, Name, Next, queryInteger } from "../http/schemas.ts";

const tag = "Consuming";
const path = "/v1/streams/{stream}/groups/{group}";

/** Where a page of pending messages ended. */
const PendingCursor = z.string().transform((text, context) => {
  const known = parsePendingCursor(text);
  if (known !== undefined) return known;
  context.addIssue({
    code: "custom",
    message: "expected `next` of the page before, such as 1690000000000-0 or again:12.1b9d6bcd",
  });
  return z.NEVER;
});

const listPendingRoute = streamRoute(
  { method: "get", path: `${path}/pending` },
  () => ({
    operationId: "listPending",
    tag,
    summary: "List what was handed out and not settled",
    description:
      "All that the group's `pending` counts: first what Redis' own list of pending entries holds, by id; then what was " +
      "retried, replayed or redriven and handed out again. What waits to be is `delayed`, and not listed. A message that " +
      "was replayed while it was pending is there twice. Walking all pages meets all that stays pending, each once. A page " +
      "may hold fewer than `limit`, even none, while `next` is not null.",
    params: GroupParams,
    query: z.strictObject({
      consumer: AnyName.optional(),
      minIdleMs: queryInteger(0, Number.MAX_SAFE_INTEGER).optional(),
      cursor: cursor(PendingCursor),
      limit: Limit,
    }),
    body: noBody,
    answers: {
      200: {
        description: "A page",
        schema: z.object({
          pending: z.array(z.object({ id: z.string(), consumer: z.string(), idleMs: z.int(), deliveries: z.int() })),
          next: Next,
        }),
      },
    },
    errors: ["unknown-stream", "unknown-group", "conflict"],
  }),
  async ({ stream, params, query, c }) => {
    const { items, next } = await listPending(stream, params.group, query);
    return c.json({ pending: items, next });
  },
);

const claimRoute = streamRoute(
  { method: "post", path: `${path}/claim` },
  () => ({
    operationId: "claim",
    tag,
    summary: "Hand pending messages to a consumer by hand",
    description: "Those named, or those idle for long enough. Charges a delivery each.",
    params: GroupParams,
    query: nothing,
    body: jsonBody(
      z.strictObject({
        consumer: Name,
        ids: EntryIds.optional(),
        minIdleMs: integer(0, Number.MAX_SAFE_INTEGER)
          .optional()
          .meta({ description: "Absent: the group's ackWaitMs; less than it needs `force`" }),
        force: z.boolean().default(false),
        limit: integer(1, 1_000).default(100),
      }),
    ),
    answers: { 200: { description: "The messages", schema: z.object({ messages: z.array(deliverySchema()) }) } },
    errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown", "redis-full"],
  }),
  async ({ stream, params, body }) => {
    const messages = await claim(stream, params.group, body);
    return jsonResponse(`{"messages":[${messages.join(",")}]}`);
  },
);

export const pendingRoutes: readonly Route[] = [listPendingRoute, claimRoute];
