import * as z from "zod";
import { type GroupInfo, groupInfo, listGroups } from "../../shared/stream/inspect.ts";
import { configureGroup, deleteGroup, type GroupPatch } from "../../shared/stream/manage.ts";
import { scoreCall, visitSoon } from "../../shared/stream/registry.ts";
import { replayToGroup, seek } from "../../shared/stream/reread.ts";
import { GROUP_DEFAULTS, type GroupMetric } from "../../shared/stream/settings.ts";
import { jsonBody, noBody, nothing, type Route, streamRoute } from "../http/endpoint.ts";
import { once } from "../http/once.ts";
import {
  AnyName,
  Bound,
  cursor,
  EntryId,
  EntryIds,
  GroupParams,
  gapSchema,
  integer,
  Limit,
  limitedText,
  Next,
  Start,
  StreamParams,
  setting,
} from "../http/schemas.ts";

const tag = "Groups";
const path = "/v1/streams/{stream}/groups/{group}";

const MAX_BACKOFF_MS = 12 * 3_600_000;

const threshold = setting(0, Number.MAX_SAFE_INTEGER, null);

const groupSettings = once(() =>
  z.strictObject({
    start: Start.nullish(),
    ackWaitMs: setting(1_000, 12 * 3_600_000, GROUP_DEFAULTS.ackWaitMs),
    maxDeliveries: setting(1, 100, GROUP_DEFAULTS.maxDeliveries),
    backoff: z
      .strictObject({
        minMs: setting(0, MAX_BACKOFF_MS, GROUP_DEFAULTS.backoff.minMs),
        maxMs: setting(0, MAX_BACKOFF_MS, GROUP_DEFAULTS.backoff.maxMs),
      })
      // The script checks again, against what is set already.
      .refine(
        ({ minMs, maxMs }) => minMs == null || maxMs == null || minMs <= maxMs,
        "expected minMs to be at most maxMs",
      )
      .nullish()
      .meta({
        description:
          "A retry waits from `minMs` to `minMs` * 2^deliveries, at random, and `maxMs` at most. `minMs` may not be above " +
          "`maxMs`, whichever of them is set already",
      }),
    alerts: z
      .strictObject({
        lag: threshold,
        pending: threshold,
        oldestPendingMs: threshold,
        deadLetters: threshold,
      } satisfies {
        readonly [Metric in GroupMetric]: z.ZodType;
      })
      .nullish()
      .meta({
        description: "An alert fires while a figure is above its threshold. Null removes one; null here removes all",
      }),
  }),
);

const groupReplay = once(() =>
  z
    .strictObject({
      ids: EntryIds.optional(),
      start: Bound.optional(),
      end: Bound.optional(),
      type: limitedText(1, 1_024).optional(),
      limit: integer(1, 1_000).default(1_000),
      cursor: cursor(EntryId),
      dryRun: z.boolean().default(false).meta({ description: "Counts only" }),
    })
    .refine(
      ({ ids, start, end }) => (ids === undefined) === (start !== undefined || end !== undefined),
      "expected either ids, or a range: start, end or both",
    )
    .meta({
      oneOf: [
        { required: ["ids"], not: { anyOf: [{ required: ["start"] }, { required: ["end"] }] } },
        { anyOf: [{ required: ["start"] }, { required: ["end"] }], not: { required: ["ids"] } },
      ],
    }),
);

