import * as z from "zod";
import {
  isBase64,
  isJsonType,
  MAX_MEDIA_TYPE_CHARACTERS,
  MEDIA_TYPE,
  METADATA_PREFIX,
  RESERVED_FIELDS,
} from "../../shared/message.ts";
import { parseTimeNotBefore } from "../../shared/stream/position.ts";
import { MAX_DELAY_MS } from "../../shared/stream/schedule-plan.ts";
import { once } from "./once.ts";
import { integer, limitedText, STOP } from "./schemas.ts";

/** An entry's own: a script unpacks them. */
export const MAX_ATTRIBUTES = 64;
export const MAX_ATTRIBUTE_NAME = 128;

/** Marks a fault whose message must not quote the value. */
export const IS_PAYLOAD = { isPayload: true };

/** Redis stores bytes. A lone surrogate has no UTF-8 form and would be replaced silently. */
const isWellFormed = (text: string) => text.isWellFormed();
const NOT_WELL_FORMED = { message: "expected well-formed Unicode", params: IS_PAYLOAD };

const Text = z.string().refine(isWellFormed, NOT_WELL_FORMED);

/** A `type` or `key`. */
export const ShortText = limitedText(1, 1_024).refine(isWellFormed, NOT_WELL_FORMED);

/** A value's members, if it has any. */
const membersOf = (value: unknown) => (typeof value === "object" && value !== null ? Object.keys(value) : []);

/**
 * Checked before the record itself: zod copies members, which would lose `__proto__` silently, and collecting the faults
 * of 100,000 members overflows its stack.
 */
const anyAttributes = once(() =>
  z
    // Without a function it takes anything, as unknown() does; its type says what is taken in the end.
    .custom<Readonly<Record<string, string>>>()
    .refine((value) => !membersOf(value).includes("__proto__"), {
      message: "expected no member named __proto__",
      params: IS_PAYLOAD,
    })
    .refine((value) => membersOf(value).length <= MAX_ATTRIBUTES, {
      message: `expected at most ${MAX_ATTRIBUTES} members`,
      params: IS_PAYLOAD,
    }),
);

const attributeName = once(() =>
  limitedText(1, MAX_ATTRIBUTE_NAME)
    .refine(isWellFormed, NOT_WELL_FORMED)
    .refine(
      (name) => !RESERVED_FIELDS.includes(name) && !name.startsWith(METADATA_PREFIX),
      `expected a name other than ${RESERVED_FIELDS.join(", ")} and not starting with ${METADATA_PREFIX}`,
    ),
);

const attributes = once(() =>
  anyAttributes()
    .pipe(z.record(attributeName(), Text))
    .meta({
      shownAs: {
        type: "object",
        propertyNames: { minLength: 1, maxLength: MAX_ATTRIBUTE_NAME },
        additionalProperties: { type: "string" },
        maxProperties: MAX_ATTRIBUTES,
      },
      description:
        `Up to ${MAX_ATTRIBUTES} of your own, by name: text of any length. Names have up to ${MAX_ATTRIBUTE_NAME} characters, are none of ` +
        `\`${RESERVED_FIELDS.join("`, `")}\` and do not start with \`${METADATA_PREFIX}\``,
    }),
);

/** The media type that a payload states. */
export const MediaType = z
  .string()
  .max(MAX_MEDIA_TYPE_CHARACTERS, STOP)
  .regex(MEDIA_TYPE, "expected a media type such as text/plain")
  .nullish()
  .meta({ description: "The media type of the payload. Absent: JSON" });

export const Base64 = z.string().refine(isBase64, { message: "expected base64 with padding", params: IS_PAYLOAD });

/** A payload's members, checked one by one already. */
interface Payload {
  readonly data?: unknown;
  readonly datacontenttype?: string | null | undefined;
}

/**
 * Checks a payload's members together.
 * @param bytesMember what stands in place of `data` for base64
 */
