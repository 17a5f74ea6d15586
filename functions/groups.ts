import { type OpenAPIHono, z } from "@hono/zod-openapi";
import { type GroupInfo, groupInfo, listGroups } from "../shared/stream/inspect.ts";
import { configureGroup, deleteGroup, type GroupPatch, visitSoon } from "../shared/stream/manage.ts";
import { listPending, parsePendingCursor } from "../shared/stream/pending.ts";
import { replayToGroup, seek } from "../shared/stream/reread.ts";
import { GROUP_DEFAULTS, type GroupMetric } from "../shared/stream/settings.ts";
import { openStream } from "../shared/stream/stream.ts";
import type { AppEnv } from "./app.ts";
import { endpoint, jsonBody, noBody, nothing } from "./endpoint.ts";
import {
  AnyName,
  Bound,
  EntryIds,
  GapSchema,
  GroupParams,
  integer,
  Limit,
  Next,
  queryInteger,
  Start,
  StreamParams,
  setting,
} from "./schemas.ts";

const tag = "Groups";
const path = "/v1/streams/{stream}/groups/{group}";

const MOST_BACKOFF_MS = 12 * 3_600_000;

const threshold = setting(0, Number.MAX_SAFE_INTEGER, null);

const GroupSettings = z.strictObject({
  start: Start.nullish(),
  ackWaitMs: setting(1_000, 12 * 3_600_000, GROUP_DEFAULTS.ackWaitMs),
  maxDeliveries: setting(1, 100, GROUP_DEFAULTS.maxDeliveries),
  backoff: z
    .strictObject({
      minMs: setting(0, MOST_BACKOFF_MS, GROUP_DEFAULTS.backoff.minMs),
      maxMs: setting(0, MOST_BACKOFF_MS, GROUP_DEFAULTS.backoff.maxMs),
    })
    // With what is set already, the script looks again.
    .refine(
      ({ minMs, maxMs }) => minMs == null || maxMs == null || minMs <= maxMs,
      "expected minMs to be at most maxMs",
    )
    .nullish()
    .openapi({
      description:
        "A retry waits from `minMs` to `minMs` * 2^deliveries, at random, and `maxMs` at most. `minMs` may not be above " +
        "`maxMs`, whichever of them is set already",
    }),
  alerts: z
    .strictObject({ lag: threshold, pending: threshold, oldestPendingMs: threshold, deadLetters: threshold } satisfies {
      readonly [Metric in GroupMetric]: z.ZodType;
    })
    .nullish()
    .openapi({ description: "Above which figure an alert fires; null for one removes it, null here removes all" }),
});

const GroupReplay = z
  .strictObject({
    ids: EntryIds.optional(),
    start: Bound.optional(),
    end: Bound.optional(),
    type: z.string().min(1).max(1_024).optional(),
    limit: integer(1, 1_000).default(1_000),
  })
  .openapi({
    oneOf: [
      { required: ["ids"], not: { anyOf: [{ required: ["start"] }, { required: ["end"] }] } },
      { required: ["start", "end"], not: { required: ["ids"] } },
    ],
  })
  .refine(
    ({ ids, start, end }) => (ids === undefined ? start !== undefined && end !== undefined : !start && !end),
    "expected either ids, or start and end",
  );

/** Where a page of pending messages ended. */
const PendingCursor = z.string().transform((text, context) => {
  const cursor = parsePendingCursor(text);
  if (cursor !== undefined) return cursor;
  context.addIssue({
    code: "custom",
    message: "expected `next` of the page before, such as 1690000000000-0 or again:12.1b9d6bcd",
  });
  return z.NEVER;
});

const GroupSchema = z
  .object({
    name: z.string(),
    lag: z.int().nullable().openapi({ description: "Messages not yet handed to the group" }),
    lagIs: z.enum(["exact", "estimated", "unknown"]),
    pending: z.int(),
    delayed: z.int(),
    lastDeliveredId: z.string(),
    consumers: z.int().openapi({ description: "Those that Redis knows: who has asked for new messages" }),
    oldestPendingMs: z.int().nullable().openapi({ description: "Age of the oldest message that is pending" }),
    deadLetters: z.int(),
    gap: GapSchema.nullable().openapi({ description: "What trimming took from it last, until it has got over it" }),
    dropped: z.int().openapi({ description: "Messages that trimming took from it in all" }),
    config: z.object({
      ackWaitMs: z.int(),
      maxDeliveries: z.int(),
      backoff: z.object({ minMs: z.int(), maxMs: z.int() }),
      alerts: z.object({
        lag: z.int().nullable(),
        pending: z.int().nullable(),
        oldestPendingMs: z.int().nullable(),
        deadLetters: z.int().nullable(),
      } satisfies Record<GroupMetric, z.ZodType>),
    }),
  } satisfies Record<keyof GroupInfo, z.ZodType>)
  .openapi("Group");

