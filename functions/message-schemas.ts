import { z } from "@hono/zod-openapi";
import { type InvalidMember, WeirError } from "../shared/errors.ts";
import { memberText, textsInList } from "../shared/json-text.ts";
import { isBase64, isJsonType, METADATA_PREFIX, type NewMessage, RESERVED_FIELDS } from "../shared/message.ts";
import { type Checked, check, mediaTypeOf, parseJson, readText } from "./body.ts";
import type { BodyReader } from "./endpoint.ts";

const MOST_MESSAGES = 1_000;
const MOST_ATTRIBUTES = 64;

/** What is wrong with a payload is told without quoting it. */
const IS_PAYLOAD = { isPayload: true };

/** Redis stores bytes: a lone surrogate has no UTF-8 form and would be replaced in silence. */
const Text = z
  .string()
  .refine((text) => text.isWellFormed(), { message: "expected well-formed Unicode", params: IS_PAYLOAD });

const ShortText = Text.min(1).max(1_024);

/** A value's members, if it has any. */
const membersOf = (value: unknown) => (typeof value === "object" && value !== null ? Object.keys(value) : []);

/**
 * Checked before the record: a parser that copies members would lose `__proto__` in silence, and one that collects
 * the faults of 100,000 members overflows the stack.
 */
const AnyAttributes = z
  .unknown()
  .refine((value) => !membersOf(value).includes("__proto__"), {
    message: "expected no member named __proto__",
    params: IS_PAYLOAD,
  })
  .refine((value) => membersOf(value).length <= MOST_ATTRIBUTES, {
    message: `expected at most ${MOST_ATTRIBUTES} members`,
    params: IS_PAYLOAD,
  });

const AttributeRecord = z.record(
  Text.min(1)
    .max(128)
    .refine(
      (name) => !RESERVED_FIELDS.includes(name) && !name.startsWith(METADATA_PREFIX),
      `expected a name other than ${RESERVED_FIELDS.join(", ")} and not starting with ${METADATA_PREFIX}`,
    ),
  Text,
);

const Attributes = AnyAttributes.pipe(AttributeRecord);

/** A message in a produce request. `data` is any JSON value; it is stored as the text that it came as. */
export const NewMessageSchema = z
  .strictObject({
    type: ShortText.nullish(),
    key: ShortText.nullish(),
    data: z.unknown().optional(),
    dataBase64: z.string().refine(isBase64, { message: "expected base64 with padding", params: IS_PAYLOAD }).optional(),
    datacontenttype: z
      .string()
      .max(256)
      .regex(/^[!-~]+\/[ -~]+$/, "expected a media type such as text/plain")
      .nullish(),
    attributes: Attributes.nullish(),
  })
  // Not superRefine(): the closure that it hangs on every value makes V8 keep the values for long.
  .check(({ value: message, issues }) => {
    const has = (member: string) => Object.hasOwn(message, member);
    if (has("data") && has("dataBase64")) {
      const path = ["dataBase64"];
      issues.push({ code: "custom", path, message: "expected either data or dataBase64", input: message.dataBase64 });
    }
    const { data, datacontenttype } = message;
    if (has("data") && datacontenttype && !isJsonType(datacontenttype) && !Text.safeParse(data).success) {
      issues.push({
        code: "custom",
        path: ["data"],
        message: "expected a string of well-formed Unicode, since datacontenttype is not JSON",
        params: IS_PAYLOAD,
        input: data,
      });
    }
  })
  .openapi("NewMessage");

type ParsedMessage = z.output<typeof NewMessageSchema>;

const ProduceSchema = z.strictObject({ messages: z.array(NewMessageSchema).min(1).max(MOST_MESSAGES) });

/** Reads messages to produce from JSON or NDJSON. The text is parsed once, and each `data` cut out of it. */
export const produceBody: BodyReader<readonly NewMessage[]> = {
  content: {
    "application/json": { schema: ProduceSchema },
    "application/x-ndjson": { schema: NewMessageSchema },
  },
  async read(request) {
    const mediaType = mediaTypeOf(request, ["application/json", "application/x-ndjson"]);
    const text = await readText(request);
    return mediaType === "application/json" ? readList(text) : readLines(text);
  },
};

function readList(text: string): Checked<readonly NewMessage[]> {
  const checked = check(ProduceSchema, parseJson(text));
  if ("errors" in checked) return checked;
  const texts = textsInList(text, "messages", "data");
  return { value: checked.value.messages.map((message, i) => toMessage(message, texts[i])) };
}

function readLines(text: string): Checked<readonly NewMessage[]> {
  const lines = linesOf(text)
    .take(MOST_MESSAGES + 1)
    .toArray();
  if (lines.length < 1 || lines.length > MOST_MESSAGES) {
    const got = lines.length < 1 ? "none" : "more";
    return { errors: [{ path: "", message: `expected 1 to ${MOST_MESSAGES} lines, got ${got}` }] };
  }
  const errors: InvalidMember[] = [];
  const messages = lines.flatMap(({ line, number }, i) => {
    const checked = check(NewMessageSchema, parseJson(line, `line ${number} of the body`), `messages[${i}]`);
    if ("value" in checked) return [toMessage(checked.value, memberText(line, "data"))];
    for (const error of checked.errors) errors.push(error); // may be more than a call takes arguments
    return [];
  });
  return errors.length > 0 ? { errors } : { value: messages };
}

/** The lines that are not blank, one by one: a body of 8 MiB may have as many lines. */
function* linesOf(text: string): Generator<{ line: string; number: number }> {
  for (let start = 0, number = 1; start < text.length; number++) {
    const next = text.indexOf("\n", start);
    const end = next === -1 ? text.length : next;
    const line = text.slice(start, end);
    if (line.trim() !== "") yield { line, number };
    start = end + 1;
  }
}

function toMessage(message: ParsedMessage, dataText: string | undefined): NewMessage {
  const { type, key, attributes, datacontenttype, data, dataBase64 } = message;
  const common = { type: type ?? undefined, key: key ?? undefined, attributes: attributes ?? undefined };
  if (dataBase64 !== undefined) {
    return { ...common, datacontenttype: datacontenttype ?? undefined, data: dataBase64, isBase64: true };
  }
  // JSON is what data is when nothing is said: not worth a field in every entry.
  const stated = datacontenttype && !/^application\/json\s*(;|$)/i.test(datacontenttype) ? datacontenttype : undefined;
  if (stated === undefined || isJsonType(stated)) return { ...common, datacontenttype: stated, data: dataText };
  if (data !== undefined && typeof data !== "string") throw new WeirError("internal-error", "data is not a string");
  return { ...common, datacontenttype: stated, data };
}

/** A message in an answer. */
export const MessageSchema = z
  .object({
    id: z.string(),
    type: z.string().nullable(),
    data: z
      .unknown()
      .optional()
      .openapi({ description: "The JSON value, or a string where `datacontenttype` is not JSON" }),
    dataBase64: z.string().optional().openapi({ description: "Binary content" }),
    datacontenttype: z.string().optional(),
    attributes: z.record(z.string(), z.string()),
    attributesBase64: z
      .record(z.string(), z.string())
      .optional()
      .openapi({ description: "Fields that another client wrote and that are not UTF-8" }),
    key: z.string().nullable(),
    producedAt: z.int(),
  })
  .openapi("Message");

/** A message that was handed out. */
export const DeliverySchema = MessageSchema.extend({
  deliveries: z.int().openapi({ description: "How often it was handed out, this time included" }),
  lease: z.string(),
}).openapi("Delivery");
