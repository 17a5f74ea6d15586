import { compareIds, timeOfId } from "../ids.ts";
import type { Command, Reply } from "../redis/connection.ts";
import { unwrap } from "../redis/redis.ts";
import { asArray, asMap, asNumber, asTextOrNull } from "../redis/reply.ts";
import { decodeGroupFacts, decodeStreamFacts, type GroupFacts, type StreamFacts } from "../redis/xinfo.ts";
import { probeGroup, unknownGroup, unwrapOfStream } from "./missing.ts";
import { type Page, type PageQuery, pageByName } from "./page.ts";
import {
  decodeGroupConfig,
  decodeGroupGap,
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
  const [info, config = null] = await stream.redis.pipeline([
    ["XINFO", "STREAM", stream.keys.stream],
    ["HGETALL", stream.keys.config],
  ]);
  const { length, firstId, lastGeneratedId, groups } = decodeStreamFacts(unwrapOfStream(stream, info));
  const lastId = lastIdOf(lastGeneratedId);
  return { name: stream.name, length, firstId, lastId, groups, config: decodeStreamConfig(asMap(unwrap(config))) };
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

/** One more round trip, and four commands for each group. */
async function describeGroups(
  stream: EventStream,
  { facts, settings }: Snapshot,
  groups: readonly GroupFacts[],
  nowMs: number,
): Promise<GroupInfo[]> {
  const { length, firstId, lastGeneratedId } = facts;
  const details = await groupDetails(stream, groups, nowMs);
  return groups.map((group, i) => ({
    ...group,
    ...findLag(group, { length, firstId, lastId: lastIdOf(lastGeneratedId) }),
    pending: group.pending + (details[i]?.inHand ?? 0),
    delayed: details[i]?.delayed ?? 0,
    oldestPendingMs: details[i]?.oldestPendingMs ?? null,
    deadLetters: details[i]?.deadLetters ?? 0,
    ...decodeGroupGap(settings, group.name),
    config: decodeGroupConfig(settings, group.name),
  }));
}

interface GroupDetails {
  readonly oldestPendingMs: number | null;
  readonly deadLetters: number;
  /** What was handed out of the side store and not settled. */
  readonly inHand: number;
  readonly delayed: number;
}

async function groupDetails(
  stream: EventStream,
  groups: readonly { readonly name: string }[],
  nowMs: number,
): Promise<GroupDetails[]> {
  const { keys, redis } = stream;
  const outcomes = await redis.pipeline(
    groups.flatMap(({ name }): Command[] => [
      probeGroup(stream, name),
      ["XLEN", keys.dead(name)],
      // The side store: what is handed out has negative scores, what waits positive ones.
      ["ZCOUNT", keys.againDue(name), "-inf", "(0"],
      ["ZCOUNT", keys.againDue(name), "(0", "(1e15"],
    ]),
  );
  return groups.map((_, i) => {
    const [summary = null, deadLetters, inHand, delayed] = outcomes.slice(4 * i, 4 * i + 4).map(unwrap);
    const oldest = asTextOrNull(asArray(summary)[1]);
    return {
      oldestPendingMs: oldest === null ? null : Math.max(0, nowMs - timeOfId(oldest)),
      deadLetters: asNumber(deadLetters),
      inHand: asNumber(inHand),
      delayed: asNumber(delayed),
    };
  });
}

/**
 * The lag. At both ends of the stream it follows from the ids; Redis' own figure is wrong for a group whose next entries
 * were trimmed, and nil after XDEL and after a start in the middle (https://redis.io/docs/latest/commands/xinfo-groups/):
 * there it is estimated by time.
 */
export function findLag(
  group: { readonly lag: number | null; readonly lastDeliveredId: string },
  {
    length,
    firstId,
    lastId,
  }: { readonly length: number; readonly firstId: string | null; readonly lastId: string | null },
): Pick<GroupInfo, "lag" | "lagIs"> {
  const { lastDeliveredId } = group;
  if (firstId === null || lastId === null || compareIds(lastDeliveredId, lastId) >= 0)
    return { lag: 0, lagIs: "exact" };
  if (compareIds(lastDeliveredId, firstId) < 0) return { lag: length, lagIs: "exact" };
  if (group.lag !== null) return { lag: group.lag, lagIs: "exact" };
  const [first, delivered, last] = [timeOfId(firstId), timeOfId(lastDeliveredId), timeOfId(lastId)];
  if (last === first) return { lag: null, lagIs: "unknown" };
  return { lag: Math.round((length * (last - delivered)) / (last - first)), lagIs: "estimated" };
}
