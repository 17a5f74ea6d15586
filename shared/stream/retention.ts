import { compareIds, parseEntryId, sequenceOfId, timeOfId } from "../ids.ts";
import type { Reply } from "../redis/connection.ts";
import { unwrap } from "../redis/redis.ts";
import { asArray, asMap, asNumber, asNumberOrNull, asText, asTextOrNull } from "../redis/reply.ts";
import type { ScriptCall } from "../redis/script.ts";
import { neededByGroupsScript } from "../scripts/needed-by-groups.lua.ts";
import { trimScript } from "../scripts/trim.lua.ts";
import { unwrapOfStream } from "./missing.ts";
import { decodeLaterFacts, decodeStreamConfig, type StreamConfig, type Unfinished } from "./settings.ts";
import { MAX_STEPS } from "./steps.ts";
import type { EventStream } from "./stream.ts";

/** How many entries one trim step takes at most. */
const TRIM_STEP = 10_000;

/** A limit to trim to by hand: one of the three. */
export interface TrimRequest {
  readonly maxLength?: number | undefined;
  readonly minId?: string | undefined;
  readonly olderThanMs?: number | undefined;
  /** `next` of the request before. */
  readonly cursor?: string | undefined;
  /** To the exact message, not in whole nodes of Redis. */
  readonly exact: boolean;
}

export interface KeptFor {
  readonly group: string;
  /** The oldest message that it has not finished. */
  readonly fromId: string;
}

export interface Trimmed {
  readonly trimmed: number;
  readonly more: boolean;
  readonly deadLettered: number;
  readonly dropped: number;
  readonly keptFor: readonly KeptFor[];
  /** Groups whose dead letters it needs the keys of: to be named by the next step. */
  readonly unnamed: readonly string[];
}

/**
 * One step of trimming by the stream's settings, as a call: the reaper puts many into one round trip.
 * @param groups those of the stream
 */
export function trimCall(stream: EventStream, groups: readonly string[], nowMs: number): ScriptCall {
  return stepCall(stream, groups, [nowMs, TRIM_STEP, 1, "settings", "", ""]);
}

function stepCall({ keys }: EventStream, groups: readonly string[], args: readonly (string | number)[]): ScriptCall {
  const ofGroups = groups.flatMap((group) => [keys.dead(group), keys.deadIndex(group)]);
  return { script: trimScript, keys: [keys.stream, keys.config, ...ofGroups], args: [...args, ...groups] };
}

export function decodeTrimmed(reply: Reply): Trimmed {
  const [trimmed, more, deadLettered, dropped, keptFor, unnamed] = asArray(reply);
  return {
    trimmed: asNumber(trimmed),
    more: more === 1,
    deadLettered: asNumber(deadLettered),
    dropped: asNumber(dropped),
    keptFor: asArray(keptFor).map((row) => {
      const [group, fromId] = asArray(row);
      return { group: asText(group), fromId: asText(fromId) };
    }),
    unnamed: asArray(unnamed).map(asText),
  };
}

/** What a cursor says where a length is trimmed to: that it was begun. */
const BY_LENGTH = "length";

/** @returns undefined when the text was never `next` of a trim */
export function parseTrimCursor(text: string): string | undefined {
  return text === BY_LENGTH ? text : parseEntryId(text);
}

/**
 * Trims a stream by hand, step by step, so that Redis is never blocked for long; after many steps the rest is left to another
 * request.
 * @param nowMs what `olderThanMs` counts from
 * @returns `next`: where to go on, by the same limit; null: that was all
 * @throws {WeirError} `unknown-stream`; `conflict` when a key of a group holds another type of value
 */
export async function trimNow(
  stream: EventStream,
  { maxLength, minId, olderThanMs, exact, cursor }: TrimRequest,
  nowMs: number,
): Promise<{ trimmed: number; keptFor: readonly KeptFor[]; next: string | null }> {
  const given = olderThanMs === undefined ? (minId ?? "") : `${Math.max(0, nowMs - olderThanMs)}-0`;
  const belowId = given === "" || cursor === undefined || cursor === BY_LENGTH ? given : cursor;
  const args = [nowMs, TRIM_STEP, exact ? 1 : 0, "given", belowId, maxLength ?? ""];
  const groups = new Set<string>();
  let trimmed = 0;
  for (let steps = 1; ; steps++) {
    const [outcome = null] = await stream.redis.pipeline([stepCall(stream, [...groups], args)]);
    const step = decodeTrimmed(unwrapOfStream(stream, outcome));
    trimmed += step.trimmed;
    for (const group of step.unnamed) groups.add(group);
    if (!step.more) return { trimmed, keptFor: step.keptFor, next: null };
    if (steps === MAX_STEPS) return { trimmed, keptFor: step.keptFor, next: belowId || BY_LENGTH };
  }
}

export interface RetentionForecast {
  readonly unfinished: Unfinished;
  /** What the next trim would take. */
  readonly next: {
    readonly messages: number;
    readonly messagesAre: "exact" | "estimated";
    /** Messages below it would go; null when only the length counts. */
    readonly belowId: string | null;
  };
  /** Groups that would lose messages by it, to their dead letters or for good. */
  readonly takesFrom: readonly { readonly group: string; readonly fromId: string; readonly messages: number }[];
  /** Groups that it stops for, and when the message that they have not finished was produced. */
  readonly heldBackBy: readonly { readonly group: string; readonly fromId: string; readonly sinceMs: number }[];
}

