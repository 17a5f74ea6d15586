import * as z from "zod";
import { summarizeDeadLetters } from "../../shared/stream/dead-letter-kinds.ts";
import {
  DEAD_LETTER_REASONS,
  type DeadLetter,
  deleteDeadLetters,
  getDeadLetter,
  listDeadLetters,
  MAX_FILTER_CHARACTERS,
  parseRedriveCursor,
  redrive,
} from "../../shared/stream/dead-letters.ts";
import { idAtOrAfter } from "../../shared/stream/position.ts";
import { jsonBody, jsonResponse, noBody, nothing, type Route, streamRoute } from "../http/endpoint.ts";
import { messageSchema } from "../http/message-schemas.ts";
import { once } from "../http/once.ts";
import { Bound, cursor, EntryId, EntryIds, GroupParams, integer, Limit, limitedText, Next } from "../http/schemas.ts";

const Reason = z
  .enum([...DEAD_LETTER_REASONS, "unknown"])
  .meta({ description: "`unknown`: another client has put it there" });

const deadLetterSchema = once(() =>
  z
    .object({
      id: z.string(),
      message: messageSchema(),
      reason: Reason,
      detail: z.string().nullable().meta({ description: "The consumer's words" }),
      deliveries: z.int(),
      consumer: z.string().meta({ description: "Who was handed it last" }),
      deadAt: z.int(),
    })
    .meta({ id: "DeadLetter" }),
);

const tag = "Dead letters";
const path = "/v1/streams/{stream}/groups/{group}/dead-letters";

const listDeadLettersRoute = streamRoute(
  { method: "get", path },
  () => ({
    operationId: "listDeadLetters",
    tag,
    summary: "List a group's dead letters, oldest first",
    description: "Where a filter fits few, a page may be short, even empty, while `next` says that there is more.",
    params: GroupParams,
    query: z.strictObject({
      reason: Reason.optional(),
      type: z.string().optional(),
      cursor: cursor(EntryId),
      limit: Limit,
    }),
    body: noBody,
    answers: {
      200: { description: "A page", schema: z.object({ deadLetters: z.array(deadLetterSchema()), next: Next }) },
    },
    errors: ["unknown-stream", "unknown-group", "conflict"],
  }),
  async ({ stream, params, query }) => {
    const { items, next } = await listDeadLetters(stream, params.group, query);
    return jsonResponse(`{"deadLetters":[${items.map(deadLetterJson).join(",")}],"next":${JSON.stringify(next)}}`);
  },
);

const kindSchema = once(() =>
  z
    .object({
      reason: Reason,
      type: z.string().nullable(),
      detail: z.string().nullable().meta({ description: "The consumer's words" }),
      count: z.int(),
      oldestAt: z.int(),
      newestAt: z.int(),
      exampleId: z.string().meta({ description: "The dead letter that died last" }),
    })
    .meta({ id: "DeadLetterKind" }),
);

const summarizeDeadLettersRoute = streamRoute(
  { method: "get", path: `${path}/summary` },
  () => ({
    operationId: "summarizeDeadLetters",
    tag,
    summary: "Count a group's dead letters by kind, most first",
    description:
      "Those of one kind have the same reason, type and detail: given to a redrive, these three take just them. What has no " +
      "payload is not redriven. Where other clients wrote a type or detail longer than a redrive takes, it is cut and ends with `…`.",
    params: GroupParams,
    query: nothing,
    body: noBody,
    answers: {
      200: {
        description: "At most 100 kinds",
        schema: z.object({
          kinds: z.array(kindSchema()),
          complete: z.boolean().meta({
            description:
              "false: there are more dead letters than were looked at, the newest 10,000 at the most, or more kinds",
          }),
        }),
      },
    },
    errors: ["unknown-stream", "unknown-group", "conflict"],
  }),
  async ({ stream, params, c }) => c.json(await summarizeDeadLetters(stream, params.group)),
);

