import { type OpenAPIHono, z } from "@hono/zod-openapi";
import { DEAD_LETTER_REASONS, listDeadLetters } from "../shared/stream/dead-letters.ts";
import { openStream } from "../shared/stream/stream.ts";
import type { AppEnv } from "./app.ts";
import { endpoint, jsonResponse, noBody } from "./endpoint.ts";
import { MessageSchema } from "./message-schemas.ts";
import { EntryId, GroupParams, Limit, Next } from "./schemas.ts";

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

/** `/v1/streams/{stream}/groups/{group}/dead-letters`. */
export function deadLetterRoutes(app: OpenAPIHono<AppEnv>): void {
  endpoint(
    app,
    {
      method: "get",
      path: "/v1/streams/{stream}/groups/{group}/dead-letters",
      tag: "Dead letters",
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
      // The message is JSON text already, and stays the text that it is.
      const texts = items.map(({ message, ...rest }) => `${JSON.stringify(rest).slice(0, -1)},"message":${message}}`);
      return jsonResponse(`{"deadLetters":[${texts.join(",")}],"next":${JSON.stringify(next)}}`);
    },
  );
}
