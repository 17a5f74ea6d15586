import { accepts } from "hono/accepts";
import * as z from "zod";
import { cloudEventJson } from "../../shared/cloud-event-json.ts";
import { WeirError } from "../../shared/errors.ts";
import { deleteMessage, getMessage, type MessageWriter, readMessages } from "../../shared/stream/messages.ts";
import { produce } from "../../shared/stream/produce.ts";
import { MESSAGE_STATES, type MessageState, messageStates } from "../../shared/stream/states.ts";
import type { AppContext } from "../context.ts";
import { BATCH_TYPE, EVENT_TYPE } from "../http/cloud-event-body.ts";
import { cloudEventSchema } from "../http/cloud-event-schema.ts";
import { jsonResponse, noBody, nothing, type Route, streamRoute } from "../http/endpoint.ts";
import { produceBody, type ToProduce } from "../http/message-body.ts";
import { messageSchema, ShortText } from "../http/message-schemas.ts";
import { cursor, EntryId, Limit, Name, Next, RangeBound, StreamParams } from "../http/schemas.ts";
import { invalidRequest } from "../http/validate.ts";

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
      "`Idempotency-Replayed: true`, and appends nothing. A message with `delayMs` or `deliverAt` is appended when it is due: " +
      "its place in `ids` holds its scheduled id, `later~…`. `application/x-ndjson` takes one message a line. CloudEvents " +
      "1.0 come as `application/cloudevents+json`, `application/cloudevents-batch+json`, or in binary mode: `ce-` headers " +
      "for the attributes, and the body as `data`. Attributes but `type` and `datacontenttype` are kept as `ce-<name>`. A " +
      "body of any other media type is the payload of one message.",
    params: StreamParams,
    query: z.strictObject({
      type: ShortText.optional().meta({ description: "The `type` of a message whose payload is the body" }),
      key: ShortText.optional().meta({ description: "The `key` of a message whose payload is the body" }),
    }),
    headers: z.object({
      "Idempotency-Key": IdempotencyKey.optional().meta({
        description: "1 to 255 visible ASCII characters, the producer's own name for this batch",
      }),
      "ce-specversion": z.literal("1.0").optional().meta({ description: "Of a CloudEvent in binary mode" }),
      "ce-id": z.string().optional().meta({ description: "Of a CloudEvent in binary mode" }),
      "ce-source": z.string().optional().meta({ description: "Of a CloudEvent in binary mode, a URI-reference" }),
      "ce-type": z.string().optional().meta({ description: "Of a CloudEvent in binary mode" }),
    }),
    body: produceBody,
    answers: { 201: { description: "Stored; ids in order", schema: z.object({ ids: z.array(z.string()) }) } },
    errors: ["unknown-stream", "conflict", "idempotency-mismatch", "outcome-unknown", "stream-full", "redis-full"],
  }),
  async ({ stream, query, body, context, c }) => {
    const key = idempotencyKey(c.req.header("idempotency-key"));
    const { ids, repeated } = await produce(stream, messagesOf(body, query), key, context.cache, context.now());
    return c.json({ ids }, 201, repeated ? { "idempotency-replayed": "true" } : {});
  },
);

const readMessagesRoute = streamRoute(
  { method: "get", path },
  () => ({
    operationId: "readMessages",
    tag,
    summary: "Replay a range of messages; touches no group",
    description:
      `With \`Accept: ${BATCH_TYPE}\` the messages come as CloudEvents: each as it came, with the message's id as ` +
      "`weirid`; what came otherwise with the stream as `source`. `next` is then in the `Link` header.",
    params: StreamParams,
    query: z.strictObject({
      start: RangeBound.optional().meta({ type: "string", description: "An id, ms, ISO 8601 time, `-` or `+`" }),
      end: RangeBound.optional().meta({ type: "string", description: "An id, ms, ISO 8601 time, `-` or `+`" }),
      order: z.enum(["asc", "desc"]).default("asc"),
      cursor: cursor(EntryId),
      limit: Limit,
    }),
    body: noBody,
    answers: {
      200: {
        description: "A page",
        schema: z.object({ messages: z.array(messageSchema()), next: Next }),
        orMediaTypes: { [BATCH_TYPE]: z.array(cloudEventSchema()) },
        headers: { Link: 'With CloudEvents: the next page, as `rel="next"`; absent at the end' },
      },
    },
    errors: ["unknown-stream", "conflict"],
  }),
  async ({ stream, query, c }) => {
    if (!asksFor(c, BATCH_TYPE)) {
      const { items, next } = await readMessages(stream, query);
      return jsonResponse(`{"messages":[${items.join(",")}],"next":${JSON.stringify(next)}}`, 200, VARY);
    }
    const { items, next } = await readMessages(stream, query, eventWriter(stream.name));
    const headers = { ...VARY, "content-type": BATCH_TYPE, ...(next === null ? {} : { link: linkToNext(c, next) }) };
    return jsonResponse(`[${items.join(",")}]`, 200, headers);
  },
);

const getMessageRoute = streamRoute(
  { method: "get", path: `${path}/{id}` },
  () => ({
    operationId: "getMessage",
    tag,
    summary: "Get a message",
    description: `As a CloudEvent with \`Accept: ${EVENT_TYPE}\`.`,
    params: MessageParams,
    query: nothing,
    body: noBody,
    answers: {
      200: {
        description: "The message",
        schema: messageSchema(),
        orMediaTypes: { [EVENT_TYPE]: cloudEventSchema() },
      },
    },
    errors: ["unknown-stream", "unknown-message", "conflict"],
  }),
  async ({ stream, params, c }) => {
    if (!asksFor(c, EVENT_TYPE)) return jsonResponse(await getMessage(stream, params.id), 200, VARY);
    const event = await getMessage(stream, params.id, eventWriter(stream.name));
    return jsonResponse(event, 200, { ...VARY, "content-type": EVENT_TYPE });
  },
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

/**
 * The messages of a request, with what its query says of them.
 * @throws {WeirError} `invalid-request` when the body says that itself
 */
function messagesOf(
  { messages, isPayload }: ToProduce,
  query: { type?: string | undefined; key?: string | undefined },
) {
  if (isPayload) return messages.map((message) => ({ ...message, ...query }));
  const given = Object.keys(query);
  if (given.length === 0) return messages;
  const message = "expected in the body: in the query only where the body is the payload of one message";
  throw invalidRequest(given.map((path) => ({ path, message })));
}

/** What is answered depends on it. */
const VARY = { vary: "Accept" };

/** Whether the client wants that media type more than JSON. */
function asksFor(c: AppContext, mediaType: string): boolean {
  const supports = ["application/json", mediaType];
  return accepts(c, { header: "Accept", supports, default: "application/json" }) === mediaType;
}

function eventWriter(stream: string): MessageWriter {
  const source = `/v1/streams/${stream}`;
  return (id, fields) => cloudEventJson(id, fields, source);
}

/** Relative to what was asked for: a deployment need not know its own address. */
function linkToNext(c: AppContext, next: string): string {
  const query = new URLSearchParams(c.req.query());
  query.set("cursor", next);
  return `<?${query}>; rel="next"`;
}

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
