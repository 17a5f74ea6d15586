import { isDay } from "../day.ts";
import { FIRST_ID, idBefore, LAST_ID, parseEntryId } from "../ids.ts";

/** Where a range of messages starts or ends, or where a group begins to read. */
export type Position =
  | { readonly kind: "first" }
  | { readonly kind: "last" }
  | { readonly kind: "id"; readonly id: string }
  | { readonly kind: "time"; readonly ms: number };

/**
 * Reads an id, Unix milliseconds or an ISO 8601 time (without an offset: UTC).
 * @returns undefined when the text is none of them
 */
export function parsePosition(text: string): Position | undefined {
  const id = parseEntryId(text);
  if (id !== undefined) return { kind: "id", id };
  const ms = /^\d{1,16}$/.test(text) ? Number(text) : parseIso(text);
  return Number.isSafeInteger(ms) && ms !== undefined ? { kind: "time", ms } : undefined;
}

const ISO_8601 = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?)?$/;

function parseIso(text: string): number | undefined {
  if (!ISO_8601.test(text) || !isDay(text.slice(0, 10))) return undefined;
  const hasOffset = /(Z|[+-]\d{2}:\d{2})$/.test(text);
  // Date.parse takes a date with a time but no offset as local time, which differs between machines.
  const ms = Date.parse(text.includes("T") && !hasOffset ? `${text}Z` : text);
  return Number.isNaN(ms) || ms < 0 ? undefined : ms;
}

/**
 * Reads a time as {@link parsePosition} does, and rounds up what is finer than a millisecond.
 * @returns Unix milliseconds, or undefined when the text is no time
 */
export function parseTimeNotBefore(text: string): number | undefined {
  const position = parsePosition(text);
  if (position?.kind !== "time") return undefined;
  // Date.parse cuts it off.
  return /\.\d{3}\d*[1-9]/.test(text) ? position.ms + 1 : position.ms;
}

/**
 * A bound of XRANGE. Milliseconds alone are the first id of that millisecond as a start, and the last as an end: Redis'
 * own rule.
 */
export function rangeBound(position: Position | undefined, fallback: "-" | "+"): string {
  if (position === undefined) return fallback;
  if (position.kind === "first") return "-";
  if (position.kind === "last") return "+";
  return position.kind === "id" ? position.id : String(position.ms);
}

/** The id that a group which starts there has read up to. A start at an id reads on after it, as in Redis. */
export function lastReadBefore(start: Position | undefined): string {
  if (start === undefined || start.kind === "last") return "$";
  if (start.kind === "first") return FIRST_ID;
  return start.kind === "id" ? start.id : idBefore(start.ms);
}

/** A start as it is stored, so that repeating the same PUT is no conflict. */
export function nameOfStart(start: Position | undefined): string {
  if (start === undefined) return "";
  if (start.kind === "first") return "earliest";
  if (start.kind === "last") return "latest";
  return start.kind === "id" ? start.id : String(start.ms);
}

/** The id below which everything lies before a position. */
export function idAtOrAfter(position: Position): string {
  if (position.kind === "first") return FIRST_ID;
  if (position.kind === "last") return LAST_ID;
  return position.kind === "id" ? position.id : `${position.ms}-0`;
}
