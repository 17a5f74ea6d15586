import { type OpenAPIHono, z } from "@hono/zod-openapi";
import { listStreams, type StreamInfo, streamInfo } from "../shared/stream/inspect.ts";
import { configureStream, deleteStream } from "../shared/stream/manage.ts";
import { LEAST_MAX_MESSAGE_BYTES } from "../shared/stream/produce.ts";
import { forecastRetention, trimNow } from "../shared/stream/retention.ts";
import { STREAM_DEFAULTS, UNFINISHED } from "../shared/stream/settings.ts";
import { cachedStream } from "../shared/stream/settings-cache.ts";
import { openStream } from "../shared/stream/stream.ts";
import type { AppEnv } from "./app.ts";
import { endpoint, jsonBody, noBody, nothing } from "./endpoint.ts";
import { EntryId, integer, Limit, Name, Next, StreamParams, setting, usualText } from "./schemas.ts";

const DAY_MS = 24 * 3_600_000;

const usual = STREAM_DEFAULTS.retention;

const StreamSettings = z.strictObject({
  retention: z
    .strictObject({
      maxAgeMs: setting(1, 100 * 365 * DAY_MS, usual.maxAgeMs),
      maxLength: setting(1, Number.MAX_SAFE_INTEGER, usual.maxLength),
      unfinished: z
        .enum(UNFINISHED)
        .nullish()
        .openapi({ description: usualText(usual.unfinished) }),
      deleteAcknowledged: z
        .boolean()
        .nullish()
        .openapi({ description: usualText(usual.deleteAcknowledged) }),
      deadLetterMaxAgeMs: setting(60_000, 10 * 365 * DAY_MS, usual.deadLetterMaxAgeMs),
    })
    .nullish(),
  maxMessageBytes: setting(LEAST_MAX_MESSAGE_BYTES, 4 * 1024 * 1024, STREAM_DEFAULTS.maxMessageBytes),
  dedupeWindowMs: setting(1_000, 7 * DAY_MS, STREAM_DEFAULTS.dedupeWindowMs),
});

const StreamSchema = z
  .object({
    name: z.string(),
    length: z.int(),
    firstId: z.string().nullable(),
    lastId: z.string().nullable().openapi({ description: "The last id given out; null before the first" }),
    groups: z.int().openapi({ description: "How many groups there are" }),
    config: z.object({
      retention: z.object({
        maxAgeMs: z.int().nullable(),
        maxLength: z.int().nullable(),
        unfinished: z.enum(UNFINISHED),
        deleteAcknowledged: z.boolean(),
        deadLetterMaxAgeMs: z.int(),
      }),
      maxMessageBytes: z.int(),
      dedupeWindowMs: z.int(),
    }),
  } satisfies Record<keyof StreamInfo, z.ZodType>)
  .openapi("Stream");

const tag = "Streams";
const path = "/v1/streams/{stream}";

const NO_RETENTION = {
  maxAgeMs: null,
  maxLength: null,
  unfinished: null,
  deleteAcknowledged: null,
  deadLetterMaxAgeMs: null,
};

/** null for all of it puts each member back to its default. */
function retentionPatch(retention: z.output<typeof StreamSettings>["retention"]) {
  const { deleteAcknowledged, ...rest } = retention === null ? NO_RETENTION : (retention ?? {});
  return { ...rest, deleteAcknowledged: deleteAcknowledged ? 1 : deleteAcknowledged === undefined ? undefined : null };
}

