import * as z from "zod";
import { type StreamInfo, streamInfo } from "../../shared/stream/inspect.ts";
import { configureStream, deleteStream } from "../../shared/stream/manage.ts";
import { MIN_MAX_MESSAGE_BYTES } from "../../shared/stream/produce.ts";
import { listStreams } from "../../shared/stream/registry.ts";
import { forecastRetention, parseTrimCursor, trimNow } from "../../shared/stream/retention.ts";
import { STREAM_DEFAULTS, UNFINISHED } from "../../shared/stream/settings.ts";
import { cachedStream } from "../../shared/stream/settings-cache.ts";
import { jsonBody, noBody, nothing, type Route, route, streamRoute } from "../http/endpoint.ts";
import { once } from "../http/once.ts";
import { cursor, defaultInWords, EntryId, integer, Limit, Name, Next, StreamParams, setting } from "../http/schemas.ts";

const DAY_MS = 24 * 3_600_000;

const DEFAULTS = STREAM_DEFAULTS.retention;

const streamSettings = once(() =>
  z.strictObject({
    retention: z
      .strictObject({
        maxAgeMs: setting(1, 100 * 365 * DAY_MS, DEFAULTS.maxAgeMs),
        maxLength: setting(1, Number.MAX_SAFE_INTEGER, DEFAULTS.maxLength),
        unfinished: z
          .enum(UNFINISHED)
          .nullish()
          .meta({ description: defaultInWords(DEFAULTS.unfinished) }),
        deleteAcknowledged: z
          .boolean()
          .nullish()
          .meta({ description: defaultInWords(DEFAULTS.deleteAcknowledged) }),
        deadLetterMaxAgeMs: setting(60_000, 10 * 365 * DAY_MS, DEFAULTS.deadLetterMaxAgeMs),
      })
      .nullish(),
    maxMessageBytes: setting(MIN_MAX_MESSAGE_BYTES, 4 * 1024 * 1024, STREAM_DEFAULTS.maxMessageBytes),
    dedupeWindowMs: setting(1_000, 7 * DAY_MS, STREAM_DEFAULTS.dedupeWindowMs),
  }),
);

