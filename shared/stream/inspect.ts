import { compareIds, timeOfId } from "../ids.ts";
import { registryKey, streamKeys } from "../keys.ts";
import { type Command, type Outcome, type Reply, ReplyError } from "../redis/connection.ts";
import { type Redis, unwrap } from "../redis/redis.ts";
import { asArray, asMap, asNumber, asNumberOrNull, asText, asTextOrNull } from "../redis/reply.ts";
import {
  decodeGroupConfig,
  decodeGroupGap,
  decodeStreamConfig,
  type Gap,
  type GroupConfig,
  type StreamConfig,
} from "./settings.ts";
import { type EventStream, unknownGroup, unknownStream } from "./stream.ts";

/** A page of a list: `next` goes back as cursor, null at the end. */
export interface Page<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
}

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
  const [info, config] = await stream.redis.pipeline([
    ["XINFO", "STREAM", stream.keys.stream],
    ["HGETALL", stream.keys.config],
  ]);
  const figures = decodeStreamFigures(stream, info);
  const { name } = stream;
  const { length, firstId, lastId, groups } = figures;
  return { name, length, firstId, lastId, groups, config: decodeStreamConfig(asMap(unwrap(config ?? null))) };
}

function decodeStreamFigures(stream: EventStream, info: Outcome = null) {
  // XINFO says "no such key" without a code word of its own.
  if (info instanceof ReplyError && /no such key/i.test(info.message)) throw unknownStream(stream);
  const figures = asMap(unwrap(info));
  const firstEntry = figures.get("first-entry") ?? null;
  const lastGenerated = asText(figures.get("last-generated-id"));
  return {
    length: asNumber(figures.get("length")),
    firstId: firstEntry === null ? null : asText(asArray(firstEntry)[0]),
    lastId: lastGenerated === "0-0" ? null : lastGenerated,
    groups: asNumber(figures.get("groups")),
  };
}

/** Lists the registered streams by name. */
export async function listStreams(
  redis: Redis,
  keyPrefix: string,
  { cursor = "", limit }: { cursor?: string | undefined; limit: number },
): Promise<Page<{ name: string; length: number }>> {
  const names = asArray(await redis.send(["ZRANGE", registryKey(keyPrefix), 0, -1])).map(asText);
  const page = names.filter((name) => name > cursor).sort();
  const shown = page.slice(0, limit);
  const lengths =
    shown.length === 0 ? [] : await redis.pipeline(shown.map((name) => ["XLEN", streamKeys(keyPrefix, name).stream]));
  const items = shown.flatMap((name, i) => {
    const length = lengths[i];
    // A key that another client put a value of another type into is no stream.
    return typeof length === "number" ? [{ name, length }] : [];
  });
  return { items, next: page.length > limit ? (shown.at(-1) ?? null) : null };
}

/**
 * Lists a stream's groups by name.
 * @param nowMs for the age of the oldest pending message
 * @throws {WeirError} `unknown-stream`
 */
export async function listGroups(
  stream: EventStream,
  { cursor = "", limit }: { cursor?: string | undefined; limit: number },
  nowMs: number,
): Promise<Page<GroupInfo>> {
  const found = await readGroups(stream, nowMs, (name) => name > cursor, limit + 1);
  const items = found.slice(0, limit);
  return { items, next: found.length > limit ? (items.at(-1)?.name ?? null) : null };
}

/** @throws {WeirError} `unknown-stream`, `unknown-group` */
export async function groupInfo(stream: EventStream, group: string, nowMs: number): Promise<GroupInfo> {
  const [found] = await readGroups(stream, nowMs, (name) => name === group, 1);
  if (found === undefined) throw unknownGroup(stream, group);
  return found;
}

/** The groups whose names are wanted, by name; two round trips, and four commands for each of them. */
async function readGroups(
  stream: EventStream,
  nowMs: number,
  wanted: (name: string) => boolean,
  most: number,
): Promise<GroupInfo[]> {
  const { keys, redis } = stream;
  const [info, groups, config] = await redis.pipeline([
    ["XINFO", "STREAM", keys.stream],
    ["XINFO", "GROUPS", keys.stream],
    ["HGETALL", keys.config],
  ]);
  const figures = decodeStreamFigures(stream, info);
  const settings = asMap(unwrap(config ?? null));
  const shown = asArray(unwrap(groups ?? null))
    .map(decodeGroup)
    .filter(({ name }) => wanted(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .slice(0, most);
  const details = await groupDetails(stream, shown, nowMs);
  return shown.map((group, i) => ({
    ...group,
    ...findLag(group, figures),
    pending: group.pending + (details[i]?.handedAgain ?? 0),
    delayed: details[i]?.delayed ?? 0,
    oldestPendingMs: details[i]?.oldestPendingMs ?? null,
    deadLetters: details[i]?.deadLetters ?? 0,
    ...decodeGroupGap(settings, group.name),
    config: decodeGroupConfig(settings, group.name),
  }));
}

function decodeGroup(reply: Reply) {
  const group = asMap(reply);
  return {
    name: asText(group.get("name")),
    lag: asNumberOrNull(group.get("lag")),
    pending: asNumber(group.get("pending")),
    lastDeliveredId: asText(group.get("last-delivered-id")),
    consumers: asNumber(group.get("consumers")),
  };
}

interface GroupDetails {
  readonly oldestPendingMs: number | null;
  readonly deadLetters: number;
  /** What was handed out of the side store. */
  readonly handedAgain: number;
  readonly delayed: number;
}

async function groupDetails(
  { keys, redis }: EventStream,
  groups: readonly { readonly name: string }[],
  nowMs: number,
): Promise<GroupDetails[]> {
  if (groups.length === 0) return [];
  const outcomes = await redis.pipeline(
    groups.flatMap(({ name }): Command[] => [
      ["XPENDING", keys.stream, name],
      ["XLEN", keys.dead(name)],
      // The side store: what is handed out has negative scores, what waits positive ones.
      ["ZCOUNT", keys.againDue(name), "-inf", "(0"],
      ["ZCOUNT", keys.againDue(name), "(0", "+inf"],
    ]),
  );
  return groups.map((_, i) => {
    const [summary = null, deadLetters, handedAgain, delayed] = outcomes.slice(4 * i, 4 * i + 4).map(unwrap);
    const oldest = asTextOrNull(asArray(summary)[1]);
    return {
      oldestPendingMs: oldest === null ? null : Math.max(0, nowMs - timeOfId(oldest)),
      deadLetters: asNumber(deadLetters),
      handedAgain: asNumber(handedAgain),
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
