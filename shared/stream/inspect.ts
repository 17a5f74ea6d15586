import { compareIds, sequenceOfId, timeOfId } from "../ids.ts";
import type { StreamKeys } from "../keys.ts";
import type { Command, Outcome, Reply } from "../redis/connection.ts";
import { type Call, unwrap } from "../redis/redis.ts";
import { asArray, asMap, asNumber, asText, asTextOrNull } from "../redis/reply.ts";
import type { ScriptCall } from "../redis/script.ts";
import { decodeGroupFacts, decodeStreamFacts, type GroupFacts, type StreamFacts } from "../redis/xinfo.ts";
import { sideCountsScript } from "../scripts/side-counts.lua.ts";
import { probeGroup, unknownGroup, unwrapOfStream } from "./missing.ts";
import { type Page, type PageQuery, pageByName } from "./page.ts";
import {
  decodeGroupConfig,
  decodeGroupGap,
  decodeLaterFacts,
  decodeStreamConfig,
  type Gap,
  type GroupConfig,
  type StreamConfig,
} from "./settings.ts";
import type { EventStream } from "./stream.ts";

export interface StreamInfo {
  readonly name: string;
  readonly length: number;
  readonly firstId: string | null;
  /** The last id that was given out, also when that message is gone; null before the first. */
  readonly lastId: string | null;
  /** How many groups there are. */
  readonly groups: number;
  /** How many messages wait to be appended when they are due. */
  readonly scheduled: number;
  readonly config: StreamConfig;
}

export interface GroupInfo {
  readonly name: string;
  /** Messages not yet handed to the group; null when Redis cannot tell and it cannot be estimated. */
  readonly lag: number | null;
  readonly lagIs: "exact" | "estimated" | "unknown";
  readonly pending: number;
  /** Messages that are to come back: retried with a delay, replayed, and not yet handed out again. */
  readonly delayed: number;
  readonly lastDeliveredId: string;
  /** How many consumers the group has, those of Weir's own included. */
  readonly consumers: number;
  /** The age of the oldest message that was handed out and not acknowledged. */
  readonly oldestPendingMs: number | null;
  readonly deadLetters: number;
  /** What trimming took from it last, until it has acknowledged something after that. */
  readonly gap: Gap | null;
  /** How many messages trimming took from it in all. */
  readonly dropped: number;
  readonly config: GroupConfig;
}

/** @throws {WeirError} `unknown-stream`; `conflict` when the key holds another type of value */
export async function streamInfo(stream: EventStream): Promise<StreamInfo> {
  return decodeStreamInfo(stream, await stream.redis.pipeline(streamInfoCalls(stream)));
}

/** What {@link decodeStreamInfo} reads. */
export function streamInfoCalls({ keys }: EventStream): Command[] {
  return [
    ["XINFO", "STREAM", keys.stream],
    ["HGETALL", keys.config],
  ];
}

/** @throws {WeirError} as {@link streamInfo} */
export function decodeStreamInfo(stream: EventStream, [info, config = null]: readonly Outcome[]): StreamInfo {
  const { length, firstId, lastGeneratedId, groups } = decodeStreamFacts(unwrapOfStream(stream, info));
  const lastId = lastIdOf(lastGeneratedId);
  const hash = asMap(unwrap(config));
  const { scheduled } = decodeLaterFacts(hash);
  return { name: stream.name, length, firstId, lastId, groups, scheduled, config: decodeStreamConfig(hash) };
}

/** null before the first. */
function lastIdOf(lastGeneratedId: string): string | null {
  return lastGeneratedId === "0-0" ? null : lastGeneratedId;
}

/**
 * Lists a stream's groups by name.
 * @param nowMs for the age of the oldest pending message
 * @throws {WeirError} `unknown-stream`
 */
export async function listGroups(stream: EventStream, query: PageQuery, nowMs: number): Promise<Page<GroupInfo>> {
  const snapshot = await readSnapshot(stream);
  const { items, next } = pageByName(snapshot.groups, query);
  return { items: await describeGroups(stream, snapshot, items, nowMs), next };
}

/** @throws {WeirError} `unknown-stream`, `unknown-group` */
export async function groupInfo(stream: EventStream, group: string, nowMs: number): Promise<GroupInfo> {
  const snapshot = await readSnapshot(stream);
  const wanted = snapshot.groups.filter(({ name }) => name === group);
  const [found] = await describeGroups(stream, snapshot, wanted, nowMs);
  if (found === undefined) throw unknownGroup(stream, group);
  return found;
}

/** A stream with its groups and settings. */
interface Snapshot {
  readonly facts: StreamFacts;
  readonly groups: readonly GroupFacts[];
  readonly settings: ReadonlyMap<string, Reply>;
}

async function readSnapshot(stream: EventStream): Promise<Snapshot> {
  const { keys, redis } = stream;
  const [info, groups = null, config = null] = await redis.pipeline([
    ["XINFO", "STREAM", keys.stream],
    ["XINFO", "GROUPS", keys.stream],
    ["HGETALL", keys.config],
  ]);
  const facts = decodeStreamFacts(unwrapOfStream(stream, info));
  return { facts, groups: decodeGroupFacts(unwrap(groups)), settings: asMap(unwrap(config)) };
}

