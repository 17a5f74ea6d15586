import * as z from "zod";
import { claim } from "../../shared/stream/claim.ts";
import {
  DELAYED_FROM,
  type DelayedEntry,
  listDelayed,
  listPending,
  type PendingEntry,
  parseDelayedCursor,
  parsePendingCursor,
} from "../../shared/stream/pending.ts";
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
    message: "expected `next` of the page before, such as 1690000000000-0 or again:…",
  });
  return z.NEVER;
});

const DelayedCursor = z.string().transform((text, context) => {
  const known = parseDelayedCursor(text);
  if (known !== undefined) return known;
  context.addIssue({ code: "custom", message: "expected `next` of the page before" });
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
      "retried, released, replayed or redriven and handed out again. What waits to be is in the list of `delayed`. A " +
      "message that was replayed while it was pending is there twice. Consumers whose names start with `@` are Weir's own: " +
      "they hold what is to be handed out at once. Walking all pages meets all that stays pending, each once. A page may " +
      "hold fewer than `limit`, even none, while `next` is not null.",
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
          pending: z.array(
            z.object({
              id: z.string(),
              consumer: z.string(),
              idleMs: z.int().meta({ description: "Since it was handed out, or extended" }),
              deliveries: z.int(),
              leaseEndsAt: z.int().meta({ description: "By Redis' clock; in the past where it has ended" }),
              lease: z.string(),
            } satisfies Record<keyof PendingEntry, z.ZodType>),
          ),
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

const listDelayedRoute = streamRoute(
  { method: "get", path: `${path}/delayed` },
  () => ({
    operationId: "listDelayed",
    tag,
    summary: "List what is to come back, by the time at which it is due",
    description:
      "All that the group's `delayed` counts: retried and released messages, redriven dead letters and replays. What is due " +
      "already is handed out by the next poll that looks. A page may hold fewer than `limit` while `next` is not null.",
    params: GroupParams,
    query: z.strictObject({ cursor: cursor(DelayedCursor), limit: Limit }),
    body: noBody,
    answers: {
      200: {
        description: "A page",
        schema: z.object({
          delayed: z.array(
            z.object({
              id: z.string(),
              dueAt: z.int(),
              deliveries: z.int().meta({ description: "So far" }),
              from: z.enum(DELAYED_FROM),
              reason: z.string().nullable().meta({ description: "The words of the consumer that sent it back" }),
              type: z.string().nullable(),
            } satisfies Record<keyof DelayedEntry, z.ZodType>),
          ),
          next: Next,
        }),
      },
    },
    errors: ["unknown-stream", "unknown-group", "conflict"],
  }),
  async ({ stream, params, query, c }) => {
    const { items, next } = await listDelayed(stream, params.group, query);
    return c.json({ delayed: items, next });
  },
);

const claimRoute = streamRoute(
  { method: "post", path: `${path}/claim` },
  () => ({
    operationId: "claim",
    repeat: "what it took is pending for this consumer, who gets it by `recover` in a consume",
    tag,
    summary: "Hand pending messages to a consumer by hand",
    description:
      "Those named, or those idle for long enough: whatever the list of pending messages shows. Charges a delivery each. A " +
      "last permitted delivery comes alone.",
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
  async ({ stream, params, body, context: { clock, config } }) => {
    const messages = await claim(stream, params.group, body, { clock, timeoutMs: config.redisTimeoutMs });
    return jsonResponse(`{"messages":[${messages.join(",")}]}`);
  },
);

export const pendingRoutes: readonly Route[] = [listPendingRoute, listDelayedRoute, claimRoute];