const streamSchema = once(() =>
  z
    .object({
      name: z.string(),
      length: z.int(),
      firstId: z.string().nullable(),
      lastId: z.string().nullable().meta({ description: "The last id given out; null before the first" }),
      groups: z.int().meta({ description: "How many groups there are" }),
      scheduled: z.int().meta({ description: "How many messages wait to be appended when they are due" }),
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
    .meta({ id: "Stream" }),
);

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
function retentionPatch(retention: z.output<ReturnType<typeof streamSettings>>["retention"]) {
  const { deleteAcknowledged, ...rest } = retention === null ? NO_RETENTION : (retention ?? {});
  return { ...rest, deleteAcknowledged: deleteAcknowledged ? 1 : deleteAcknowledged === undefined ? undefined : null };
}

const putStreamRoute = streamRoute(
  { method: "put", path },
  () => ({
    operationId: "putStream",
    repeat: "repeating it is safe: it sets the same again",
    tag,
    summary: "Create a stream, or change its settings",
    description: "What is absent stays as it is, null goes back to the default. Adopts a Redis stream that is there.",
    params: StreamParams,
    query: nothing,
    body: jsonBody(streamSettings()),
    answers: {
      200: { description: "It was there", schema: streamSchema() },
      201: { description: "Created", schema: streamSchema() },
    },
    errors: ["conflict", "outcome-unknown", "redis-full"],
  }),
  async ({ stream, body, context, c }) => {
    const { retention, ...rest } = body;
    const patch = { ...retentionPatch(retention), ...rest };
    const { created, info } = await configureStream(stream, patch, context.now());
    context.cache.setStream(stream, cachedStream(info.config));
    return c.json(info, created ? 201 : 200);
  },
);

const listStreamsRoute = route(
  { method: "get", path: "/v1/streams" },
  () => ({
    operationId: "listStreams",
    tag,
    summary: "List the streams by name",
    params: nothing,
    query: z.strictObject({ cursor: cursor(Name), limit: Limit }),
    body: noBody,
    answers: {
      200: {
        description: "A page",
        schema: z.object({
          streams: z.array(z.object({ name: z.string(), length: z.int(), scheduled: z.int() })),
          next: Next,
        }),
      },
    },
    errors: ["conflict"],
  }),
  async ({ query, context, c }) => {
    const { items, next } = await listStreams(context.redis, context.config.keyPrefix, query);
    return c.json({ streams: items, next });
  },
);

const getStreamRoute = streamRoute(
  { method: "get", path },
  () => ({
    operationId: "getStream",
    tag,
    summary: "Look at a stream",
    params: StreamParams,
    query: nothing,
    body: noBody,
    answers: { 200: { description: "The stream", schema: streamSchema() } },
    errors: ["unknown-stream", "conflict"],
  }),
  async ({ stream, c }) => c.json(await streamInfo(stream)),
);

const deleteStreamRoute = streamRoute(
  { method: "delete", path },
  () => ({
    operationId: "deleteStream",
    repeat: "repeating it is safe: 404 means that it is gone",
    tag,
    summary: "Delete a stream and all that belongs to it",
    params: StreamParams,
    query: nothing,
    body: noBody,
    answers: { 204: { description: "Deleted" } },
    errors: ["unknown-stream", "conflict", "outcome-unknown"],
  }),
  async ({ stream, context, c }) => {
    await deleteStream(stream);
    context.cache.forgetStream(stream);
    return c.body(null, 204);
  },
);

/** Where a trim went on to. */
const TrimCursor = z.string().transform((text, context) => {
  const known = parseTrimCursor(text);
  if (known !== undefined) return known;
  context.addIssue({ code: "custom", message: "expected `next` of the request before" });
  return z.NEVER;
});

const trimStreamRoute = streamRoute(
  { method: "post", path: `${path}/trim` },
  () => ({
    operationId: "trimStream",
    repeat: "repeating it is safe: it goes on from where this one got",
    tag,
    summary: "Trim a stream now; what a group has not finished is treated as the stream's `unfinished` says",
    description:
      "To one of `maxLength`, `minId` and `olderThanMs`; in whole nodes of Redis (about 100 messages), or with `exact` " +
      "to the very message. While `next` is not null there is more: the same request with it as `cursor` goes on.",
    params: StreamParams,
    query: nothing,
    body: jsonBody(
      z
        .strictObject({
          maxLength: integer(0, Number.MAX_SAFE_INTEGER).optional(),
          minId: EntryId.optional(),
          olderThanMs: integer(0, Number.MAX_SAFE_INTEGER).optional(),
          exact: z.boolean().default(false),
          cursor: cursor(TrimCursor),
        })
        .meta({ oneOf: [{ required: ["maxLength"] }, { required: ["minId"] }, { required: ["olderThanMs"] }] })
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
              fromId: z.string().meta({ description: "All before it the group is done with" }),
            }),
          ),
          next: Next,
        }),
      },
    },
    errors: ["unknown-stream", "conflict", "outcome-unknown", "redis-full"],
  }),
  async ({ stream, body, context, c }) => c.json(await trimNow(stream, body, context.now())),
);

const getRetentionRoute = streamRoute(
  { method: "get", path: `${path}/retention` },
  () => ({
    operationId: "getRetention",
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
            messages: z.int().meta({ description: "How many would go" }),
            messagesAre: z.enum(["exact", "estimated"]),
            belowId: z.string().nullable().meta({ description: "Messages below it would go; null: by length" }),
          }),
          takesFrom: z.array(z.object({ group: z.string(), fromId: z.string(), messages: z.int() })),
          heldBackBy: z.array(
            z.object({
              group: z.string(),
              fromId: z.string(),
              sinceMs: z.int().meta({ description: "When the message was produced that it is not done with" }),
            }),
          ),
          scheduled: z.int().meta({ description: "Messages that are to be appended later; no trim takes them" }),
          overdueSince: z.int().nullable().meta({
            description: "Since when the first of them is due and waits: for the reaper, or for room; null: none does",
          }),
        }),
      },
    },
    errors: ["unknown-stream", "conflict"],
  }),
  async ({ stream, context, c }) => c.json(await forecastRetention(stream, context.now())),
);

export const streamRoutes: readonly Route[] = [
  putStreamRoute,
  listStreamsRoute,
  getStreamRoute,
  deleteStreamRoute,
  trimStreamRoute,
  getRetentionRoute,
];
