import * as z from "zod";
import { type InvalidMember, WeirError } from "../../shared/errors.ts";
import { isJsonType, type NewMessage, type Schedule } from "../../shared/message.ts";
import { type JsonPlace, mediaTypeOf, parseJson, readText, tooDeepIn } from "./body.ts";
import { type BodyReader, inWords } from "./endpoint.ts";
import { MAX_LEVELS, memberText, TooDeep, textsInList } from "./json-text.ts";
import { newMessageSchema } from "./message-schemas.ts";
import { once } from "./once.ts";
import { type Checked, check, checkBody, MAX_FAULTS_TOLD } from "./validate.ts";

const MAX_MESSAGES = 1_000;
/** Below what Upstash takes in one request: 10 MB. */
const MAX_BYTES = 8 * 1024 * 1024;
/**
 * Arrays, objects and members: so many take JSON.parse up to 60 MB (measured in Node), and an isolate has 128. Ordinary
 * JSON of 8 MiB has fewer: one in 16 bytes.
 */
const MAX_PARTS = 500_000;

type ParsedMessage = z.output<ReturnType<typeof newMessageSchema>>;

const produceSchema = once(() => z.strictObject({ messages: z.array(newMessageSchema()).min(1).max(MAX_MESSAGES) }));

/** Reads messages to produce from JSON or NDJSON. The text is parsed once, and each `data` cut out of it. */
export const produceBody: BodyReader<readonly NewMessage[]> = {
  content: {
    "application/json": { schema: produceSchema() },
    "application/x-ndjson": { schema: newMessageSchema() },
  },
  limits:
    `At most ${inWords(MAX_BYTES)}, and ${MAX_PARTS} arrays, objects and members in all. ` +
    `\`data\` has at most ${MAX_LEVELS} levels of arrays and objects.`,
  async read(request) {
    const mediaType = mediaTypeOf(request, ["application/json", "application/x-ndjson"]);
    const text = await readText(request, MAX_BYTES);
    return mediaType === "application/json" ? readList(text) : readLines(text);
  },
};

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

/** @throws {WeirError} `invalid-request` when a payload is nested too deeply: the scanner meets it in what it cuts out */
function cutOut<Texts>(json: string, place: JsonPlace, cut: () => Texts): Texts {
  try {
    return cut();
  } catch (error) {
    if (error instanceof TooDeep) throw tooDeepIn(json, place);
    throw error;
  }
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

function toMessage(message: ParsedMessage, dataText: string | undefined): NewMessage {
  const { type, key, attributes, datacontenttype, data, dataBase64 } = message;
  const schedule = scheduleOf(message);
  const common = { type: type ?? undefined, key: key ?? undefined, attributes: attributes ?? undefined, schedule };
  if (dataBase64 !== undefined) {
    return { ...common, datacontenttype: datacontenttype ?? undefined, data: dataBase64, isBase64: true };
  }
  // Absent means JSON: that is not worth a field in every entry.
  const stated = datacontenttype && !/^application\/json\s*(;|$)/i.test(datacontenttype) ? datacontenttype : undefined;
  if (stated === undefined || isJsonType(stated)) return { ...common, datacontenttype: stated, data: dataText };
  if (data !== undefined && typeof data !== "string") throw new WeirError("internal-error", "data is not a string");
  return { ...common, datacontenttype: stated, data };
}

function scheduleOf({ delayMs, deliverAt }: ParsedMessage): Schedule | undefined {
  if (deliverAt !== undefined) return { deliverAtMs: deliverAt };
  return delayMs === undefined ? undefined : { delayMs };
}
