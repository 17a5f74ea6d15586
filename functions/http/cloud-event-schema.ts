import * as z from "zod";
import {
  CE_PREFIX,
  EVENT_NAME,
  isEventText,
  isTimestamp,
  isUri,
  isUriReference,
  MAX_URI_CHARACTERS,
} from "../../shared/cloud-event-attributes.ts";
import type { NewMessage } from "../../shared/message.ts";
import {
  Base64,
  checkPayload,
  IS_PAYLOAD,
  MAX_ATTRIBUTE_NAME,
  MAX_ATTRIBUTES,
  MediaType,
  ShortText,
} from "./message-schemas.ts";
import { toMessage } from "./new-message.ts";
import { once } from "./once.ts";
import { type Checked, check, memberPath } from "./validate.ts";

/** Members of an event that are not kept as `ce-` attributes. */
const MESSAGE_MEMBERS = ["type", "datacontenttype", "data", "data_base64"];
const MAX_NAME = MAX_ATTRIBUTE_NAME - CE_PREFIX.length;
const MAX_INTEGER = 2 ** 31;

const NOT_EVENT_TEXT = {
  message: "expected text without control characters, halves of surrogate pairs and noncharacters",
  params: IS_PAYLOAD,
};
const EventText = z.string().refine(isEventText, NOT_EVENT_TEXT);
const FullText = z.string().min(1).refine(isEventText, NOT_EVENT_TEXT);

function uri(isOne: (text: string) => boolean, kind: string) {
  const expected = `expected ${kind} of up to ${MAX_URI_CHARACTERS} characters`;
  return z.string().refine(isOne, expected);
}

/** CloudEvents has whole numbers of 32 bits only. */
function isExtension(value: unknown): boolean {
  if (typeof value === "number") return (value | 0) === value;
  return value === null || typeof value === "boolean" || EventText.safeParse(value).success;
}

const extension = once(() =>
  z
    .unknown()
    .refine(isExtension, {
      message: `expected text without control characters, a whole number from -${MAX_INTEGER} to ${MAX_INTEGER - 1}, true or false`,
      params: IS_PAYLOAD,
    })
    .meta({
      shownAs: { type: ["string", "integer", "boolean", "null"], minimum: -MAX_INTEGER, maximum: MAX_INTEGER - 1 },
    }),
);

/** A CloudEvent in its JSON format. `data` is any JSON value; it is stored as the text that it came as. */
export const cloudEventSchema = once(() =>
  z
    .object({
      specversion: z.literal("1.0"),
      id: FullText.meta({ description: "Kept, but no repeat is told by it: that is what an `Idempotency-Key` is for" }),
      source: uri(isUriReference, "a URI or a relative reference").meta({
        description: "A URI-reference",
        example: "/shop",
      }),
      type: ShortText.refine(isEventText, NOT_EVENT_TEXT).meta({ description: "The message's `type`" }),
      subject: FullText.nullish(),
      time: z
        .string()
        .refine(isTimestamp, "expected a time of RFC 3339, such as 2026-01-31T12:00:00Z")
        .nullish()
        .meta({ description: "A time of RFC 3339, such as `2026-01-31T12:00:00Z`" }),
      dataschema: uri(isUri, "a URI with a scheme").nullish().meta({ description: "A URI" }),
      partitionkey: ShortText.refine(isEventText, NOT_EVENT_TEXT)
        .nullish()
        .meta({ description: "Becomes the message's `key` too" }),
      datacontenttype: MediaType,
      data: z
        .unknown()
        .optional()
        .meta({ description: "The payload: any JSON value, kept as the text that it came as" }),
      data_base64: Base64.nullish().meta({ description: "A binary payload, in place of `data`" }),
    })
    .catchall(extension())
    .check(checkPayload("data_base64"))
    .meta({ id: "CloudEvent" }),
);

type ParsedEvent = z.output<ReturnType<typeof cloudEventSchema>>;

/**
 * Checks an event. Its members' names come first: zod copies members, which would lose `__proto__` silently, and
 * collecting the faults of 100,000 members overflows its stack.
 * @param path where the event stands in the request
 */
export function checkEvent(event: unknown, path = ""): Checked<ParsedEvent> {
  const isObject = typeof event === "object" && event !== null && !Array.isArray(event);
  const names = Object.keys(isObject ? event : {}).filter((name) => !MESSAGE_MEMBERS.includes(name));
  if (names.length > MAX_ATTRIBUTES) {
    const message = `expected at most ${MAX_ATTRIBUTES} attributes beside ${MESSAGE_MEMBERS.join(", ")}, got ${names.length}`;
    return { errors: [{ path, message }] };
  }
  const odd = names.filter((name) => name.length > MAX_NAME || !EVENT_NAME.test(name));
  if (odd.length === 0) return check(cloudEventSchema(), event, path);
  const message = `expected a name of up to ${MAX_NAME} of a-z and 0-9`;
  return { errors: odd.map((name) => ({ path: memberPath(path, name), message })) };
}

/**
 * The message that an event is stored as: each of its attributes but `type` and `datacontenttype` under `ce-<name>`.
 * @param dataText the text of `data` in the request
 */
export function eventMessage(event: ParsedEvent, dataText: string | undefined): NewMessage {
  const { type, data, data_base64, datacontenttype, ...context } = event;
  const attributes: Record<string, string> = {};
  const ceScalars: string[] = [];
  for (const [name, value] of Object.entries(context)) {
    if (value === null || value === undefined) continue;
    attributes[CE_PREFIX + name] = String(value);
    if (typeof value !== "string") ceScalars.push(name);
  }
  const payload = { data, datacontenttype, dataBase64: data_base64 ?? undefined };
  return { ...toMessage({ type, key: context.partitionkey, attributes, ...payload }, dataText), ceScalars };
}
