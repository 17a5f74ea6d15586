import { CE_PREFIX, EVENT_NAME, isEventText, isTimestamp, isUri, isUriReference } from "./cloud-event-attributes.ts";
import {
  BINARY_TYPE,
  type Content,
  contentOf,
  dataMembers,
  type Entry,
  MAX_MEDIA_TYPE_CHARACTERS,
  MEDIA_TYPE,
} from "./message.ts";

/** Extension in which each event carries the message's id. */
const ID_EXTENSION = "weirid";
/** `type` of an event whose message has none that an event can have. */
const NO_TYPE = "weir.message";
/** What CloudEvents gives a meaning: no extension is called so. */
const OWN_NAMES: ReadonlySet<string> = new Set([
  ...["specversion", "id", "source", "type", "subject", "time", "dataschema", "datacontenttype", "data"],
  ID_EXTENSION,
]);
/** The last moment whose year has four digits, as timestamps need. */
const LATEST_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

/**
 * Writes a message as a CloudEvent in its JSON format, with its `data` as the very text that was stored. Whatever lies in
 * Redis, the event is valid: what a CloudEvent cannot hold is left out.
 * @param source of an event whose message did not come as one: the stream's
 */
export function cloudEventJson(id: string, fields: Entry["fields"], source: string): string {
  const content = contentOf(fields);
  const came = attributesThatCame(content);
  const isOwnEvent = came.get("specversion") === "1.0" && came.has("id") && came.has("source");
  const members = [
    text("specversion", "1.0"),
    text("id", isOwnEvent ? (came.get("id") ?? "") : id),
    text("source", isOwnEvent ? (came.get("source") ?? "") : source),
    text("type", asEventText(content.type) || NO_TYPE),
    ...(isOwnEvent ? optionalMembers(came) : timeMember(id)),
    ...extensionMembers(content, isOwnEvent ? came : new Map()),
    text(ID_EXTENSION, id),
  ];
  return `{${members.join(",")}${payloadMembers(content)}}`;
}

function text(name: string, value: string): string {
  return `"${name}":${JSON.stringify(value)}`;
}

/** @returns empty for what no event can have */
function asEventText(value: unknown): string {
  return typeof value === "string" && isEventText(value) ? value : "";
}

/** Whether an attribute may have that value; those that are not here may have any. */
const RULES: Readonly<Record<string, (value: string) => boolean>> = {
  id: (value) => value !== "",
  source: isUriReference,
  subject: (value) => value !== "",
  time: isTimestamp,
  dataschema: isUri,
};

/** What was kept of a CloudEvent's attributes, or what another client made look so: only what is valid. */
function attributesThatCame({ attributes }: Content): ReadonlyMap<string, string> {
  const came = new Map<string, string>();
  for (const [field, value] of attributes ?? []) {
    const name = field.slice(CE_PREFIX.length);
    if (!field.startsWith(CE_PREFIX) || !EVENT_NAME.test(name) || typeof value !== "string") continue;
    const fits = Object.hasOwn(RULES, name) ? RULES[name] : undefined;
    if (isEventText(value) && (fits === undefined || fits(value))) came.set(name, value);
  }
  return came;
}

function optionalMembers(came: ReadonlyMap<string, string>): string[] {
  return ["subject", "time", "dataschema"].flatMap((name) => {
    const value = came.get(name);
    return value === undefined ? [] : [text(name, value)];
  });
}

/** When the message was produced. Another client may have given it an id of any time. */
function timeMember(id: string): string[] {
  const ms = Number(id.slice(0, id.indexOf("-")));
  return ms <= LATEST_MS ? [text("time", new Date(ms).toISOString())] : [];
}

function extensionMembers({ attributes, key, ceScalars }: Content, came: ReadonlyMap<string, string>): string[] {
  const extensions = new Map<string, string>();
  for (const [name, value] of attributes ?? []) {
    if (EVENT_NAME.test(name) && typeof value === "string" && isEventText(value)) {
      extensions.set(name, JSON.stringify(value));
    }
  }
  const partitionKey = asEventText(key);
  if (partitionKey !== "") extensions.set("partitionkey", JSON.stringify(partitionKey));
  const scalars = new Set(typeof ceScalars === "string" ? ceScalars.split(",") : []);
  for (const [name, value] of came) {
    extensions.set(name, scalars.has(name) && isScalar(value) ? value : JSON.stringify(value));
  }
  return [...extensions].flatMap(([name, json]) => (OWN_NAMES.has(name) ? [] : [`"${name}":${json}`]));
}

/** Whether it is a boolean or a whole number of 32 bits, as JSON and CloudEvents both write it. */
function isScalar(value: string): boolean {
  return value === "true" || value === "false" || String(Number(value) | 0) === value;
}

function payloadMembers(content: Content): string {
  const members = dataMembers({ ...content, datacontenttype: mediaTypeOf(content) }, "data_base64");
  return members.startsWith(`,"data":`) ? `,"datacontenttype":"application/json"${members}` : members;
}

/** Another client may have stated anything. */
function mediaTypeOf({ datacontenttype: stated, data, encoding }: Content): Content["datacontenttype"] {
  if (typeof stated !== "string" || (stated.length <= MAX_MEDIA_TYPE_CHARACTERS && MEDIA_TYPE.test(stated))) {
    return stated;
  }
  if (data === undefined) return undefined;
  return encoding === "base64" ? BINARY_TYPE : "text/plain";
}