/** `/v1/streams` and `/v1/streams/{stream}`. */
export function streamRoutes(app: OpenAPIHono<AppEnv>): void {
  endpoint(
    app,
    {
      method: "put",
      path,
      tag,
      summary: "Create a stream, or change its settings",
      description: "What is absent stays as it is, null goes back to the default. Adopts a Redis stream that is there.",
      params: StreamParams,
      query: nothing,
      body: jsonBody(StreamSettings),
      answers: {
        200: { description: "It was there", schema: StreamSchema },
        201: { description: "Created", schema: StreamSchema },
      },
      errors: ["conflict", "outcome-unknown", "redis-full"],
    },
    async ({ params, body, weir, c }) => {
      const { retention, ...rest } = body;
      const patch = { ...retentionPatch(retention), ...rest };
      const { keyPrefix } = weir.config;
      const stream = openStream(weir.redis, keyPrefix, params.stream);
      const { created, info } = await configureStream(stream, keyPrefix, patch, weir.now());
      weir.cache.setStream(stream, cachedStream(info.config));
      return c.json(info, created ? 201 : 200);
    },
  );

  endpoint(
    app,
    {
      method: "get",
      path: "/v1/streams",
      tag,
      summary: "List the streams by name",
      params: nothing,
      query: z.strictObject({ cursor: Name.optional(), limit: Limit }),
      body: noBody,
      answers: {
        200: {
          description: "A page",
          schema: z.object({ streams: z.array(z.object({ name: z.string(), length: z.int() })), next: Next }),
        },
      },
      errors: [],
    },
    async ({ query, weir, c }) => {
      const { items, next } = await listStreams(weir.redis, weir.config.keyPrefix, query);
      return c.json({ streams: items, next });
    },
  );

  endpoint(
    app,
    {
      method: "get",
      path,
      tag,
      summary: "Look at a stream",
      params: StreamParams,
      query: nothing,
      body: noBody,
      answers: { 200: { description: "The stream", schema: StreamSchema } },
      errors: ["unknown-stream", "conflict"],
    },
    async ({ params, weir, c }) =>
      c.json(await streamInfo(openStream(weir.redis, weir.config.keyPrefix, params.stream))),
  );

  endpoint(
    app,
    {
      method: "delete",
      path,
      tag,
      summary: "Delete a stream and all that belongs to it",
      params: StreamParams,
      query: nothing,
      body: noBody,
      answers: { 204: { description: "Deleted" } },
      errors: ["unknown-stream", "conflict", "outcome-unknown"],
    },
    async ({ params, weir, c }) => {
      const { keyPrefix } = weir.config;
      await deleteStream(openStream(weir.redis, keyPrefix, params.stream), keyPrefix);
      return c.body(null, 204);
    },
  );

  endpoint(
    app,
    {
      method: "post",
      path: `${path}/trim`,
      tag,
      summary: "Trim a stream now; what a group has not finished is treated as the stream's `unfinished` says",
      description:
        "To one of `maxLength`, `minId` and `olderThanMs`; in whole nodes of Redis (about 100 messages), or with `exact` " +
        "to the very message.",
      params: StreamParams,
      query: nothing,
      body: jsonBody(
        z
          .strictObject({
            maxLength: integer(0, Number.MAX_SAFE_INTEGER).optional(),
            minId: EntryId.optional().openapi({ type: "string" }),
            olderThanMs: integer(0, Number.MAX_SAFE_INTEGER).optional(),
            exact: z.boolean().default(false),
          })
          .openapi({ oneOf: [{ required: ["maxLength"] }, { required: ["minId"] }, { required: ["olderThanMs"] }] })
          .refine(
            ({ maxLength, minId, olderThanMs }) =>
              [maxLength, minId, olderThanMs].filter((limit) => limit !== undefined).length === 1,
            "expected one of maxLength, minId and olderThanMs",
          ),
      ),
      answers: {
        200: {
          description: "What was trimmed, and the groups that hold back more, from where on",
          schema: z.object({
            trimmed: z.int(),
            keptFor: z.array(
              z.object({
                group: z.string(),
                fromId: z.string().openapi({ description: "All before it the group is done with" }),
              }),
            ),
          }),
        },
      },
      errors: ["unknown-stream", "conflict", "outcome-unknown", "redis-full"],
    },
    async ({ params, body, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      return c.json(await trimNow(stream, body, weir.now()));
    },
  );

  endpoint(
    app,
    {
      method: "get",
      path: `${path}/retention`,
      tag,
      summary: "What the next trim would take, from whom, and which group holds it back since when",
      params: StreamParams,
      query: nothing,
      body: noBody,
      answers: {
        200: {
          description: "The forecast",
          schema: z.object({
            unfinished: z.enum(UNFINISHED),
            next: z.object({
              messages: z.int().openapi({ description: "How many would go" }),
              messagesAre: z.enum(["exact", "estimated"]),
              belowId: z.string().nullable().openapi({ description: "Messages below it would go; null: by length" }),
            }),
            takesFrom: z.array(z.object({ group: z.string(), fromId: z.string(), messages: z.int() })),
            heldBackBy: z.array(
              z.object({
                group: z.string(),
                fromId: z.string(),
                sinceMs: z.int().openapi({ description: "When the message was produced that it is not done with" }),
              }),
            ),
          }),
        },
      },
      errors: ["unknown-stream", "conflict"],
    },
    async ({ params, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      return c.json(await forecastRetention(stream, weir.now()));
    },
  );
}
