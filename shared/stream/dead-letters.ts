import { Buffer, isUtf8 } from "node:buffer";
import { WeirError } from "../errors.ts";
import { parseEntryId, timeOfId } from "../ids.ts";
import { decodeEntry, type Entry, fieldMap, type METADATA_PREFIX, messageJson } from "../message.ts";
import { type Reply, ReplyError } from "../redis/connection.ts";
import { unwrap } from "../redis/redis.ts";
import { asArray, asNumber, asTextOrNull } from "../redis/reply.ts";
import type { ScriptCall } from "../redis/script.ts";
import { deleteDeadLettersScript } from "../scripts/delete-dead-letters.lua.ts";
import { redriveScript } from "../scripts/redrive.lua.ts";
import { decodeRange, rangeCall } from "./messages.ts";
import { groupError, probeGroup, sendToGroup } from "./missing.ts";
import type { Page } from "./page.ts";
import { inSteps, MAX_STEPS, type Progress } from "./steps.ts";
import { type EventStream, groupKeys } from "./stream.ts";

/** Why a message went to the dead letters. */
export const DEAD_LETTER_REASONS = ["max-deliveries", "rejected", "payload-missing", "trimmed"] as const;

/** `unknown`: another client has put it there. */
export type DeadLetterReason = (typeof DEAD_LETTER_REASONS)[number] | "unknown";

/** The longest event type and the longest words of a consumer that a redrive can be asked for: no longer ones are produced. */
export const MAX_FILTER_CHARACTERS = 1_024;

export interface DeadLetter {
  readonly id: string;
  /** The message as JSON text, under the id that it had in the stream. */
  readonly message: string;
  readonly reason: DeadLetterReason;
  /** The consumer's words, if it gave any. */
  readonly detail: string | null;
  readonly deliveries: number;
  /** Who was handed it last. */
  readonly consumer: string;
  readonly deadAt: number;
}

export interface DeadLetterQuery {
  readonly reason?: DeadLetterReason | undefined;
  readonly type?: string | undefined;
  readonly cursor?: string | undefined;
  readonly limit: number;
}

/** Pages that a filter goes through for one page of its own. */
const MAX_PAGES = 20;

/**
 * Lists a group's dead letters, oldest first. A filter fills its page, as far as a bounded number of steps gets; then the page
 * is short, even empty, while `next` says there is more.
 * @throws {WeirError} `unknown-stream`, `unknown-group`
 */
export async function listDeadLetters(
  stream: EventStream,
  group: string,
  { reason, type, cursor, limit }: DeadLetterQuery,
): Promise<Page<DeadLetter>> {
  const items: DeadLetter[] = [];
  let next: string | null = cursor ?? null;
  for (let pages = 0; pages < MAX_PAGES && items.length < limit; pages++) {
    const page = await readPage(stream, group, { cursor: next ?? undefined, limit });
    for (const entry of page.items) {
      const original = originalFields(entry);
      const letter = decodeDeadLetter(entry, original);
      const isWanted =
        (reason ?? letter.reason) === letter.reason && (type === undefined || fieldMap(original).get("type") === type);
      if (isWanted) items.push(letter);
      if (items.length === limit) {
        const isEnd = page.next === null && entry === page.items.at(-1);
        return { items, next: isEnd ? null : entry.id };
      }
    }
    next = page.next;
    if (next === null) break;
  }
  return { items, next };
}

async function readPage(
  stream: EventStream,
  group: string,
  { cursor, limit }: { cursor: string | undefined; limit: number },
): Promise<Page<Entry>> {
  const { keys, redis } = stream;
  const [probe = null, reply = null] = await redis.pipeline([
    probeGroup(stream, group),
    rangeCall(keys.dead(group), keys.config, { order: "asc", cursor, limit }),
  ]);
  if (probe instanceof ReplyError) throw await groupError(stream, group, probe);
  // No dead letter yet: no key yet.
  return decodeRange(unwrap(reply)) ?? { items: [], next: null };
}