const groupSchema = once(() =>
  z
    .object({
      name: z.string(),
      lag: z.int().nullable().meta({ description: "Messages not yet handed to the group" }),
      lagIs: z.enum(["exact", "estimated", "unknown"]),
      pending: z.int(),
      delayed: z.int(),
      lastDeliveredId: z.string(),
      consumers: z.int().meta({ description: "Those that Redis knows: who has asked for new messages" }),
      oldestPendingMs: z.int().nullable().meta({ description: "Age of the oldest message that is pending" }),
      deadLetters: z.int(),
      gap: gapSchema().nullable().meta({ description: "What trimming took from it last, until it has got over it" }),
      dropped: z.int().meta({ description: "Messages that trimming took from it in all" }),
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
    .meta({ id: "Group" }),
);

const putGroupRoute = streamRoute(
  { method: "put", path },
  () => ({
    operationId: "putGroup",
    repeat: "repeating it is safe: it sets the same again",
    tag,
    summary: "Create a group, or change its settings",
    description: "What is absent stays as it is, null goes back to the default. `start` counts at creation only.",
    params: GroupParams,
    query: nothing,
    body: jsonBody(groupSettings()),
    answers: {
      200: { description: "It was there", schema: groupSchema() },
      201: { description: "Created", schema: groupSchema() },
    },
    errors: ["unknown-stream", "conflict", "outcome-unknown", "redis-full"],
  }),
  async ({ stream, params, body: { start, backoff, alerts, ...rest }, context, c }) => {
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
    // Where the registry's key holds another type of value, nothing may be set.
    if (alerts != null) await stream.redis.send(scoreCall(stream));
    const { created } = await configureGroup(stream, params.group, start ?? undefined, patch);
    if (alerts != null) await visitSoon(stream, context.now());
    context.cache.forgetGroup(stream, params.group);
    return c.json(await groupInfo(stream, params.group, context.now()), created ? 201 : 200);
  },
);

const listGroupsRoute = streamRoute(
  { method: "get", path: "/v1/streams/{stream}/groups" },
  () => ({
    operationId: "listGroups",
    tag,
    summary: "List the groups of a stream by name",
    params: StreamParams,
    query: z.strictObject({ cursor: cursor(AnyName), limit: Limit }),
    body: noBody,
    answers: { 200: { description: "A page", schema: z.object({ groups: z.array(groupSchema()), next: Next }) } },
    errors: ["unknown-stream", "conflict"],
  }),
  async ({ stream, query, context, c }) => {
    const { items, next } = await listGroups(stream, query, context.now());
    return c.json({ groups: items, next });
  },
);

const getGroupRoute = streamRoute(
  { method: "get", path },
  () => ({
    operationId: "getGroup",
    tag,
    summary: "Look at a group",
    params: GroupParams,
    query: nothing,
    body: noBody,
    answers: { 200: { description: "The group", schema: groupSchema() } },
    errors: ["unknown-stream", "unknown-group", "conflict"],
  }),
  async ({ stream, params, context, c }) => c.json(await groupInfo(stream, params.group, context.now())),
);

const deleteGroupRoute = streamRoute(
  { method: "delete", path },
  () => ({
    operationId: "deleteGroup",
    repeat: "repeating it is safe: 404 means that it is gone",
    tag,
    summary: "Delete a group with its settings and dead letters",
    params: GroupParams,
    query: nothing,
    body: noBody,
    answers: { 204: { description: "Deleted" } },
    errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown"],
  }),
  async ({ stream, params, context, c }) => {
    await deleteGroup(stream, params.group);
    context.cache.forgetGroup(stream, params.group);
    return c.body(null, 204);
  },
);

const seekRoute = streamRoute(
  { method: "post", path: `${path}/seek` },
  () => ({
    operationId: "seek",
    repeat: "repeating it is safe, but what was read meanwhile may be read again",
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
  }),
  async ({ stream, params, body, c }) => c.json({ lastDeliveredId: await seek(stream, params.group, body.to) }),
);

const replayRoute = streamRoute(
  { method: "post", path: `${path}/replay` },
  () => ({
    operationId: "replay",
    repeat: "repeating it may hand the same messages to the group once more",
    tag,
    summary: "Hand messages of the stream to this group again; its cursor stays",
    description:
      "By `ids`, or of a range from `start` to `end`, both included. Other groups notice nothing. While `next` is not null " +
      "there is more: the same request with it as `cursor` goes on, and repeats nothing.",
    params: GroupParams,
    query: nothing,
    body: jsonBody(groupReplay()),
    answers: { 200: { description: "How many", schema: z.object({ replayed: z.int(), next: Next }) } },
    errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown", "redis-full"],
  }),
  async ({ stream, params, body, c }) => {
    const { count, next } = await replayToGroup(stream, params.group, body);
    return c.json({ replayed: count, next });
  },
);

export const groupRoutes: readonly Route[] = [
  putGroupRoute,
  listGroupsRoute,
  getGroupRoute,
  deleteGroupRoute,
  seekRoute,
  replayRoute,
];