/** One more round trip; two commands for each group, and a script where it has a side store. */
async function describeGroups(
  stream: EventStream,
  { facts, settings }: Snapshot,
  groups: readonly GroupFacts[],
  nowMs: number,
): Promise<GroupInfo[]> {
  const calls = groups.map(({ name }) => detailCalls(stream, name, settings.has(`againDue:${name}`)));
  const outcomes = await stream.redis.pipeline(calls.flat());
  return groups.map((group, i) => {
    const from = calls.slice(0, i).reduce((sum, { length }) => sum + length, 0);
    const details = decodeDetails(outcomes.slice(from, from + (calls[i]?.length ?? 0)).map(unwrap));
    const { name, consumers, lastDeliveredId } = group;
    const counted = asTextOrNull(settings.get(`counted:${name}`) ?? null);
    const oldest = [details.oldestPendingId, details.oldestInHandId].flatMap((id) => (id === null ? [] : timeOfId(id)));
    return {
      name,
      ...findLag({ ...group, counted }, { ...facts, lastId: lastIdOf(facts.lastGeneratedId) }),
      pending: group.pending + details.inHand,
      delayed: details.delayed,
      lastDeliveredId,
      consumers,
      oldestPendingMs: oldest.length === 0 ? null : Math.max(0, nowMs - Math.min(...oldest)),
      deadLetters: details.deadLetters,
      ...decodeGroupGap(settings, name),
      config: decodeGroupConfig(settings, name),
    };
  });
}

interface GroupDetails extends SideCounts {
  readonly oldestPendingId: string | null;
  readonly deadLetters: number;
}

function detailCalls(stream: EventStream, group: string, hasSideStore: boolean): Call[] {
  const calls: Call[] = [probeGroup(stream, group), ["XLEN", stream.keys.dead(group)]];
  return hasSideStore ? [...calls, sideCountsCall(stream.keys, group)] : calls;
}

function decodeDetails([probe = null, deadLetters, side]: readonly Reply[]): GroupDetails {
  const counts = side === undefined ? NOTHING_ASIDE : decodeSideCounts(side);
  const [oldest] = asArray(probe);
  const oldestPendingId = oldest === undefined ? null : asText(asArray(oldest)[0]);
  return { ...counts, oldestPendingId, deadLetters: asNumber(deadLetters) };
}

/** How much lies in a group's side store. */
export interface SideCounts {
  /** Handed out of it and not settled. */
  readonly inHand: number;
  /** Waiting to be handed out. */
  readonly delayed: number;
  /** The oldest message of those in hand. */
  readonly oldestInHandId: string | null;
}

export const NOTHING_ASIDE: SideCounts = { inHand: 0, delayed: 0, oldestInHandId: null };

export function sideCountsCall(keys: StreamKeys, group: string): ScriptCall {
  return { script: sideCountsScript, keys: [keys.againDue(group)], args: [] };
}

export function decodeSideCounts(reply: Reply): SideCounts {
  const [inHand, delayed, oldest = null] = asArray(reply);
  return { inHand: asNumber(inHand), delayed: asNumber(delayed), oldestInHandId: asTextOrNull(oldest) };
}

/** What tells a group's lag. */
export interface LagFacts extends Pick<GroupFacts, "lag" | "read" | "lastDeliveredId"> {
  /** Up to where Redis' count was found to be right: see `scripts/parts/position.lua.ts`. */
  readonly counted: string | null;
}

/**
 * The lag. At both ends of the stream it follows from the ids. In between it is Redis' own figure, which is exact only as
 * long as nothing that the group had not read was trimmed or deleted: Redis goes on counting that as to come
 * (https://redis.io/docs/latest/commands/xinfo-groups/). Nothing was if no more entries are gone than when the count was
 * found to be right; or, since trims take the oldest, if neither the first entry nor a deleted id is beyond the place up to
 * which it was. Otherwise it is an upper bound, and so is the length; without any figure it is estimated by time.
 */
export function findLag(
  { lag, read, lastDeliveredId, counted }: LagFacts,
  {
    length,
    firstId,
    lastId,
    added,
    maxDeletedId,
  }: Pick<StreamFacts, "length" | "firstId" | "added" | "maxDeletedId"> & { readonly lastId: string | null },
): Pick<GroupInfo, "lag" | "lagIs"> {
  if (firstId === null || lastId === null || compareIds(lastDeliveredId, lastId) >= 0)
    return { lag: 0, lagIs: "exact" };
  if (compareIds(lastDeliveredId, firstId) < 0) return { lag: length, lagIs: "exact" };
  const [, countedId, gone] = /^(\d+-\d+) (\d+|-)$/.exec(counted ?? "") ?? [];
  const isWhole = added !== null && added - length === Number(gone);
  const isBehind = (id: string | null) => id !== null && countedId !== undefined && compareIds(id, countedId) <= 0;
  if (lag !== null && (isWhole || (isBehind(firstId) && isBehind(maxDeletedId)))) return { lag, lagIs: "exact" };
  // The first entry is behind the group; and it has not read the last one that was given out, be it there or not.
  const bounds = [
    length - 1,
    ...(lag === null ? [] : [lag]),
    ...(added === null || read === null ? [] : [added - read]),
  ];
  const most = Math.max(0, Math.min(...bounds));
  if (lag !== null) return { lag: most, lagIs: "estimated" };
  const placeOf = timeOfId(firstId) === timeOfId(lastId) ? sequenceOfId : timeOfId;
  const [first, delivered, last] = [placeOf(firstId), placeOf(lastDeliveredId), placeOf(lastId)];
  const byTime = Math.round((length * (last - delivered)) / Math.max(1, last - first));
  return { lag: Math.min(most, byTime), lagIs: "estimated" };
}