const getDeadLetterRoute = streamRoute(
  { method: "get", path: `${path}/{id}` },
  () => ({
    operationId: "getDeadLetter",
    tag,
    summary: "Get a dead letter",
    params: GroupParams.extend({ id: EntryId }),
    query: nothing,
    body: noBody,
    answers: { 200: { description: "The dead letter", schema: deadLetterSchema() } },
    errors: ["unknown-stream", "unknown-group", "unknown-dead-letter", "conflict"],
  }),
  async ({ stream, params }) => jsonResponse(deadLetterJson(await getDeadLetter(stream, params.group, params.id))),
);

/** Where a redrive went on to. */
const RedriveCursor = z.string().transform((text, context) => {
  const known = parseRedriveCursor(text);
  if (known !== undefined) return known;
  context.addIssue({ code: "custom", message: "expected `next` of the request before" });
  return z.NEVER;
});

const FilterText = limitedText(1, MAX_FILTER_CHARACTERS);

const redriveRequest = once(() =>
  z
    .strictObject({
      ids: EntryIds.optional(),
      all: z.literal(true).optional(),
      reason: Reason.optional(),
      type: FilterText.nullish().meta({ description: "null: those that have none" }),
      detail: FilterText.nullish().meta({ description: "The consumer's words; null: those that have none" }),
      limit: integer(1, 1_000).default(1_000),
      cursor: cursor(RedriveCursor),
      dryRun: z.boolean().default(false).meta({ description: "Counts only" }),
    })
    .refine(({ ids, all, reason, type, detail }) => {
      const isFiltered = reason !== undefined || type !== undefined || detail !== undefined;
      return [ids !== undefined, all !== undefined, isFiltered].filter(Boolean).length === 1;
    }, "expected one of ids, all: true, or a filter by reason, type or detail"),
);

const redriveRoute = streamRoute(
  { method: "post", path: `${path}/redrive` },
  () => ({
    operationId: "redrive",
    repeat: "repeating it is safe: what was redriven is no dead letter any more",
    tag,
    summary: "Hand dead letters to this group again, from delivery 1",
    description:
      "By `ids`, `all`, or all that fit `reason`, `type` and `detail`, oldest first. What has no payload stays. While `next` is " +
      "not null there is more: the same request with it as `cursor` goes on, and repeats nothing.",
    params: GroupParams,
    query: nothing,
    body: jsonBody(redriveRequest()),
    answers: { 200: { description: "How many", schema: z.object({ redriven: z.int(), next: Next }) } },
    errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown", "redis-full"],
  }),
  async ({ stream, params, body, c }) => {
    const { count, next } = await redrive(stream, params.group, body);
    return c.json({ redriven: count, next });
  },
);

const deleteDeadLettersRoute = streamRoute(
  { method: "delete", path },
  () => ({
    operationId: "deleteDeadLetters",
    repeat: "repeating it is safe: what is gone stays gone",
    tag,
    summary: "Delete dead letters, for good",
    description:
      "Those named, those `before` a time or id, or `all` that there are. While `next` is not null there is more: the same " +
      "request with it as `cursor` goes on.",
    params: GroupParams,
    query: nothing,
    body: jsonBody(
      z
        .strictObject({
          ids: EntryIds.optional(),
          before: Bound.optional(),
          all: z.literal(true).optional(),
          cursor: cursor(EntryId),
        })
        .refine(
          ({ ids, before, all }) => [ids, before, all].filter((one) => one !== undefined).length === 1,
          "expected one of ids, before and all: true",
        ),
    ),
    answers: { 200: { description: "How many", schema: z.object({ deleted: z.int(), next: Next }) } },
    errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown"],
  }),
  async ({ stream, params, body: { ids, before, cursor }, c }) => {
    const belowId = cursor ?? (before && idAtOrAfter(before));
    const which = ids !== undefined ? { ids } : belowId !== undefined ? { belowId } : "all";
    const { count, next } = await deleteDeadLetters(stream, params.group, which);
    return c.json({ deleted: count, next });
  },
);

/** The message is JSON text already, and stays the text that it is. */
function deadLetterJson({ message, ...rest }: DeadLetter): string {
  return `${JSON.stringify(rest).slice(0, -1)},"message":${message}}`;
}

export const deadLetterRoutes: readonly Route[] = [
  listDeadLettersRoute,
  // Before the one by id, which would take it for an id.
  summarizeDeadLettersRoute,
  getDeadLetterRoute,
  redriveRoute,
  deleteDeadLettersRoute,
];
