import { type OpenAPIHono, z } from "@hono/zod-openapi";
import { claim } from "../shared/stream/claim.ts";
import { consume } from "../shared/stream/consume.ts";
import { settle } from "../shared/stream/settle.ts";
import { openStream } from "../shared/stream/stream.ts";
import type { AppEnv } from "./app.ts";
import { endpoint, jsonBody, jsonResponse, nothing } from "./endpoint.ts";
import { DeliverySchema } from "./message-schemas.ts";
import { EntryIds, GapSchema, GroupParams, integer, Name } from "./schemas.ts";

const tag = "Consuming";
const path = "/v1/streams/{stream}/groups/{group}";
const MOST_LEASES = 1_000;
const MOST_DELAY_MS = 12 * 3_600_000;

const Lease = z.string().max(1_000);
const Reason = z
  .string()
  .max(1_024)
  .refine((text) => text.isWellFormed(), { message: "expected well-formed Unicode", params: { isPayload: true } })
  .optional();

/** The four lists of a settle request, which a consume request has too. */
const settleLists = {
  acks: z.array(Lease).max(MOST_LEASES).default([]),
  retries: z
    .array(
      z.strictObject({
        lease: Lease,
        delayMs: integer(0, MOST_DELAY_MS).optional().openapi({ description: "Absent: by the group's backoff" }),
        reason: Reason,
      }),
    )
    .max(MOST_LEASES)
    .default([]),
  rejects: z
    .array(z.strictObject({ lease: Lease, reason: Reason }))
    .max(MOST_LEASES)
    .default([]),
  extends: z.array(Lease).max(MOST_LEASES).default([]),
};

type SettleLists = z.output<z.ZodObject<typeof settleLists>>;

/** At most 1,000 leases in all, and none in two lists: what was meant then? */
function checkLists({ value: lists, issues }: z.core.ParsePayload<SettleLists>): void {
  // One list, with a limit of its own: the usual case.
  if (lists.retries.length + lists.rejects.length + lists.extends.length === 0) return;
  const listOf = new Map<string, string>();
  const entries = [
    ...lists.acks.map((lease, i) => ({ list: "acks", i, lease, path: ["acks", i] })),
    ...lists.retries.map(({ lease }, i) => ({ list: "retries", i, lease, path: ["retries", i, "lease"] })),
    ...lists.rejects.map(({ lease }, i) => ({ list: "rejects", i, lease, path: ["rejects", i, "lease"] })),
    ...lists.extends.map((lease, i) => ({ list: "extends", i, lease, path: ["extends", i] })),
  ];
  if (entries.length > MOST_LEASES) {
    const message = `expected at most ${MOST_LEASES} leases in all lists, got ${entries.length}`;
    issues.push({ code: "custom", message, input: lists });
  }
  for (const { list, lease, path } of entries) {
    const before = listOf.get(lease) ?? list;
    if (before !== list) {
      const message = `expected each lease in one list, got it in ${before} too`;
      issues.push({ code: "custom", path, message, input: lease });
    }
    listOf.set(lease, before);
  }
}

const SettledSchema = z
  .object({
    acked: z.int().openapi({ description: "Deliveries that this took off the pending ones" }),
    retried: z.int(),
    rejected: z.int(),
    extended: z.int(),
    stale: z.array(z.object({ lease: z.string(), outcome: z.enum(["superseded", "settled", "foreign", "malformed"]) })),
  })
  .openapi("Settled");

/** Handing out and settling. */
export function consumeRoutes(app: OpenAPIHono<AppEnv>): void {
  endpoint(
    app,
    {
      method: "post",
      path: `${path}/consume`,
      tag,
      summary: "Settle the last batch and get the next one; never waits",
      permission: "consume",
      description:
        "What is handed out is leased for the group's `ackWaitMs` and handed out again after it, up to " +
        "`maxDeliveries` times. Hand back the last `pollState`: without it every poll looks for expired deliveries, " +
        "which costs more commands. May answer fewer than `batchSize` while there is more: `pollAfterMs` is 0 then.",
      params: GroupParams,
      query: nothing,
      body: jsonBody(
        z
          .strictObject({
            consumer: Name,
            batchSize: integer(1, 1_000).default(10),
            ...settleLists,
            pollState: z.string().max(1_000).nullish(),
            recover: z.boolean().default(false).openapi({
              description: "First what this consumer name still holds, each as another delivery",
            }),
          })
          .check(checkLists),
      ),
      answers: {
        200: {
          description: "A batch, empty when there is nothing",
          schema: z.object({
            messages: z.array(DeliverySchema),
            settled: SettledSchema,
            ackWaitMs: z.int(),
            pollState: z.string(),
            pollAfterMs: z.int(),
            gap: GapSchema.optional().openapi({
              description: "What trimming took from this group, until it has acknowledged something after that",
            }),
          }),
        },
      },
      errors: ["unknown-stream", "unknown-group", "conflict", "too-many-pending", "outcome-unknown", "redis-full"],
    },
    async ({ params, body, weir }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      const request = { ...body, pollState: body.pollState ?? undefined };
      const context = { cache: weir.cache, nowMs: weir.now() };
      const { messages, ...rest } = await consume(stream, params.group, request, context);
      return jsonResponse(`{"messages":[${messages.join(",")}],${JSON.stringify(rest).slice(1)}`);
    },
  );

  endpoint(
    app,
    {
      method: "post",
      path: `${path}/settle`,
      tag,
      summary: "Acknowledge, retry, reject or extend deliveries",
      permission: "consume",
      description:
        "An acknowledgement may be late: the work was done. The others act only while that very delivery still holds " +
        "its message, and are listed as `stale` otherwise. An extended lease stays valid under the same string.",
      params: GroupParams,
      query: nothing,
      body: jsonBody(z.strictObject(settleLists).check(checkLists)),
      answers: { 200: { description: "What was settled", schema: z.object({ settled: SettledSchema }) } },
      errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown", "redis-full"],
    },
    async ({ params, body, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      return c.json({ settled: await settle(stream, params.group, body) });
    },
  );

  endpoint(
    app,
    {
      method: "post",
      path: `${path}/claim`,
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
            .openapi({ description: "Absent: the group's ackWaitMs; less than it needs `force`" }),
          force: z.boolean().default(false),
          limit: integer(1, 1_000).default(100),
        }),
      ),
      answers: { 200: { description: "The messages", schema: z.object({ messages: z.array(DeliverySchema) }) } },
      errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown", "redis-full"],
    },
    async ({ params, body, weir }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      const messages = await claim(stream, params.group, body);
      return jsonResponse(`{"messages":[${messages.join(",")}]}`);
    },
  );
}