/**
 * @param id of the dead letter, not of its message
 * @throws {WeirError} `unknown-stream`, `unknown-group`, `unknown-dead-letter`
 */
export async function getDeadLetter(stream: EventStream, group: string, id: string): Promise<DeadLetter> {
  const { keys, redis } = stream;
  const [probe = null, reply = null] = await redis.pipeline([
    probeGroup(stream, group),
    ["XRANGE", keys.dead(group), id, id],
  ]);
  if (probe instanceof ReplyError) throw await groupError(stream, group, probe);
  const [entry] = asArray(unwrap(reply)).map(decodeEntry);
  if (entry === undefined) {
    throw new WeirError("unknown-dead-letter", `the group "${group}" has no dead letter "${id}"`);
  }
  return decodeDeadLetter(entry, originalFields(entry));
}

export interface Redrive {
  /** Which dead letters; otherwise all that fit reason, type and detail, oldest first. */
  readonly ids?: readonly string[] | undefined;
  readonly reason?: DeadLetterReason | undefined;
  /** null: those that have none. */
  readonly type?: string | null | undefined;
  /** The consumer's words; null: those that have none. */
  readonly detail?: string | null | undefined;
  readonly limit: number;
  /** `next` of the request before, as {@link parseRedriveCursor} read it. */
  readonly cursor?: RedriveCursor | undefined;
  /** Counts only. */
  readonly dryRun?: boolean;
}

/** Where a redrive goes on, and which dead letters it is about: those that have come since may be its own, dead again. */
export interface RedriveCursor {
  readonly after: string;
  readonly untilMs: number;
}

/** @returns undefined when the text was never `next` of a redrive */
export function parseRedriveCursor(text: string): RedriveCursor | undefined {
  const [, id = "", untilMs] = /^(\d{1,20}-\d{1,20})~(\d{1,16})$/.exec(text) ?? [];
  const after = parseEntryId(id);
  return after === undefined ? undefined : { after, untilMs: Number(untilMs) };
}

/**
 * Hands dead letters to their group again, from delivery 1, whether or not the stream still holds the original. What
 * has no payload stays where it is.
 * @returns how many, and where to go on
 * @throws {WeirError} `unknown-stream`, `unknown-group`; `conflict` when a key of the group holds another type of value
 */
export async function redrive(stream: EventStream, group: string, request: Redrive): Promise<Progress> {
  const { ids, reason = "", type, detail, limit, cursor, dryRun = false } = request;
  const untilMs = cursor?.untilMs ?? (ids === undefined ? await untilNow(stream, group) : 0);
  const which = ids === undefined ? { from: "-", to: String(untilMs) } : { ids };
  const { count, next } = await inSteps(which, cursor?.after, limit, async (max, ...selection) => {
    const args = [group, reason, filter(type), filter(detail), max, dryRun ? 1 : 0, ...selection];
    const call = { script: redriveScript, keys: groupKeys(stream, group), args };
    const [count, last = null] = asArray(await sendToGroup(stream, group, call));
    return { count: asNumber(count), last: asTextOrNull(last) };
  });
  return { count, next: next === null ? null : `${next}~${untilMs}` };
}

/** As the script takes it. */
function filter(text: string | null | undefined): string {
  if (text === null) return "none";
  return text === undefined ? "" : `=${text}`;
}

/** By when all dead letters have come that are there: Redis' time, or that of the last one where its clock was set back. */
async function untilNow({ redis, keys }: EventStream, group: string): Promise<number> {
  const [time = null, last = null] = await redis.pipeline([
    ["TIME"],
    ["XREVRANGE", keys.dead(group), "+", "-", "COUNT", 1],
  ]);
  const [seconds, microseconds] = asArray(unwrap(time));
  const nowMs = asNumber(seconds) * 1_000 + Math.floor(asNumber(microseconds) / 1_000);
  const lastMs = asArray(unwrap(last)).map((entry) => timeOfId(decodeEntry(entry).id));
  return Math.min(Number.MAX_SAFE_INTEGER - 1, Math.max(nowMs, ...lastMs));
}

