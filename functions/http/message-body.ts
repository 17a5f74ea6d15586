import * as z from "zod";
import type { InvalidMember } from "../../shared/errors.ts";
import type { NewMessage } from "../../shared/message.ts";
import { decodeUtf8, mediaTypeOf, parseJson, readBytes, unsupported } from "./body.ts";
import {
  BATCH_TYPE,
  EVENT_TYPE,
  isBinaryMode,
  readBinaryEvent,
  readEvent,
  readEventBatch,
} from "./cloud-event-body.ts";
import { cloudEventSchema } from "./cloud-event-schema.ts";
import { type BodyReader, inWords } from "./endpoint.ts";
import { MAX_LEVELS, memberText, textsInList } from "./json-text.ts";
import { newMessageSchema } from "./message-schemas.ts";
import { cutOut, MAX_MESSAGES, MAX_PARTS, toMessage } from "./new-message.ts";
import { once } from "./once.ts";
import { rawData, statedType } from "./raw-data.ts";
import { type Checked, check, checkBody, MAX_FAULTS_TOLD } from "./validate.ts";

/** Below what Upstash takes in one request: 10 MB. */
const MAX_BYTES = 8 * 1024 * 1024;

const produceSchema = once(() => z.strictObject({ messages: z.array(newMessageSchema()).min(1).max(MAX_MESSAGES) }));
const batchSchema = once(() => z.array(cloudEventSchema()).min(1).max(MAX_MESSAGES));

/** What a request asks to be produced. */
export interface ToProduce {
  readonly messages: readonly NewMessage[];
  /** Whether the body is the payload of one message and nothing more, so that the rest may be said in the query. */
  readonly isPayload: boolean;
}

/** How messages of the media types that have a form are read from a body's text. */
const FORMS: Readonly<Record<string, (text: string) => Checked<readonly NewMessage[]>>> = {
  "application/json": readList,
  "application/x-ndjson": readLines,
  [EVENT_TYPE]: readEvent,
  [BATCH_TYPE]: readEventBatch,
};

/** Reads messages to produce. JSON text is parsed once, and each `data` cut out of it. */
export const produceBody = {
  content: {
    "application/json": { schema: produceSchema() },
    "application/x-ndjson": { schema: newMessageSchema() },
    [EVENT_TYPE]: { schema: cloudEventSchema() },
    [BATCH_TYPE]: { schema: batchSchema() },
    "*/*": { schema: z.unknown() },
  },
  limits:
    `At most ${inWords(MAX_BYTES)}, and ${MAX_PARTS} arrays, objects and members in all. ` +
    `\`data\` has at most ${MAX_LEVELS} levels of arrays and objects. A body of any other media type is the payload of one message.`,
  async read(request: Request): Promise<Checked<ToProduce>> {
    const kind = kindOf(request);
    const bytes = await readBytes(request, MAX_BYTES);
    const read = FORMS[kind];
    if (read !== undefined) return toProduce(read(decodeUtf8(bytes)));
    if (kind === "binary-mode") return toProduce(readBinaryEvent(request, bytes));
    const { payload } = rawData(bytes, request.headers.get("content-type"), MAX_PARTS);
    return { value: { messages: [payload], isPayload: true } };
  },
} satisfies BodyReader<ToProduce>;

function toProduce(checked: Checked<readonly NewMessage[]>): Checked<ToProduce> {
  return "errors" in checked ? checked : { value: { messages: checked.value, isPayload: false } };
}

/** A type and a subtype (RFC 9110, section 8.3.1), neither of which is a range's `*`. */
const WHOLE_TYPE = /^(?!\*)[!#$%&'*+.^_`|~\w-]+\/(?!\*)[!#$%&'*+.^_`|~\w-]+\s*(?:;|$)/;

/**
 * @returns a media type that has a form, `binary-mode`, or `payload`
 * @throws {HttpError} `unsupported-media-type`
 */
function kindOf(request: Request): string {
  const header = request.headers.get("content-type");
  const [type = ""] = (header ?? "").split(";", 1).map((part) => part.trim().toLowerCase());
  // Another format of events would be taken for a payload.
  if (type.startsWith("application/cloudevents")) return mediaTypeOf(request, [EVENT_TYPE, BATCH_TYPE]);
  const isStated = WHOLE_TYPE.test(statedType(header) ?? "");
  if (isBinaryMode(request) && (header === null || isStated)) return "binary-mode";
  if (Object.hasOwn(FORMS, type)) return mediaTypeOf(request, Object.keys(FORMS));
  if (!isStated) throw unsupported("a media type such as application/json or text/plain", request);
  return "payload";
}

function readList(text: string): Checked<readonly NewMessage[]> {
  // Around each payload: the body, its list, the message.
  const place = { levelsAround: 3, maxParts: MAX_PARTS };
  const checked = checkBody(produceSchema(), parseJson(text, place));
  if ("errors" in checked) return checked;
  const texts = cutOut(text, place, () => textsInList(text, "messages", "data"));
  return { value: checked.value.messages.map((message, i) => toMessage(message, texts[i])) };
}

function readLines(text: string): Checked<readonly NewMessage[]> {
  const lines = linesOf(text)
    .take(MAX_MESSAGES + 1)
    .toArray();
  if (lines.length < 1 || lines.length > MAX_MESSAGES) {
    const got = lines.length < 1 ? "none" : "more";
    return { errors: [{ path: "", message: `expected 1 to ${MAX_MESSAGES} lines, got ${got}` }] };
  }
  const errors: InvalidMember[] = [];
  const messages = lines.flatMap(({ line, number }, i) => {
    const place = { where: `line ${number} of the body`, path: `messages[${i}]`, levelsAround: 1, maxParts: MAX_PARTS };
    const checked = check(newMessageSchema(), parseJson(line, place), place.path);
    if ("value" in checked) {
      const dataText = cutOut(line, place, () => memberText(line, "data"));
      return [toMessage(checked.value, dataText)];
    }
    errors.push(...checked.errors.slice(0, MAX_FAULTS_TOLD - errors.length));
    return [];
  });
  return errors.length > 0 ? { errors } : { value: messages };
}

/** The lines that are not blank, one by one: a body of 8 MiB may hold millions. */
function* linesOf(text: string): Generator<{ line: string; number: number }> {
  for (let start = 0, number = 1; start < text.length; number++) {
    const next = text.indexOf("\n", start);
    const end = next === -1 ? text.length : next;
    const line = text.slice(start, end);
    if (line.trim() !== "") yield { line, number };
    start = end + 1;
  }
}
