import { type OpenAPIHono, z } from "@hono/zod-openapi";
import { listStreams, type StreamInfo, streamInfo } from "../shared/stream/inspect.ts";
import { configureStream, deleteStream } from "../shared/stream/manage.ts";
import { LEAST_MAX_MESSAGE_BYTES } from "../shared/stream/produce.ts";
import { openStream } from "../shared/stream/stream.ts";
import type { AppEnv } from "./app.ts";
import { endpoint, jsonBody, noBody, nothing } from "./endpoint.ts";
import { Limit, Name, Next, StreamParams, setting } from "./schemas.ts";

const DAY_MS = 24 * 3_600_000;

const StreamSettings = z.strictObject({
  retention: z
    .strictObject({
      maxAgeMs: setting(1, 100 * 365 * DAY_MS),
      maxLength: setting(1, Number.MAX_SAFE_INTEGER),
      unfinished: z.literal("keep").nullish(),
    })
    .nullish(),
  maxMessageBytes: setting(LEAST_MAX_MESSAGE_BYTES, 4 * 1024 * 1024),
  dedupeWindowMs: setting(1_000, 7 * DAY_MS),
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
        unfinished: z.literal("keep"),
      }),
      maxMessageBytes: z.int(),
      dedupeWindowMs: z.int(),
    }),
  } satisfies Record<keyof StreamInfo, z.ZodType>)
  .openapi("Stream");

const tag = "Streams";
const path = "/v1/streams/{stream}";

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
      const { retention, maxMessageBytes, dedupeWindowMs } = body;
      const { maxAgeMs, maxLength } = retention === null ? { maxAgeMs: null, maxLength: null } : (retention ?? {});
      const patch = { maxAgeMs, maxLength, maxMessageBytes, dedupeWindowMs };
      const { keyPrefix } = weir.config;
      const stream = openStream(weir.redis, keyPrefix, params.stream);
      const { created, info } = await configureStream(stream, keyPrefix, patch, weir.now());
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
}
