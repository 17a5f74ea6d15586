import { Buffer } from "node:buffer";
import {
  BINARY_TYPE,
  isJsonType,
  MAX_MEDIA_TYPE_CHARACTERS,
  MEDIA_TYPE,
  type NewMessage,
} from "../../shared/message.ts";
import { findExcess, MAX_LEVELS } from "./json-text.ts";

/** A body as a message's payload, its bytes kept. */
export interface RawData {
  readonly payload: Pick<NewMessage, "data" | "datacontenttype" | "isBase64">;
  /** What it says, where it is JSON; undefined otherwise. */
  readonly json?: unknown;
}

const TEXT_TYPES = /^(?:text\/.+|application\/(?:xml|x-www-form-urlencoded|javascript|yaml|.+\+xml))$/;

/**
 * Makes a payload of a body that may be anything. JSON and text are kept as the text that they are, whatever else as
 * base64: what is stored can always be turned into the very bytes again. It never refuses: JSON that is none, or that is
 * nested too deeply to be handed on as JSON, is kept as bytes.
 * @param contentType the request's Content-Type header
 * @param maxParts how many arrays, objects and members JSON may hold to be parsed
 */
export function rawData(bytes: Uint8Array, contentType: string | null, maxParts: number): RawData {
  const stated = statedType(contentType);
  if (bytes.byteLength === 0) return { payload: { datacontenttype: stated, data: "", isBase64: true } };
  const text = stated !== undefined && isUtf8(stated) ? utf8Text(bytes) : undefined;
  if (text !== undefined && stated !== undefined) {
    if (isJsonType(stated)) {
      const json = parsePlain(text, maxParts);
      if (json !== undefined) return { payload: { datacontenttype: typeWorthKeeping(stated), data: text }, json };
    } else if (isTextType(stated)) {
      return { payload: { datacontenttype: stated, data: text } };
    }
  }
  return {
    payload: { datacontenttype: stated ?? BINARY_TYPE, data: Buffer.from(bytes).toString("base64"), isBase64: true },
  };
}

/** @returns the header as a message may keep it; undefined when there is none or none that it may */
export function statedType(contentType: string | null): string | undefined {
  const type = contentType?.trim();
  return type !== undefined && type.length <= MAX_MEDIA_TYPE_CHARACTERS && MEDIA_TYPE.test(type) ? type : undefined;
}

/** Absent means JSON: that is not worth a field in every entry. */
function typeWorthKeeping(stated: string): string | undefined {
  return essenceOf(stated) === "application/json" ? undefined : stated;
}

function essenceOf(type: string): string {
  return (type.split(";", 1)[0] ?? "").trim().toLowerCase();
}

function isUtf8(type: string): boolean {
  const charset = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(type)?.[1];
  return charset === undefined || /^(?:utf-?8|us-ascii)$/i.test(charset);
}

function isTextType(type: string): boolean {
  return TEXT_TYPES.test(essenceOf(type));
}

/** Not the usual decoder's habit of taking a byte order mark away: it may have been signed. */
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @returns the text whose UTF-8 the bytes are; undefined when they are none */
export function utf8Text(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** @returns what the JSON says; undefined when it is none, or nested too deeply or too full */
export function parsePlain(text: string, maxParts: number): unknown {
  if (findExcess(text, { maxLevels: MAX_LEVELS, maxParts, pathLength: 0 }) !== undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
