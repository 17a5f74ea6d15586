import { Buffer } from "node:buffer";
import { type Reply, UnexpectedReply } from "./redis/connection.ts";

/** The one place that knows how a message is stored in a Redis entry, and how an answer shows it. */

/** A message to be produced, checked by the caller. */
export interface NewMessage {
  readonly type?: string | undefined;
  readonly key?: string | undefined;
  readonly attributes?: Readonly<Record<string, string>> | undefined;
  readonly datacontenttype?: string | undefined;
  /** The payload: JSON text as it arrived, or the text itself where `datacontenttype` is not JSON, or base64. */
  readonly data?: string | undefined;
  readonly isBase64?: boolean;
  /** Of the attributes of a CloudEvent those that were a number or a boolean, without the `ce-` of the field. */
  readonly ceScalars?: readonly string[];
  /** Appended when it is due, not at once. */
  readonly schedule?: Schedule | undefined;
}

/** When a message is to be appended. */
export type Schedule = { readonly delayMs: number } | { readonly deliverAtMs: number };

/** Entry fields with a meaning of their own; every other field is an attribute. */
export const RESERVED_FIELDS: readonly string[] = ["type", "key", "data", "datacontenttype"];
/** Weir's own fields start so; no attribute's name does. */
export const METADATA_PREFIX = "weir-";
const ENCODING_FIELD = "weir-encoding";
/** Names with commas between: see {@link NewMessage.ceScalars}. */
const CE_SCALARS_FIELD = "weir-ce-scalars";

/** What `datacontenttype` may be: a type, a slash and the rest, in visible ASCII; up to 256 characters. */
export const MEDIA_TYPE = /^[!-.0-~]+\/[ -~]+$/;
export const MAX_MEDIA_TYPE_CHARACTERS = 256;
/** Of bytes that say nothing else. */
export const BINARY_TYPE = "application/octet-stream";

/** @returns the entry's fields and values, flat as XADD takes them; never empty, since XADD refuses that */
export function encodeMessage(message: NewMessage): string[] {
  const fields: string[] = [];
  if (message.type !== undefined) fields.push("type", message.type);
  if (message.key !== undefined) fields.push("key", message.key);
  if (message.datacontenttype !== undefined) fields.push("datacontenttype", message.datacontenttype);
  for (const [name, value] of Object.entries(message.attributes ?? {})) fields.push(name, value);
  if (message.data !== undefined) fields.push("data", message.data);
  if (message.isBase64 === true) fields.push(ENCODING_FIELD, "base64");
  const { ceScalars = [] } = message;
  if (ceScalars.length > 0) fields.push(CE_SCALARS_FIELD, ceScalars.join(","));
  // A message with nothing in it is allowed, an entry is not.
  if (fields.length === 0) fields.push(ENCODING_FIELD, "none");
  return fields;
}

/**
 * Messages as the script appends them. Each argument of a command costs time, and so does cutting up text in Lua: short
 * texts go together as one argument, long ones each as their own.
 */
export interface EncodedMessages {
  /** For each message the byte lengths of its names and values, in turn; -1: the next of the long ones. */
  readonly lengths: readonly (readonly number[])[];
  /** The short names and values of all messages, one after the other. */
  readonly short: string;
  readonly long: readonly string[];
  /** For each message the size that `maxMessageBytes` limits: its names and values in UTF-8. */
  readonly sizes: readonly number[];
}

/** From this length on an argument of its own is cheaper (measured). */
const LONG_CHARACTERS = 1_024;

export function encodeMessages(messages: readonly NewMessage[]): EncodedMessages {
  const sizes: number[] = [];
  const short: string[] = [];
  const long: string[] = [];
  const lengths = messages.map((message) => {
    let size = 0;
    const lengthsOfMessage = encodeMessage(message).map((text) => {
      const bytes = Buffer.byteLength(text);
      size += bytes;
      if (text.length < LONG_CHARACTERS) {
        short.push(text);
        return bytes;
      }
      long.push(text);
      return -1;
    });
    sizes.push(size);
    return lengthsOfMessage;
  });
  return { lengths, short: short.join(""), long, sizes };
}

/** Whether content of that media type is JSON: `application/json`, `text/json` or anything `+json`. */
export function isJsonType(mediaType: string): boolean {
  // No pattern open at both ends: another client may have stored a megabyte here.
  const [essence = ""] = mediaType.split(";", 1);
  const type = essence.trim().toLowerCase();
  return type === "application/json" || type === "text/json" || /^[^\s/]+\/[^\s/]+\+json$/.test(type);
}

/** An entry of a Redis stream. */
export interface Entry {
  readonly id: string;
  /** Names and values in turn, as Redis has them: another client may have repeated a name. */
  readonly fields: readonly Reply[];
}

/** Decodes one `[id, [field, value, ...]]` of XRANGE, XREADGROUP or XCLAIM. */
export function decodeEntry(reply: Reply): Entry {
  const [id, fields] = Array.isArray(reply) ? reply : [];
  if (typeof id !== "string" || !Array.isArray(fields))
    throw new UnexpectedReply("Redis answered something else than an entry");
  return { id, fields };
}

/** Bytes where it is not UTF-8. */
export type Value = string | Uint8Array;

/** An entry's fields by name; a repeated one has its last value. */
export function fieldMap(fields: Entry["fields"]): ReadonlyMap<string, Value> {
  const map = new Map<string, Value>();
  for (let i = 0; i + 1 < fields.length; i += 2) map.set(nameAt(fields, i), valueAt(fields, i + 1));
  return map;
}

