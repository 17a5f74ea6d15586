import * as z from "zod";
import { consume } from "../../shared/stream/consume.ts";
import { settle } from "../../shared/stream/settle.ts";
import { jsonBody, jsonResponse, nothing, type Route, streamRoute } from "../http/endpoint.ts";
import { deliverySchema } from "../http/message-schemas.ts";
import { once } from "../http/once.ts";
import { GroupParams, gapSchema, integer, limitedText, Name } from "../http/schemas.ts";
import { settledSchema } from "../http/settled-schema.ts";

const tag = "Consuming";
const path = "/v1/streams/{stream}/groups/{group}";
const MAX_LEASES = 1_000;
const MAX_DELAY_MS = 12 * 3_600_000;
/**
 * 1,000 leases of 1,000 bytes, as consumers with long native names have them, each with a reason of 1,024 characters of
 * four bytes, take 5,160,000 bytes with the names around them. Leases of Weir's own names have at most 240.
 */
const MAX_BYTES = 5 * 1024 * 1024;

const Lease = limitedText(0, 1_000);
const Reason = limitedText(0, 1_024)
  .refine((text) => text.isWellFormed(), { message: "expected well-formed Unicode", params: { isPayload: true } })
  .optional();

/** The four lists of a settle request, which a consume request has too. */
const settleLists = once(() => ({
  acks: z.array(Lease).max(MAX_LEASES).default([]),
  retries: z
    .array(
      z.strictObject({
        lease: Lease,
        delayMs: integer(0, MAX_DELAY_MS).optional().meta({ description: "Absent: by the group's backoff" }),
        reason: Reason,
      }),
    )
    .max(MAX_LEASES)
    .default([]),
  rejects: z
    .array(z.strictObject({ lease: Lease, reason: Reason }))
    .max(MAX_LEASES)
    .default([]),
  releases: z
    .array(Lease)
    .max(MAX_LEASES)
    .default([])
    .meta({ description: "Given back: not counted, and there for the next poll at once" }),
  extends: z.array(Lease).max(MAX_LEASES).default([]),
}));

type SettleLists = z.output<z.ZodObject<ReturnType<typeof settleLists>>>;

/** At most 1,000 leases in all, and none in two lists: nobody could tell what was meant. */
function checkLists({ value: lists, issues }: z.core.ParsePayload<SettleLists>): void {
  // Acknowledgements alone, the usual case, have a limit of their own.
  if (lists.retries.length + lists.rejects.length + lists.releases.length + lists.extends.length === 0) return;
  const listOf = new Map<string, string>();
  const entries = [
    ...lists.acks.map((lease, i) => ({ list: "acks", i, lease, path: ["acks", i] })),
    ...lists.retries.map(({ lease }, i) => ({ list: "retries", i, lease, path: ["retries", i, "lease"] })),
    ...lists.rejects.map(({ lease }, i) => ({ list: "rejects", i, lease, path: ["rejects", i, "lease"] })),
    ...lists.releases.map((lease, i) => ({ list: "releases", i, lease, path: ["releases", i] })),
    ...lists.extends.map((lease, i) => ({ list: "extends", i, lease, path: ["extends", i] })),
  ];
  if (entries.length > MAX_LEASES) {
    const message = `expected at most ${MAX_LEASES} leases in all lists, got ${entries.length}`;
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

const consumeRoute = streamRoute(
  { method: "post", path: `${path}/consume`, permission: "consume" },
  () => ({
    operationId: "consume",
    repeat: "settling again is harmless, and what was handed out comes again when its lease ends",
    tag,
    summary: "Settle the last batch and get the next one; never waits",
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
          ...settleLists(),
          pollState: limitedText(0, 1_000).nullish(),
          recover: z.boolean().default(false).meta({
            description:
              "First what this consumer name still holds, each as another delivery, and what Weir holds after a lease ended",
          }),
        })
        .check(checkLists),
      MAX_BYTES,
    ),
    answers: {
      200: {
        description: "A batch, empty when there is nothing",
        schema: z.object({
          messages: z.array(deliverySchema()),
          settled: settledSchema(),
          ackWaitMs: z.int(),
          pollState: z.string(),
          pollAfterMs: z.int(),
          gap: gapSchema().optional().meta({
            description: "What trimming took from this group, until it has acknowledged something after that",
          }),
        }),
      },
    },
    errors: ["unknown-stream", "unknown-group", "conflict", "too-many-pending", "outcome-unknown", "redis-full"],
  }),
  async ({ stream, params, body, context }) => {
    const request = { ...body, pollState: body.pollState ?? undefined };
    const { cache, clock, config } = context;
    const poll = { cache, clock, timeoutMs: config.redisTimeoutMs, nowMs: context.now() };
    const { messages, ...rest } = await consume(stream, params.group, request, poll);
    return jsonResponse(`{"messages":[${messages.join(",")}],${JSON.stringify(rest).slice(1)}`);
  },
);

const settleRoute = streamRoute(
  { method: "post", path: `${path}/settle`, permission: "consume" },
  () => ({
    operationId: "settle",
    repeat: "settling again is harmless: what is settled already does not count twice",
    tag,
    summary: "Acknowledge, retry, reject, release or extend deliveries",
    description:
      "An acknowledgement may be late: the work was done. The others act only while that very delivery still holds " +
      "its message, and are listed as `stale` otherwise. An extended lease stays valid under the same string. A release " +
      "gives a delivery back as if it had not been handed out, for a consumer that stops.",
    params: GroupParams,
    query: nothing,
    body: jsonBody(z.strictObject(settleLists()).check(checkLists), MAX_BYTES),
    answers: { 200: { description: "What was settled", schema: z.object({ settled: settledSchema() }) } },
    errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown", "redis-full"],
  }),
  async ({ stream, params, body, context, c }) =>
    c.json({ settled: await settle(stream, params.group, body, context.cache) }),
);

export const consumeRoutes: readonly Route[] = [consumeRoute, settleRoute];