export function checkPayload<Name extends string>(
  bytesMember: Name,
): z.core.CheckFn<Payload & { readonly [name in Name]?: string | null | undefined }> {
  return ({ value, issues }) => {
    const { data, datacontenttype } = value;
    const hasData = Object.hasOwn(value, "data");
    const base64 = value[bytesMember];
    if (hasData && typeof base64 === "string") {
      const message = `expected either data or ${bytesMember}`;
      issues.push({ code: "custom", path: [bytesMember], message, input: base64 });
    }
    if (hasData && datacontenttype && !isJsonType(datacontenttype) && !Text.safeParse(data).success) {
      issues.push({
        code: "custom",
        path: ["data"],
        message: "expected a string of well-formed Unicode, since datacontenttype is not JSON",
        params: IS_PAYLOAD,
        input: data,
      });
    }
  };
}

/** A time in a body, as Unix milliseconds. */
const DeliverAt = z
  .union([z.string(), z.int().min(0).transform(String)])
  .transform((text, context) => {
    const ms = parseTimeNotBefore(text);
    if (ms !== undefined) return ms;
    context.addIssue({ code: "custom", message: "expected Unix milliseconds or an ISO 8601 time" });
    return z.NEVER;
  })
  .meta({
    description:
      "Appended when it is due, never earlier: Unix milliseconds or an ISO 8601 time, up to 30 days ahead. At once where " +
      "that has passed",
  });

/** A message in a produce request. `data` is any JSON value; it is stored as the text that it came as. */
export const newMessageSchema = once(() =>
  z
    .strictObject({
      type: ShortText.nullish().meta({ description: "The event type" }),
      key: ShortText.nullish().meta({ description: "What the message is about, such as an order's number" }),
      data: z
        .unknown()
        .optional()
        .meta({ description: "The payload: any JSON value, kept as the text that it came as" }),
      dataBase64: Base64.optional().meta({ description: "A binary payload, in place of `data`" }),
      datacontenttype: MediaType,
      attributes: attributes().nullish(),
      delayMs: integer(0, MAX_DELAY_MS).optional().meta({ description: "Appended so much later; up to 30 days" }),
      deliverAt: DeliverAt.optional(),
    })
    // Not superRefine(): it hangs a closure on every value, and V8 keeps the values alive for long.
    .check(checkPayload("dataBase64"), ({ value: message, issues }) => {
      if (Object.hasOwn(message, "delayMs") && Object.hasOwn(message, "deliverAt")) {
        const path = ["deliverAt"];
        issues.push({
          code: "custom",
          path,
          message: "expected either delayMs or deliverAt",
          input: message.deliverAt,
        });
      }
    })
    .meta({ id: "NewMessage" }),
);

/** A message in an answer. */
export const messageSchema = once(() =>
  z
    .object({
      id: z.string(),
      type: z.string().nullable(),
      data: z
        .unknown()
        .optional()
        .meta({ description: "The JSON value, or a string where `datacontenttype` is not JSON" }),
      dataBase64: z.string().optional().meta({ description: "Binary content" }),
      datacontenttype: z.string().optional(),
      attributes: z.record(z.string(), z.string()),
      attributesBase64: z
        .record(z.string(), z.string())
        .optional()
        .meta({ description: "Fields that another client wrote and that are not UTF-8" }),
      key: z.string().nullable(),
      producedAt: z.int(),
    })
    .meta({ id: "Message" }),
);

/** A message that is to be appended later: it has no id and no time of its own yet. */
export const scheduledMessageSchema = once(() =>
  messageSchema().omit({ id: true, producedAt: true }).meta({ id: "ScheduledMessage" }),
);

/** A message that was handed out. */
export const deliverySchema = once(() =>
  messageSchema()
    .extend({
      deliveries: z.int().meta({ description: "How often it was handed out, this time included" }),
      lease: z.string(),
    })
    .meta({ id: "Delivery" }),
);
