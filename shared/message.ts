import { Buffer } from "node:buffer";
import { timeOfId } from "./ids.ts";
import type { Reply } from "./redis/connection.ts";

/** The one place that knows how a message lies in a Redis entry, and how it looks in an answer. */

/** A message to be produced, checked by the caller. */
export interface NewMessage {
  readonly type?: string | undefined;
  readonly key?: string | undefined;
  readonly attributes?: Readonly<Record<string, string>> | undefined;
  readonly datacontenttype?: string | undefined;
  /** The payload: JSON text as it arrived, or the text itself where `datacontenttype` is not JSON, or base64. */
  readonly data?: string | undefined;
  readonly isBase64?: boolean;
}

/** Entry fields with a meaning of their own; every other field is an attribute. */
export const RESERVED_FIELDS: readonly string[] = ["type", "key", "data", "datacontenttype"];
/** Fields of Weir's own; no attribute's name starts so. */
export const METADATA_PREFIX = "weir-";
const ENCODING_FIELD = "weir-encoding";

/** @returns the entry's fields and values, flat as XADD takes them; never empty, since XADD refuses that */
export function encodeMessage(message: NewMessage): string[] {
  const fields: string[] = [];
  if (message.type !== undefined) fields.push("type", message.type);
  if (message.key !== undefined) fields.push("key", message.key);
  if (message.datacontenttype !== undefined) fields.push("datacontenttype", message.datacontenttype);
  for (const [name, value] of Object.entries(message.attributes ?? {})) fields.push(name, value);
  if (message.data !== undefined) fields.push("data", message.data);
  if (message.isBase64 === true) fields.push(ENCODING_FIELD, "base64");
  // A message with nothing in it is allowed, an entry is not.
  if (fields.length === 0) fields.push(ENCODING_FIELD, "none");
  return fields;
}

/** @returns the size that `maxMessageBytes` limits: names and values in UTF-8 */
export function messageBytes(fields: readonly string[]): number {
  return fields.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
}

/** Whether content of that media type is JSON: `application/json`, `text/json` or anything `+json`. */
export function isJsonType(mediaType: string): boolean {
  // No pattern with two open ends: another client may have stored a megabyte here.
  const [essence = ""] = mediaType.split(";", 1);
  const type = essence.trim().toLowerCase();
  return type === "application/json" || type === "text/json" || /^[^\s/]+\/[^\s/]+\+json$/.test(type);
}

/** An entry of a Redis stream; a field that another client repeated has its last value. */
export interface Entry {
  readonly id: string;
  readonly fields: ReadonlyMap<string, string | Uint8Array>;
}

/** Decodes one `[id, [field, value, ...]]` of XRANGE, XREADGROUP or XCLAIM. */
export function decodeEntry(reply: Reply): Entry {
  const [id, flat] = Array.isArray(reply) ? reply : [];
  if (typeof id !== "string" || !Array.isArray(flat))
    throw new TypeError("Redis answered something else than an entry");
  return { id, fields: decodeFields(flat) };
}

/** Decodes a flat list of fields and values. */
export function decodeFields(flat: readonly Reply[]): Map<string, string | Uint8Array> {
  const fields = new Map<string, string | Uint8Array>();
  for (let i = 0; i + 1 < flat.length; i += 2) {
    const [name, value] = [flat[i], flat[i + 1]];
    if (typeof value !== "string" && !(value instanceof Uint8Array)) throw new TypeError("an entry's value is no text");
    // A name that is not UTF-8 cannot be a JSON member; U+FFFD marks what is not text.
    fields.set(name instanceof Uint8Array ? Buffer.from(name).toString() : String(name), value);
  }
  return fields;
}

/** What a delivery adds to a message. */
export interface DeliveryPart {
  readonly deliveries: number;
  readonly lease: string;
}

/**
 * Writes a message as JSON text, with its `data` as the very text that was stored.
 * @param id the message's id, which for a dead letter is not the id of the entry it lies in
 */
export function messageJson(id: string, fields: Entry["fields"], delivery?: DeliveryPart): string {
  const members = [`"id":"${id}"`, `"type":${jsonTextOrNull(fields.get("type"))}`, ...dataMembers(fields)];
  const binary: string[] = [];
  const attributes: string[] = [];
  for (const [name, value] of fields) {
    if (name.startsWith(METADATA_PREFIX) || name === "data") continue;
    if (value instanceof Uint8Array) binary.push(`${JSON.stringify(name)}:"${base64(value)}"`);
    else if (!RESERVED_FIELDS.includes(name)) attributes.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
  }
  members.push(`"attributes":{${attributes.join(",")}}`);
  // Only another client can have stored values that are not UTF-8: handed on in full, beside the text.
  if (binary.length > 0) members.push(`"attributesBase64":{${binary.join(",")}}`);
  members.push(`"key":${jsonTextOrNull(fields.get("key"))}`, `"producedAt":${timeOfId(id)}`);
  if (delivery !== undefined) {
    members.push(`"deliveries":${delivery.deliveries}`, `"lease":${JSON.stringify(delivery.lease)}`);
  }
  return `{${members.join(",")}}`;
}

function dataMembers(fields: Entry["fields"]): string[] {
  const data = fields.get("data");
  const stated = fields.get("datacontenttype");
  const contentType = typeof stated === "string" ? stated : undefined;
  const typeMember = (fallback?: string) => {
    const type = contentType ?? fallback;
    return type === undefined ? [] : [`"datacontenttype":${JSON.stringify(type)}`];
  };
  if (data === undefined) return typeMember();
  if (data instanceof Uint8Array) return [...typeMember("application/octet-stream"), `"dataBase64":"${base64(data)}"`];
  if (fields.get(ENCODING_FIELD) === "base64" && isBase64(data)) return [...typeMember(), `"dataBase64":"${data}"`];
  if (contentType !== undefined && !isJsonType(contentType)) return [...typeMember(), `"data":${JSON.stringify(data)}`];
  // Weir stores only JSON here; another client may have stored anything, and its text must not break the answer.
  if (isJson(data)) return [...typeMember(), `"data":${data}`];
  return [`"datacontenttype":"text/plain"`, `"data":${JSON.stringify(data)}`];
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

function jsonTextOrNull(value: string | Uint8Array | undefined): string {
  return typeof value === "string" ? JSON.stringify(value) : "null";
}
