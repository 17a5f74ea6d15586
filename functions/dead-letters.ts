import { type OpenAPIHono, z } from "@hono/zod-openapi";
import { LAST_ID, type Position } from "../shared/ids.ts";
import {
  DEAD_LETTER_REASONS,
  type DeadLetter,
  deleteDeadLetters,
  getDeadLetter,
  listDeadLetters,
  redrive,
} from "../shared/stream/dead-letters.ts";
import { openStream } from "../shared/stream/stream.ts";
import type { AppEnv } from "./app.ts";
import { endpoint, jsonBody, jsonResponse, noBody, nothing } from "./endpoint.ts";
import { MessageSchema } from "./message-schemas.ts";
import { Bound, EntryId, EntryIds, GroupParams, integer, Limit, Next } from "./schemas.ts";

const DeadLetterSchema = z
  .object({
    id: z.string(),
    message: MessageSchema,
    reason: z.enum(DEAD_LETTER_REASONS),
    detail: z.string().nullable().openapi({ description: "The consumer's words" }),
    deliveries: z.int(),
    consumer: z.string().openapi({ description: "Who was handed it last" }),
    deadAt: z.int(),
  })
  .openapi("DeadLetter");

const tag = "Dead letters";
const path = "/v1/streams/{stream}/groups/{group}/dead-letters";

/** `/v1/streams/{stream}/groups/{group}/dead-letters` and below. */
export function deadLetterRoutes(app: OpenAPIHono<AppEnv>): void {
  endpoint(
    app,
    {
      method: "get",
      path,
      tag,
      summary: "List a group's dead letters, oldest first",
      description: "With a filter a page may be short, even empty, while `next` says that there is more.",
      params: GroupParams,
      query: z.strictObject({
        reason: z.enum(DEAD_LETTER_REASONS).optional(),
        type: z.string().optional(),
        cursor: EntryId.optional().openapi({ type: "string" }),
        limit: Limit,
      }),
      body: noBody,
      answers: {
        200: { description: "A page", schema: z.object({ deadLetters: z.array(DeadLetterSchema), next: Next }) },
      },
      errors: ["unknown-stream", "unknown-group", "conflict"],
    },
    async ({ params, query, weir }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      const { items, next } = await listDeadLetters(stream, params.group, query);
      return jsonResponse(`{"deadLetters":[${items.map(deadLetterJson).join(",")}],"next":${JSON.stringify(next)}}`);
    },
  );

  endpoint(
    app,
    {
      method: "get",
      path: `${path}/{id}`,
      tag,
      summary: "Get a dead letter",
      params: GroupParams.extend({ id: EntryId }),
      query: nothing,
      body: noBody,
      answers: { 200: { description: "The dead letter", schema: DeadLetterSchema } },
      errors: ["unknown-stream", "unknown-group", "unknown-dead-letter", "conflict"],
    },
    async ({ params, weir }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      return jsonResponse(deadLetterJson(await getDeadLetter(stream, params.group, params.id)));
    },
  );

  endpoint(
    app,
    {
      method: "post",
      path: `${path}/redrive`,
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
    },
    async ({ params, body, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      return c.json({ redriven: await redrive(stream, params.group, body) });
    },
  );

  endpoint(
    app,
    {
      method: "delete",
      path,
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
    },
    async ({ params, body, weir, c }) => {
      const stream = openStream(weir.redis, weir.config.keyPrefix, params.stream);
      const which = body.ids === undefined ? { belowId: belowIdOf(body.before) } : { ids: body.ids };
      return c.json({ deleted: await deleteDeadLetters(stream, params.group, which) });
    },
  );
}

/** The id below which all is before a position. */
function belowIdOf(before: Position | undefined): string {
  if (before === undefined || before.kind === "first") return "0-0";
  if (before.kind === "last") return LAST_ID;
  return before.kind === "id" ? before.id : `${before.ms}-0`;
}

/** The message is JSON text already, and stays the text that it is. */
function deadLetterJson({ message, ...rest }: DeadLetter): string {
  return `${JSON.stringify(rest).slice(0, -1)},"message":${message}}`;
}
