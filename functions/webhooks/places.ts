import { memberText } from "../http/json-text.ts";
import { parsePlain, statedType, utf8Text } from "../http/raw-data.ts";
import { atPointer, pointerTokens } from "./pointer.ts";
import type { WebhookRequest } from "./webhook-request.ts";

/** Where in a request a value stands. A `pointer` is a JSON pointer (RFC 6901) into a JSON body. */
export type Place =
  | { readonly header: string }
  | { readonly pointer: string }
  | { readonly query: string }
  | { readonly form: string }
  | BatchPlace
  /** The name of the only member of a JSON object that ends so: X names an event by the member that holds it. */
  | { readonly memberEnding: string };

/** The same value in each item of a list, or none. */
export interface BatchPlace {
  /** A JSON pointer to the list. */
  readonly each: string;
  /** A JSON pointer into an item of it. */
  readonly pointer: string;
}

/** What a body may hold to be parsed, as for produced messages: more is kept as bytes. */
export const MAX_JSON_PARTS = 500_000;

/** Header values that are looked at: what HTTP permits without doubt, and what fits an attribute. */
const HEADER_VALUE = /^[!-~](?:[ -~]*[!-~])?$/;
export const MAX_HEADER_CHARACTERS = 4_096;

/** @returns the header's value; undefined when there is none, or one that is too long or not plain ASCII */
export function headerAt(request: WebhookRequest, name: string): string | undefined {
  const value = request.headers.get(name);
  if (value === null || value.length > MAX_HEADER_CHARACTERS || !HEADER_VALUE.test(value)) return undefined;
  return value;
}

/** @returns the value as text, numbers as they are written; undefined when it is not there, or is neither */
export function textAt(request: WebhookRequest, place: Place): string | undefined {
  if ("header" in place) return headerAt(request, place.header);
  if ("query" in place) return queryOf(request).get(place.query) ?? undefined;
  if ("form" in place) return formOf(request)?.get(place.form) ?? undefined;
  if ("memberEnding" in place) return onlyMemberEnding(jsonOf(request), place.memberEnding);
  if ("each" in place) return sameInEach(request, place);
  const value = atPointer(jsonOf(request), place.pointer);
  return typeof value === "number" && !Number.isSafeInteger(value)
    ? numberText(request, place.pointer)
    : plainText(value);
}

/** Whether a JSON body has a string there. */
export function isTextAt(request: WebhookRequest, pointer: string): boolean {
  return typeof atPointer(jsonOf(request), pointer) === "string";
}

/** @returns the text at the first of the places that has one that is not empty */
export function firstTextAt(request: WebhookRequest, places: readonly Place[]): string | undefined {
  for (const place of places) {
    const text = textAt(request, place);
    if (text !== undefined && text !== "") return text;
  }
  return undefined;
}

/** @returns the items' values, in order; undefined when it is no list, or an item has none */
export function textsInEach(request: WebhookRequest, place: BatchPlace): readonly string[] | undefined {
  const list = atPointer(jsonOf(request), place.each);
  if (!Array.isArray(list)) return undefined;
  const texts = list.map((item) => plainText(atPointer(item, place.pointer))).filter((text) => text !== undefined);
  return texts.length === list.length ? texts : undefined;
}

function sameInEach(request: WebhookRequest, place: BatchPlace): string | undefined {
  const [first, ...others] = textsInEach(request, place) ?? [];
  return others.every((text) => text === first) ? first : undefined;
}

function onlyMemberEnding(json: unknown, ending: string): string | undefined {
  if (!isObject(json)) return undefined;
  const [name, another] = Object.keys(json).filter((member) => member.endsWith(ending));
  return another === undefined ? name : undefined;
}

function plainText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return Number.isSafeInteger(value) ? String(value) : undefined;
}

/**
 * A number that JSON.parse cannot keep, by the digits that it was written with: two ids that differ in the last ones must
 * not become one key. Below lists there is none.
 */
function numberText(request: WebhookRequest, pointer: string): string | undefined {
  let text = utf8Text(request.body);
  for (const token of pointerTokens(pointer)) {
    if (text?.trimStart().startsWith("{") !== true) return undefined;
    text = memberText(text, token);
  }
  return text?.trim();
}

export function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What was read of a request: it is asked for several times, and a body may be large. */
interface Read {
  json?: { readonly value: unknown };
  form?: { readonly value: URLSearchParams | undefined };
  query?: URLSearchParams;
}

const read = new WeakMap<WebhookRequest, Read>();

function readOf(request: WebhookRequest): Read {
  const known = read.get(request);
  if (known !== undefined) return known;
  const fresh: Read = {};
  read.set(request, fresh);
  return fresh;
}

/** @returns what the body says as JSON, whatever its media type; undefined when it is none, or a form */
export function jsonOf(request: WebhookRequest): unknown {
  const known = readOf(request);
  known.json ??= { value: isForm(request) ? undefined : parsePlain(utf8Text(request.body) ?? "", MAX_JSON_PARTS) };
  return known.json.value;
}

/** @returns the body's parameters; undefined when it is no form, or one that is not UTF-8 */
export function formOf(request: WebhookRequest): URLSearchParams | undefined {
  const known = readOf(request);
  known.form ??= { value: isForm(request) ? formParameters(request) : undefined };
  return known.form.value;
}

function formParameters({ body }: WebhookRequest): URLSearchParams | undefined {
  const text = utf8Text(body);
  return text === undefined ? undefined : parametersOf(text);
}

export function queryOf(request: WebhookRequest): URLSearchParams {
  const known = readOf(request);
  const start = request.url.indexOf("?");
  known.query ??= parametersOf(start === -1 ? "" : request.url.slice(start + 1));
  return known.query;
}

/** Behind a "?", which is dropped: a first one of the text's own must stay. */
function parametersOf(text: string): URLSearchParams {
  return new URLSearchParams(`?${text}`);
}

export function isForm(request: WebhookRequest): boolean {
  const type = statedType(request.headers.get("content-type")) ?? "";
  return /^application\/x-www-form-urlencoded *(?:;|$)/i.test(type);
}