/** `/v1/streams/{stream}/groups` and below, but for consuming, consumers and dead letters. */
export function groupRoutes(app: OpenAPIHono<AppEnv>): void {
  endpoint(
    app,
    {
      method: "put",
      path,
      tag,
      summary: "Create a group, or change its settings",
      description: "What is absent stays as it is, null goes back to the default. `start` counts at creation only.",
      params: GroupParams,
      query: nothing,
      body: jsonBody(GroupSettings),
      answers: {
        200: { description: "It was there", schema: GroupSchema },
        201: { description: "Created", schema: GroupSchema },
      },
      errors: ["unknown-stream", "conflict", "outcome-unknown", "redis-full"],
    },
    async ({ params, body: { start, backoff, alerts, ...rest }, weir, c }) => {
      const { minMs, maxMs } = backoff === null ? { minMs: null, maxMs: null } : (backoff ?? {});
      const { lag, pending, oldestPendingMs, deadLetters } = alerts === null ? GROUP_DEFAULTS.alerts : (alerts ?? {});
      const patch: GroupPatch = {
        ...rest,
        backoffMinMs: minMs,
        backoffMaxMs: maxMs,
        alertLag: lag,
        alertPending: pending,
        alertOldestPendingMs: oldestPendingMs,
        alertDeadLetters: deadLetters,
      };
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      const { created } = await configureGroup(stream, params.group, start ?? undefined, patch);
      if (alerts != null) await visitSoon(stream, weir.config.keyPrefix, weir.now());
      weir.cache.forgetGroup(stream, params.group);
      return c.json(await groupInfo(stream, params.group, weir.now()), created ? 201 : 200);
    },
  );

  endpoint(
    app,
    {
      method: "get",
      path: "/v1/streams/{stream}/groups",
      tag,
      summary: "List the groups of a stream by name",
      params: StreamParams,
      query: z.strictObject({ cursor: AnyName.optional(), limit: Limit }),
      body: noBody,
      answers: { 200: { description: "A page", schema: z.object({ groups: z.array(GroupSchema), next: Next }) } },
      errors: ["unknown-stream", "conflict"],
    },
    async ({ params, query, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      const { items, next } = await listGroups(stream, query, weir.now());
      return c.json({ groups: items, next });
    },
  );

  endpoint(
    app,
    {
      method: "get",
      path,
      tag,
      summary: "Look at a group",
      params: GroupParams,
      query: nothing,
      body: noBody,
      answers: { 200: { description: "The group", schema: GroupSchema } },
      errors: ["unknown-stream", "unknown-group", "conflict"],
    },
    async ({ params, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      return c.json(await groupInfo(stream, params.group, weir.now()));
    },
  );

  endpoint(
    app,
    {
      method: "delete",
      path,
      tag,
      summary: "Delete a group with its settings and dead letters",
      params: GroupParams,
      query: nothing,
      body: noBody,
      answers: { 204: { description: "Deleted" } },
      errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown"],
    },
    async ({ params, weir, c }) => {
      await deleteGroup(openStream(weir.redis, weir.config.keyPrefix, params.stream), params.group);
      return c.body(null, 204);
    },
  );

  endpoint(
    app,
    {
      method: "get",
      path: `${path}/pending`,
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
        cursor: PendingCursor.optional().openapi({ type: "string" }),
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
    },
    async ({ params, query, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      const { items, next } = await listPending(stream, params.group, query);
      return c.json({ pending: items, next });
    },
  );

  endpoint(
    app,
    {
      method: "post",
      path: `${path}/seek`,
      tag,
      summary: "Move where the group reads on",
      description: "What was handed out before stays pending; what is read again starts at delivery 1.",
      params: GroupParams,
      query: nothing,
      body: jsonBody(z.strictObject({ to: Start })),
      answers: {
        200: { description: "Up to where the group has read now", schema: z.object({ lastDeliveredId: z.string() }) },
      },
      errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown"],
    },
    async ({ params, body, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      return c.json({ lastDeliveredId: await seek(stream, params.group, body.to) });
    },
  );

  endpoint(
    app,
    {
      method: "post",
      path: `${path}/replay`,
      tag,
      summary: "Hand messages of the stream to this group again; its cursor stays",
      description: "By `ids`, or of a range from `start` to `end`, both included. Other groups notice nothing.",
      params: GroupParams,
      query: nothing,
      body: jsonBody(GroupReplay),
      answers: { 200: { description: "How many", schema: z.object({ replayed: z.int() }) } },
      errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown", "redis-full"],
    },
    async ({ params, body, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      return c.json({ replayed: await replayToGroup(stream, params.group, body) });
    },
  );
}