function nameAt(fields: Entry["fields"], i: number): string {
  const name = fields[i];
  // A name that is not UTF-8 cannot be a JSON member; U+FFFD marks what is not text.
  return typeof name === "string" ? name : name instanceof Uint8Array ? Buffer.from(name).toString() : String(name);
}

function valueAt(fields: Entry["fields"], i: number): Value {
  const value = fields[i];
  if (typeof value === "string" || value instanceof Uint8Array) return value;
  throw new UnexpectedReply("an entry's value is no text");
}

/** An entry's fields by what they mean. */
export interface Content {
  type: Value | undefined;
  key: Value | undefined;
  data: Value | undefined;
  datacontenttype: Value | undefined;
  encoding: Value | undefined;
  ceScalars: Value | undefined;
  attributes: Map<string, Value> | undefined;
}

/** One pass and few objects: this is done for every message that is handed out. */
export function contentOf(fields: Entry["fields"]): Content {
  const content: Content = {
    type: undefined,
    key: undefined,
    data: undefined,
    datacontenttype: undefined,
    encoding: undefined,
    ceScalars: undefined,
    attributes: undefined,
  };
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = nameAt(fields, i);
    const value = valueAt(fields, i + 1);
    // Not content[name]: V8 must intern a name that was read from Redis before it can index with it.
    if (name === "data") content.data = value;
    else if (name === "type") content.type = value;
    else if (name === "key") content.key = value;
    else if (name === "datacontenttype") content.datacontenttype = value;
    else if (name === ENCODING_FIELD) content.encoding = value;
    else if (name === CE_SCALARS_FIELD) content.ceScalars = value;
    else if (!name.startsWith(METADATA_PREFIX)) {
      content.attributes ??= new Map();
      content.attributes.set(name, value);
    }
  }
  return content;
}

/** What a delivery adds to a message. */
export interface DeliveryPart {
  readonly deliveries: number;
  /** As the lease format writes it: there is nothing in it to be escaped. */
  readonly lease: string;
}

/**
 * Writes a message as JSON text, with its `data` as the very text that was stored.
 * @param id the message's id, which for a dead letter is not the id of the entry it lies in
 */
export function messageJson(id: string, fields: Entry["fields"], delivery?: DeliveryPart): string {
  const content = contentOf(fields);
  const delivered = delivery === undefined ? "" : `,"deliveries":${delivery.deliveries},"lease":"${delivery.lease}"`;
  // The id's first half is the moment at which Redis took the message.
  const producedAt = id.slice(0, id.indexOf("-"));
  return `{"id":"${id}",${contentMembers(content)},"producedAt":${producedAt}${delivered}}`;
}

/** The members of a message that has no id yet, as JSON text without braces. */
export function contentJson(fields: Entry["fields"]): string {
  return contentMembers(contentOf(fields));
}

function contentMembers(content: Content): string {
  const before = `"type":${jsonTextOrNull(content.type)}${dataMembers(content)}`;
  return `${before},${attributeMembers(content)},"key":${jsonTextOrNull(content.key)}`;
}

function attributeMembers(content: Content): string {
  const { attributes, type, key, datacontenttype } = content;
  // The usual message: nothing to be collected.
  if (attributes === undefined && !isBytes(type) && !isBytes(key) && !isBytes(datacontenttype))
    return `"attributes":{}`;
  const text: string[] = [];
  const binary: string[] = [];
  for (const [name, value] of attributes ?? []) {
    if (isBytes(value)) binary.push(`${JSON.stringify(name)}:"${base64(value)}"`);
    else text.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
  }
  for (const [name, value] of Object.entries({ type, key, datacontenttype })) {
    if (isBytes(value)) binary.push(`"${name}":"${base64(value)}"`);
  }
  // Only another client can have stored values that are not UTF-8: handed on in full, beside the text.
  return `"attributes":{${text.join(",")}}${binary.length === 0 ? "" : `,"attributesBase64":{${binary.join(",")}}`}`;
}

function isBytes(value: Value | undefined): value is Uint8Array {
  return typeof value === "object";
}

/**
 * The members that are the payload, each with a comma before it.
 * @param bytesMember what base64 is called
 */
export function dataMembers({ data, datacontenttype, encoding }: Content, bytesMember = "dataBase64"): string {
  const stated = typeof datacontenttype === "string" ? datacontenttype : undefined;
  const typeMember = stated === undefined ? "" : `,"datacontenttype":${JSON.stringify(stated)}`;
  if (data === undefined) return typeMember;
  if (isBytes(data)) {
    return `${typeMember || `,"datacontenttype":"${BINARY_TYPE}"`},"${bytesMember}":"${base64(data)}"`;
  }
  if (encoding === "base64" && isBase64(data)) return `${typeMember},"${bytesMember}":"${data}"`;
  if (stated !== undefined && !isJsonType(stated)) return `${typeMember},"data":${JSON.stringify(data)}`;
  // Weir stores only JSON here; another client may have stored anything, and its text must not break the answer.
  if (isJson(data)) return `${typeMember},"data":${data}`;
  return `,"datacontenttype":"text/plain","data":${JSON.stringify(data)}`;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Whether the text is base64 with its padding (RFC 4648, section 4). */
export function isBase64(text: string): boolean {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

function jsonTextOrNull(value: Value | undefined): string {
  return typeof value === "string" ? JSON.stringify(value) : "null";
}
