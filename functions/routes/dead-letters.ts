import * as z from "zod";
import {
  DEAD_LETTER_REASONS,
  type DeadLetter,
  deleteDeadLetters,
  getDeadLetter,
  listDeadLetters,
  redrive,
} from "../../shared/stream/dead-letters.ts";
import { idAtOrAfter } from "../../shared/stream/position.ts";
import { jsonBody, jsonResponse, noBody, nothing, type Route, streamRoute } from "../http/endpoint.ts";
import { messageSchema } from "../http/message-schemas.ts";
import { once } from "../http/once.ts";
import { Bound, cursor, EntryId, EntryIds, GroupParams, integer, Limit, Next } from "../http/schemas.ts";

const deadLetterSchema = once(() =>
  z
    .object({
      id: z.string(),
      message: messageSchema(),
      reason: z.enum(DEAD_LETTER_REASONS),
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
    description: "With a filter a page may be short, even empty, while `next` says that there is more.",
    params: GroupParams,
    query: z.strictObject({
      reason: z.enum(DEAD_LETTER_REASONS).optional(),
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

const redriveRoute = streamRoute(
  { method: "post", path: `${path}/redrive` },
  () => ({
    operationId: "redrive",
    repeat: "repeating it is safe: what was redriven is no dead letter any more",
    tag,
    summary: "Hand dead letters to this group again, from delivery 1",
    description: "By `ids`, or all that fit `reason` and `type`, oldest first. What has no payload stays.",
    params: GroupParams,
    query: nothing,
    body: jsonBody(
      z
        .strictObject({
          ids: EntryIds.optional(),
          reason: z.enum(DEAD_LETTER_REASONS).optional(),
          type: z.string().min(1).max(1_024).optional(),
          limit: integer(1, 1_000).default(1_000),
        })
        .refine(
          ({ ids, reason, type }) => ids === undefined || (reason === undefined && type === undefined),
          "expected either ids, or reason and type",
        ),
    ),
    answers: { 200: { description: "How many", schema: z.object({ redriven: z.int() }) } },
    errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown", "redis-full"],
  }),
  async ({ stream, params, body, c }) => c.json({ redriven: await redrive(stream, params.group, body) }),
);

const deleteDeadLettersRoute = streamRoute(
  { method: "delete", path },
  () => ({
    operationId: "deleteDeadLetters",
    repeat: "repeating it is safe: what is gone stays gone",
    tag,
    summary: "Delete dead letters, for good",
    params: GroupParams,
    query: nothing,
    body: jsonBody(
      z
        .strictObject({ ids: EntryIds.optional(), before: Bound.optional() })
        .refine(({ ids, before }) => (ids === undefined) !== (before === undefined), "expected either ids or before"),
    ),
    answers: { 200: { description: "How many", schema: z.object({ deleted: z.int() }) } },
    errors: ["unknown-stream", "unknown-group", "conflict", "outcome-unknown"],
  }),
  async ({ stream, params, body, c }) => {
    const { ids = [], before } = body;
    const which = before === undefined ? { ids } : { belowId: idAtOrAfter(before) };
    return c.json({ deleted: await deleteDeadLetters(stream, params.group, which) });
  },
);

/** The message is JSON text already, and stays the text that it is. */
function deadLetterJson({ message, ...rest }: DeadLetter): string {
  return `${JSON.stringify(rest).slice(0, -1)},"message":${message}}`;
}

export const deadLetterRoutes: readonly Route[] = [
  listDeadLettersRoute,
  getDeadLetterRoute,
  redriveRoute,
  deleteDeadLettersRoute,
];
