import { CE_PREFIX } from "../../shared/cloud-event-attributes.ts";
import type { InvalidMember } from "../../shared/errors.ts";
import type { NewMessage } from "../../shared/message.ts";
import { parseJson } from "./body.ts";
import { checkEvent, eventMessage } from "./cloud-event-schema.ts";
import { memberText, textsInArray } from "./json-text.ts";
import { cutOut, MAX_MESSAGES, MAX_PARTS } from "./new-message.ts";
import { rawData } from "./raw-data.ts";
import { type Checked, MAX_FAULTS_TOLD, memberPath } from "./validate.ts";

/** CloudEvents 1.0.2 in its HTTP binding: one event as JSON, a batch of them, one in headers and body. */

export const EVENT_TYPE = "application/cloudevents+json";
export const BATCH_TYPE = "application/cloudevents-batch+json";

/** Reads a body in structured mode. */
export function readEvent(text: string): Checked<readonly NewMessage[]> {
  const place = { levelsAround: 1, maxParts: MAX_PARTS };
  const checked = checkEvent(parseJson(text, place));
  if ("errors" in checked) return checked;
  const dataText = cutOut(text, place, () => memberText(text, "data"));
  return { value: [eventMessage(checked.value, dataText)] };
}

/** Reads a body in batched mode. */
export function readEventBatch(text: string): Checked<readonly NewMessage[]> {
  const place = { path: "messages", levelsAround: 2, maxParts: MAX_PARTS };
  const events = parseJson(text, place);
  if (!Array.isArray(events) || events.length < 1 || events.length > MAX_MESSAGES) {
    const got = Array.isArray(events) ? events.length : "something else";
    return { errors: [{ path: "messages", message: `expected a list of 1 to ${MAX_MESSAGES} events, got ${got}` }] };
  }
  const texts = cutOut(text, place, () => textsInArray(text, "data"));
  const errors: InvalidMember[] = [];
  const messages = events.flatMap((event: unknown, i) => {
    const checked = checkEvent(event, memberPath("messages", i));
    if ("value" in checked) return [eventMessage(checked.value, texts[i])];
    errors.push(...checked.errors.slice(0, MAX_FAULTS_TOLD - errors.length));
    return [];
  });
  return errors.length > 0 ? { errors } : { value: messages };
}

/** Attributes that every event has: any of these headers makes a request one in binary mode. */
const NEEDED = ["specversion", "id", "source", "type"];

export function isBinaryMode({ headers }: Request): boolean {
  return NEEDED.some((name) => headers.has(CE_PREFIX + name));
}

/** Reads a request in binary mode: its body is the payload, bytes exact. */
export function readBinaryEvent({ headers }: Request, bytes: Uint8Array): Checked<readonly NewMessage[]> {
  const errors: InvalidMember[] = [];
  const attributes = new Map<string, string>();
  for (const [header, value] of headers) {
    if (!header.startsWith(CE_PREFIX)) continue;
    const name = header.slice(CE_PREFIX.length);
    const text = decodeHeader(value);
    if (["data", "data_base64", "datacontenttype"].includes(name)) {
      errors.push({ path: header, message: "there is no such attribute: the body is the data, of its Content-Type" });
    } else if (text === undefined) {
      errors.push({ path: header, message: "expected percent-encoded UTF-8" });
    } else attributes.set(name, text);
  }
  if (errors.length > 0) return { errors };
  const checked = checkEvent(Object.fromEntries(attributes));
  if ("errors" in checked) {
    return { errors: checked.errors.map(({ path, message }) => ({ path: CE_PREFIX + path, message })) };
  }
  return { value: [{ ...eventMessage(checked.value, undefined), ...payloadOf(headers, bytes) }] };
}

function payloadOf(headers: Headers, bytes: Uint8Array): Partial<NewMessage> {
  const { payload } = rawData(bytes, headers.get("content-type"), MAX_PARTS);
  // No body is no data. Clients state a type for it all the same.
  return bytes.byteLength === 0 ? {} : payload;
}

/** Undoes quotes, then percent-encoding, once (HTTP binding, section 3.1.3.2). A `%` alone stands for itself. */
function decodeHeader(value: string): string | undefined {
  const quoted = /^"(.*)"$/.exec(value)?.[1];
  const text = quoted === undefined ? value : quoted.replaceAll(/\\(.)/g, "$1");
  if (!/^[ -~]*$/.test(text)) return undefined;
  try {
    return decodeURIComponent(text.replaceAll(/%(?![0-9A-Fa-f]{2})/g, "%25"));
  } catch {
    // What is encoded is not UTF-8.
    return undefined;
  }
}
