import { type OpenAPIHono, z } from "@hono/zod-openapi";
import { WeirError } from "../shared/errors.ts";
import { deleteMessage, getMessage, replay } from "../shared/stream/messages.ts";
import { produce } from "../shared/stream/produce.ts";
import { openStream } from "../shared/stream/stream.ts";
import type { AppEnv } from "./app.ts";
import { endpoint, jsonResponse, noBody, nothing } from "./endpoint.ts";
import { MessageSchema, produceBody } from "./message-schemas.ts";
import { EntryId, Limit, Name, Next, RangeBound, StreamParams } from "./schemas.ts";

const tag = "Messages";
const path = "/v1/streams/{stream}/messages";
const MessageParams = z.object({ stream: Name, id: EntryId });
const IdempotencyKey = z.string().regex(/^[\x21-\x7e]{1,255}$/);

/** `/v1/streams/{stream}/messages` and below. */
export function messageRoutes(app: OpenAPIHono<AppEnv>): void {
  endpoint(
    app,
    {
      method: "post",
      path,
      tag,
      summary: "Produce 1 to 1,000 messages, all or nothing",
      permission: "produce",
      description:
        "With an `Idempotency-Key` header a repeat within the stream's `dedupeWindowMs` answers the same ids and " +
        "`Idempotency-Replayed: true`, and appends nothing. `application/x-ndjson` takes one message a line.",
      params: StreamParams,
      query: nothing,
      headers: z.object({
        "Idempotency-Key": IdempotencyKey.optional().openapi({
          description: "1 to 255 visible ASCII characters, the producer's own name for this batch",
        }),
      }),
      body: produceBody,
      answers: { 201: { description: "Stored; ids in order", schema: z.object({ ids: z.array(z.string()) }) } },
      errors: [
        "unknown-stream",
        "conflict",
        "payload-too-large",
        "unsupported-media-type",
        "idempotency-mismatch",
        "outcome-unknown",
        "stream-full",
        "redis-full",
      ],
    },
    async ({ params, body, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      const key = idempotencyKey(c.req.header("idempotency-key"));
      const { ids, replayed } = await produce(stream, body, key, weir.cache);
      return c.json({ ids }, 201, replayed ? { "idempotency-replayed": "true" } : {});
    },
  );

  endpoint(
    app,
    {
      method: "get",
      path,
      tag,
      summary: "Replay a range of messages; touches no group",
      params: StreamParams,
      query: z.strictObject({
        start: RangeBound.optional().openapi({ type: "string", description: "An id, ms, ISO 8601 time, `-` or `+`" }),
        end: RangeBound.optional().openapi({ type: "string", description: "An id, ms, ISO 8601 time, `-` or `+`" }),
        order: z.enum(["asc", "desc"]).default("asc"),
        cursor: EntryId.optional().openapi({ type: "string" }),
        limit: Limit,
      }),
      body: noBody,
      answers: { 200: { description: "A page", schema: z.object({ messages: z.array(MessageSchema), next: Next }) } },
      errors: ["unknown-stream", "conflict"],
    },
    async ({ params, query, weir }) => {
      const { items, next } = await replay(openStream(weir.redis, weir.config.keyPrefix, params.stream), query);
      return jsonResponse(`{"messages":[${items.join(",")}],"next":${JSON.stringify(next)}}`);
    },
  );

  endpoint(
    app,
    {
      method: "get",
      path: `${path}/{id}`,
      tag,
      summary: "Get a message",
      params: MessageParams,
      query: nothing,
      body: noBody,
      answers: { 200: { description: "The message", schema: MessageSchema } },
      errors: ["unknown-stream", "unknown-message", "conflict"],
    },
    async ({ params, weir }) =>
      jsonResponse(await getMessage(openStream(weir.redis, weir.config.keyPrefix, params.stream), params.id)),
  );

  endpoint(
    app,
    {
      method: "delete",
      path: `${path}/{id}`,
      tag,
      summary: "Delete a message, for every group",
      params: MessageParams,
      query: nothing,
      body: noBody,
      answers: { 204: { description: "Deleted" } },
      errors: ["unknown-stream", "unknown-message", "conflict", "outcome-unknown"],
    },
    async ({ params, weir, c }) => {
      await deleteMessage(openStream(weir.redis, weir.config.keyPrefix, params.stream), params.id);
      return c.body(null, 204);
    },
  );
}

function idempotencyKey(header: string | undefined): string | undefined {
  if (header === undefined || IdempotencyKey.safeParse(header).success) return header;
  throw new WeirError(
    "invalid-request",
    `Idempotency-Key: expected 1 to 255 visible ASCII characters, got ${header.length} characters`,
  );
}
