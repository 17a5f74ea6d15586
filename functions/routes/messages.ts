import * as z from "zod";
import { WeirError } from "../../shared/errors.ts";
import { deleteMessage, getMessage, readMessages } from "../../shared/stream/messages.ts";
import { produce } from "../../shared/stream/produce.ts";
import { MESSAGE_STATES, type MessageState, messageStates } from "../../shared/stream/states.ts";
import { jsonResponse, noBody, nothing, type Route, streamRoute } from "../http/endpoint.ts";
import { produceBody } from "../http/message-body.ts";
import { messageSchema } from "../http/message-schemas.ts";
import { cursor, EntryId, Limit, Name, Next, RangeBound, StreamParams } from "../http/schemas.ts";

const tag = "Messages";
const path = "/v1/streams/{stream}/messages";
const MessageParams = z.object({ stream: Name, id: EntryId });
const IdempotencyKey = z.string().regex(/^[\x21-\x7e]{1,255}$/);

const produceRoute = streamRoute(
  { method: "post", path, permission: "produce" },
  () => ({
    operationId: "produce",
    repeat: (headers) =>
      headers.has("idempotency-key")
        ? "repeat it with the same Idempotency-Key: nothing is appended twice"
        : "repeating it may append the messages twice, which an Idempotency-Key prevents",
    tag,
    summary: "Produce 1 to 1,000 messages, all or nothing",
    description:
      "With an `Idempotency-Key` header a repeat within the stream's `dedupeWindowMs` answers the same ids and " +
      "`Idempotency-Replayed: true`, and appends nothing. `application/x-ndjson` takes one message a line. A message with " +
      "`delayMs` or `deliverAt` is appended when it is due: its place in `ids` holds its scheduled id, `later~…`.",
    params: StreamParams,
    query: nothing,
    headers: z.object({
      "Idempotency-Key": IdempotencyKey.optional().meta({
        description: "1 to 255 visible ASCII characters, the producer's own name for this batch",
      }),
    }),
    body: produceBody,
    answers: { 201: { description: "Stored; ids in order", schema: z.object({ ids: z.array(z.string()) }) } },
    errors: ["unknown-stream", "conflict", "idempotency-mismatch", "outcome-unknown", "stream-full", "redis-full"],
  }),
  async ({ stream, body, context, c }) => {
    const key = idempotencyKey(c.req.header("idempotency-key"));
    const { ids, repeated } = await produce(stream, body, key, context.cache, context.now());
    return c.json({ ids }, 201, repeated ? { "idempotency-replayed": "true" } : {});
  },
);

const readMessagesRoute = streamRoute(
  { method: "get", path },
  () => ({
    operationId: "readMessages",
    tag,
    summary: "Replay a range of messages; touches no group",
    params: StreamParams,
    query: z.strictObject({
      start: RangeBound.optional().meta({ type: "string", description: "An id, ms, ISO 8601 time, `-` or `+`" }),
      end: RangeBound.optional().meta({ type: "string", description: "An id, ms, ISO 8601 time, `-` or `+`" }),
      order: z.enum(["asc", "desc"]).default("asc"),
      cursor: cursor(EntryId),
      limit: Limit,
    }),
    body: noBody,
    answers: { 200: { description: "A page", schema: z.object({ messages: z.array(messageSchema()), next: Next }) } },
    errors: ["unknown-stream", "conflict"],
  }),
  async ({ stream, query }) => {
    const { items, next } = await readMessages(stream, query);
    return jsonResponse(`{"messages":[${items.join(",")}],"next":${JSON.stringify(next)}}`);
  },
);

const getMessageRoute = streamRoute(
  { method: "get", path: `${path}/{id}` },
  () => ({
    operationId: "getMessage",
    tag,
    summary: "Get a message",
    params: MessageParams,
    query: nothing,
    body: noBody,
    answers: { 200: { description: "The message", schema: messageSchema() } },
    errors: ["unknown-stream", "unknown-message", "conflict"],
  }),
  async ({ stream, params }) => jsonResponse(await getMessage(stream, params.id)),
);

const messageStatesRoute = streamRoute(
  { method: "get", path: `${path}/{id}/states` },
  () => ({
    operationId: "messageStates",
    tag,
    summary: "Where each group is with a message",
    description:
      "`waiting`: not handed to it yet. `pending`: in a consumer's hands. `delayed`: to come back at `dueAt`. `dead`: among " +
      "its dead letters. `done`: acknowledged, passed over, or its dead letter is gone. A group has two rows where the " +
      "message was replayed to it. 404 when neither the stream nor any group has the message.",
    params: MessageParams,
    query: nothing,
    body: noBody,
    answers: {
      200: {
        description: "A row for each group",
        schema: z.object({
          states: z.array(
            z.object({
              group: z.string(),
              state: z.enum(MESSAGE_STATES),
              consumer: z.string().nullable().meta({ description: "Who has it in hand, or had it last" }),
              deliveries: z.int().nullable(),
              leaseEndsAt: z.int().nullable(),
              dueAt: z.int().nullable(),
              deadLetterId: z.string().nullable(),
              reason: z.string().nullable().meta({ description: "Why it is dead, or is to come back" }),
            } satisfies Record<keyof MessageState, z.ZodType>),
          ),
        }),
      },
    },
    errors: ["unknown-stream", "unknown-message", "conflict"],
  }),
  async ({ stream, params, c }) => c.json({ states: await messageStates(stream, params.id) }),
);

const deleteMessageRoute = streamRoute(
  { method: "delete", path: `${path}/{id}` },
  () => ({
    operationId: "deleteMessage",
    repeat: "repeating it is safe: 404 means that it is gone",
    tag,
    summary: "Delete a message, for every group",
    params: MessageParams,
    query: nothing,
    body: noBody,
    answers: { 204: { description: "Deleted" } },
    errors: ["unknown-stream", "unknown-message", "conflict", "outcome-unknown"],
  }),
  async ({ stream, params, c }) => {
    await deleteMessage(stream, params.id);
    return c.body(null, 204);
  },
);

function idempotencyKey(header: string | undefined): string | undefined {
  if (header === undefined || IdempotencyKey.safeParse(header).success) return header;
  throw new WeirError(
    "invalid-request",
    `Idempotency-Key: expected 1 to 255 visible ASCII characters, got ${header.length} characters`,
  );
}

export const messageRoutes: readonly Route[] = [
  produceRoute,
  readMessagesRoute,
  getMessageRoute,
  messageStatesRoute,
  deleteMessageRoute,
];