function deadKeys({ keys }: EventStream, group: string): readonly string[] {
  return [keys.stream, keys.config, keys.dead(group), keys.deadIndex(group)];
}

/** Dead letters deleted in one step by age. */
const DELETE_STEP = 10_000;

/** Deletes dead letters below an id as one call; the reaper puts many into one round trip. */
export function deleteBelowCall(stream: EventStream, group: string, belowId: string): ScriptCall {
  return {
    script: deleteDeadLettersScript,
    keys: deadKeys(stream, group),
    args: [group, "below", belowId, DELETE_STEP],
  };
}

export function decodeDeleted(reply: Reply): { deleted: number; more: boolean } {
  const [deleted, more] = asArray(reply);
  return { deleted: asNumber(deleted), more: more === 1 };
}

/**
 * Deletes dead letters, for good: those named, or those that are older, or all that there are.
 * @param which `belowId`: also `next` of the request before
 * @returns how many there were, and where to go on
 * @throws {WeirError} `unknown-stream`, `unknown-group`; `conflict` when a key of the group holds another type of value
 */
export async function deleteDeadLetters(
  stream: EventStream,
  group: string,
  which: { readonly ids: readonly string[] } | { readonly belowId: string } | "all",
): Promise<Progress> {
  if (typeof which === "object" && "ids" in which) {
    const call = { script: deleteDeadLettersScript, keys: deadKeys(stream, group), args: [group, "ids", ...which.ids] };
    return { count: decodeDeleted(await sendToGroup(stream, group, call)).deleted, next: null };
  }
  // All that there are now: others may come as fast as these go.
  const belowId = which === "all" ? `${(await untilNow(stream, group)) + 1}-0` : which.belowId;
  let count = 0;
  for (let steps = 0; steps < MAX_STEPS; steps++) {
    const step = decodeDeleted(await sendToGroup(stream, group, deleteBelowCall(stream, group, belowId)));
    count += step.deleted;
    if (!step.more) return { count, next: null };
  }
  return { count, next: belowId };
}

function decodeDeadLetter({ id, fields: flat }: Entry, original: Entry["fields"]): DeadLetter {
  const fields = fieldMap(flat);
  return {
    id,
    message: messageJson(parseEntryId(textAt(fields, "weir-id") ?? "") ?? id, original),
    reason: reasonOf(textAt(fields, "weir-reason")),
    detail: textAt(fields, "weir-detail") ?? null,
    deliveries: countAt(fields, "weir-deliveries"),
    consumer: textAt(fields, "weir-consumer") ?? "",
    deadAt: timeOfId(id),
  };
}

export function reasonOf(text: string | undefined): DeadLetterReason {
  return DEAD_LETTER_REASONS.find((reason) => reason === text) ?? "unknown";
}

/** The fields that the message had; very many of them lie packed in one, as JSON. */
function originalFields({ fields }: Entry): Entry["fields"] {
  const packed = fieldMap(fields).get("weir-fields");
  if (packed === undefined) return fields;
  // The packing copies bytes as they are, so values that are not UTF-8 are in there too: read byte by byte.
  const flat = parseList(Buffer.from(packed).toString("latin1"));
  // Another client has written to the dead letters: it is no packing of Weir's.
  if (flat === undefined) return fields;
  return flat.map((text) => decodeBytes(Buffer.from(String(text), "latin1")));
}

function parseList(json: string): readonly unknown[] | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function decodeBytes(bytes: Buffer): string | Uint8Array {
  return isUtf8(bytes) ? bytes.toString() : new Uint8Array(bytes);
}

/** Another client may have written anything there. */
function countAt(fields: ReturnType<typeof fieldMap>, name: `${typeof METADATA_PREFIX}${string}`): number {
  const count = Number(textAt(fields, name));
  return Number.isSafeInteger(count) ? count : 0;
}

function textAt(fields: ReturnType<typeof fieldMap>, name: `${typeof METADATA_PREFIX}${string}`): string | undefined {
  const value = fields.get(name);
  return value instanceof Uint8Array ? Buffer.from(value).toString() : value;
}
