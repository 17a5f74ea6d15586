import * as z from "zod";
import { parseScheduledCursor, parseScheduledId } from "../../shared/stream/buckets.ts";
import { cancelScheduled, getScheduled, listScheduled, type ScheduledMessage } from "../../shared/stream/scheduled.ts";
import { jsonResponse, noBody, nothing, type Route, streamRoute } from "../http/endpoint.ts";
import { scheduledMessageSchema } from "../http/message-schemas.ts";
import { once } from "../http/once.ts";
import { cursor, Limit, Name, Next, StreamParams } from "../http/schemas.ts";

const tag = "Messages";
const path = "/v1/streams/{stream}/scheduled";

const ScheduledId = z
  .string()
  .transform((text, context) => {
    const id = parseScheduledId(text);
    if (id !== undefined) return id;
    context.addIssue({ code: "custom", message: "expected the id of a scheduled message, such as later~…" });
    return z.NEVER;
  })
  .meta({ description: "The id of a scheduled message, `later~…`" });

const ScheduledParams = z.object({ stream: Name, scheduledId: ScheduledId });

/** Where a page of scheduled messages ended. */
const ScheduledCursor = z.string().transform((text, context) => {
  const known = parseScheduledCursor(text);
  if (known !== undefined) return known;
  context.addIssue({ code: "custom", message: "expected `next` of the page before" });
  return z.NEVER;
});

const scheduledSchema = once(() =>
  z
    .object({
      id: z.string(),
      deliverAt: z.int().meta({ description: "When it is due, in Unix milliseconds by Redis' clock" }),
      message: scheduledMessageSchema(),
    } satisfies Record<keyof ScheduledMessage, z.ZodType>)
    .meta({ id: "Scheduled" }),
);

function toJson({ id, deliverAt, message }: ScheduledMessage): string {
  return `{"id":"${id}","deliverAt":${deliverAt},"message":${message}}`;
}

const listScheduledRoute = streamRoute(
  { method: "get", path },
  () => ({
    operationId: "listScheduled",
    tag,
    summary: "List what is to be appended later, by the time at which it is due",
    description: "A page may hold fewer than `limit`, even none, while `next` is not null.",
    params: StreamParams,
    query: z.strictObject({ cursor: cursor(ScheduledCursor), limit: Limit }),
    body: noBody,
    answers: {
      200: {
        description: "A page",
        schema: z.object({ scheduled: z.array(scheduledSchema()), next: Next }),
      },
    },
    errors: ["unknown-stream", "conflict"],
  }),
  async ({ stream, query }) => {
    const { items, next } = await listScheduled(stream, query);
    return jsonResponse(`{"scheduled":[${items.map(toJson).join(",")}],"next":${JSON.stringify(next)}}`);
  },
);

const getScheduledRoute = streamRoute(
  { method: "get", path: `${path}/{scheduledId}` },
  () => ({
    operationId: "getScheduled",
    tag,
    summary: "Get a message that is to be appended later; 404 once it was",
    params: ScheduledParams,
    query: nothing,
    body: noBody,
    answers: { 200: { description: "The message, and when it is due", schema: scheduledSchema() } },
    errors: ["unknown-stream", "unknown-message", "conflict"],
  }),
  async ({ stream, params }) => jsonResponse(toJson(await getScheduled(stream, params.scheduledId))),
);

const cancelScheduledRoute = streamRoute(
  { method: "delete", path: `${path}/{scheduledId}` },
  () => ({
    operationId: "cancelScheduled",
    repeat: "repeating it is safe: 404 means that it is gone, or was appended",
    tag,
    summary: "Cancel a message that is to be appended later; 404 once it was",
    params: ScheduledParams,
    query: nothing,
    body: noBody,
    answers: { 204: { description: "Cancelled: it will not be appended" } },
    errors: ["unknown-stream", "unknown-message", "conflict", "outcome-unknown"],
  }),
  async ({ stream, params, c }) => {
    await cancelScheduled(stream, params.scheduledId);
    return c.body(null, 204);
  },
);

export const scheduledRoutes: readonly Route[] = [listScheduledRoute, getScheduledRoute, cancelScheduledRoute];