/** What a stream's scheduled messages come to, which no trim takes. */
export interface ScheduledForecast {
  /** How many wait to be appended when they are due. */
  readonly scheduled: number;
  /** Since when the first of them is due and waits, as for room in a stream at its `maxLength`; null: none does. */
  readonly overdueSince: number | null;
}

/** A stream as of one moment, as a forecast needs it. */
interface Snapshot {
  readonly length: number;
  readonly firstId: string | null;
  readonly lastId: string;
  readonly groups: readonly GroupNeed[];
}

interface GroupNeed {
  readonly group: string;
  /** The oldest entry that it has not finished; null when it has finished all. */
  readonly fromId: string | null;
  /** Entries from that one to the last that it was handed, as far as they were counted. */
  readonly handed: number;
  readonly handedIs: "exact" | "at-least";
  /** Entries that it was not handed yet; null where Redis cannot tell. */
  readonly lag: number | null;
}

/**
 * Tells what the next trim by the stream's settings would do. Counts by age are estimated from the ids' times.
 * @throws {WeirError} `unknown-stream`
 */
export async function forecastRetention(
  stream: EventStream,
  nowMs: number,
): Promise<RetentionForecast & ScheduledForecast> {
  const { keys, redis } = stream;
  const [snapshot = null, config = null] = await redis.pipeline([
    { script: neededByGroupsScript, keys: [keys.stream, keys.config], args: [] },
    ["HGETALL", keys.config],
  ]);
  const read = decodeSnapshot(unwrapOfStream(stream, snapshot));
  const hash = asMap(unwrap(config));
  const { scheduled, laterDueMs = Number.POSITIVE_INFINITY } = decodeLaterFacts(hash);
  const overdueSince = laterDueMs < nowMs ? laterDueMs : null;
  return { ...forecast(read, decodeStreamConfig(hash).retention, nowMs), scheduled, overdueSince };
}

/** The forecast itself, from what was read. */
export function forecast(snapshot: Snapshot, retention: StreamConfig["retention"], nowMs: number): RetentionForecast {
  const { length, groups } = snapshot;
  const { maxAgeMs, maxLength, unfinished, deleteAcknowledged } = retention;
  const belowId = maxAgeMs === null ? null : `${Math.max(0, nowMs - maxAgeMs)}-0`;
  const byAge = belowId === null ? 0 : entriesBelow(snapshot, belowId);
  const byLength = maxLength === null ? 0 : Math.max(0, length - maxLength);
  const wanted = Math.max(byAge, byLength);
  const needs = groups.flatMap((need) => {
    const { group, fromId } = need;
    return fromId === null ? [] : [{ group, fromId, done: doneBy(snapshot, need, fromId) }];
  });
  const doneByAll = Math.min(length, ...needs.map(({ done }) => done));
  const freed = deleteAcknowledged && groups.length > 0 ? doneByAll : 0;
  // By age the ids themselves tell, by length only counts do.
  const behind = needs.filter(
    ({ fromId, done }) => done < byLength || (belowId !== null && compareIds(fromId, belowId) < 0),
  );
  const isKept = unfinished === "keep";
  const isExact = byAge === 0 || byAge === length;
  return {
    unfinished,
    next: {
      messages: Math.max(freed, isKept ? Math.min(wanted, doneByAll) : wanted),
      messagesAre:
        isExact && (!isKept || behind.every(({ done }) => done === 0)) && freed === 0 ? "exact" : "estimated",
      belowId,
    },
    takesFrom: isKept
      ? []
      : behind.map(({ group, fromId, done }) => ({ group, fromId, messages: Math.max(1, wanted - done) })),
    heldBackBy: isKept ? behind.map(({ group, fromId }) => ({ group, fromId, sinceMs: timeOfId(fromId) })) : [],
  };
}

/** How many entries lie before the oldest that a group is not done with: counted where that is known, by time elsewhere. */
function doneBy(snapshot: Snapshot, { handed, handedIs, lag }: GroupNeed, fromId: string): number {
  const byTime = entriesBelow(snapshot, fromId);
  if (byTime === 0) return 0;
  const rest = snapshot.length - handed - (lag ?? 0);
  const done = lag !== null && handedIs === "exact" ? rest : Math.min(byTime, rest);
  // There are some, and not all are finished: so at least one, whatever Redis' lag says after another client's changes.
  return Math.max(1, Math.min(snapshot.length - 1, done));
}

/** How many entries lie below an id: exact at both ends, by time in between, or by sequence within one millisecond. */
function entriesBelow({ length, firstId, lastId }: Snapshot, id: string): number {
  if (firstId === null || compareIds(id, firstId) <= 0) return 0;
  if (compareIds(id, lastId) > 0) return length;
  const placeOf = timeOfId(firstId) === timeOfId(lastId) ? sequenceOfId : timeOfId;
  const [first, last] = [placeOf(firstId), placeOf(lastId)];
  const below = Math.round((length * (placeOf(id) - first)) / Math.max(1, last - first));
  // Above the first there is one at least; the last is not below it.
  return Math.max(1, Math.min(length - 1, below));
}

function decodeSnapshot(reply: Reply): Snapshot {
  const [length, firstId = null, lastId, groups] = asArray(reply);
  return {
    length: asNumber(length),
    firstId: asTextOrNull(firstId),
    lastId: asText(lastId),
    groups: asArray(groups).map((row) => {
      const [group, fromId = null, handed, isMore, lag = null] = asArray(row);
      return {
        group: asText(group),
        fromId: asTextOrNull(fromId),
        handed: asNumber(handed),
        handedIs: isMore === 1 ? "at-least" : "exact",
        lag: asNumberOrNull(lag),
      };
    }),
  };
}
