import { compareIds } from "../ids.ts";
import { type StreamKeys, streamKeys } from "../keys.ts";
import { type Outcome, type Reply, ReplyError } from "../redis/connection.ts";
import type { Call, Redis } from "../redis/redis.ts";
import { asArray, asNumber, asNumberOrNull, asText, asTextOrNull } from "../redis/reply.ts";
import type { ScriptCall } from "../redis/script.ts";
import type { StreamFacts } from "../redis/xinfo.ts";
import { streamFiguresScript } from "../scripts/stream-figures.lua.ts";
import { decodeSideCounts, findLag, type GroupInfo, NOTHING_ASIDE, sideCountsCall } from "./inspect.ts";
import { isNoSuchKey } from "./missing.ts";
import { registeredNames } from "./registry.ts";
import { countOr0 } from "./settings.ts";

/** A stream's figures, without any payload. */
export interface StreamFigures {
  readonly name: string;
  readonly length: number;
  readonly firstId: string | null;
  /** The id of the last message that is there. */
  readonly lastId: string | null;
  /** The last id that was given out; "0-0" before the first. */
  readonly lastGeneratedId: string;
  /** How many messages wait to be appended when they are due. */
  readonly scheduled: number;
  /** When the first of them is due; null: there is none. */
  readonly scheduledDueMs: number | null;
  readonly groups: readonly GroupFigures[];
}

export interface GroupFigures extends Pick<GroupInfo, "name" | "lag" | "lagIs" | "lastDeliveredId" | "consumers"> {
  /** What Redis itself has as pending. */
  readonly pending: number;
  /** What was handed out of the side store and not settled. */
  readonly inHand: number;
  readonly delayed: number;
  readonly deadLetters: number;
  readonly entriesRead: number | null;
  readonly oldestPendingId: string | null;
}

export interface AllFigures {
  readonly streams: readonly StreamFigures[];
  /** How many streams are registered. */
  readonly registered: number;
  /** How many of those, and of their groups, could not be read and are left out. */
  readonly errors: number;
}

/** Streams in one round trip. With {@link MAX_STREAMS}, 41 of the 50 round trips of the free plan. */
const STREAMS_AT_ONCE = 250;
const MAX_STREAMS = 10_000;

/**
 * Reads the figures of all registered streams.
 * @throws {WeirError} `redis-unavailable` when Redis is not there; a fault of one stream leaves that one out
 */
export async function readAllFigures(redis: Redis, keyPrefix: string): Promise<AllFigures> {
  const { names, registered } = await registeredNames(redis, keyPrefix, MAX_STREAMS);
  const streams: StreamFigures[] = [];
  let errors = Math.max(0, registered - names.length);
  let open: readonly OpenFigures[] = [];
  // What lies beside a stream is asked for together with the next streams' figures.
  for (let i = 0; i < names.length || open.length > 0; i += STREAMS_AT_ONCE) {
    const some = names.slice(i, i + STREAMS_AT_ONCE);
    const further = open.flatMap((figures) => furtherCalls(keyPrefix, figures));
    const calls = some.map((name) => figuresCall(streamKeys(keyPrefix, name)));
    const outcomes = await redis.pipeline([...further, ...calls]);
    streams.push(...completed(open, outcomes.slice(0, further.length)));
    const read = some.map((name, at) => ({ name, outcome: outcomes[further.length + at] ?? null }));
    const found: OpenFigures[] = [];
    for (const { name, outcome } of read) {
      if (!(outcome instanceof ReplyError)) {
        const figures = decodeFigures(name, outcome);
        found.push(figures);
        errors += figures.unnamed;
        // No stream yet, or no longer: about to be created or forgotten.
      } else if (!isNoSuchKey(outcome)) errors += 1;
    }
    open = found;
  }
  return { streams, registered, errors };
}

/** Reads the figures of one stream and of all its groups, but for what lies beside it. */
export function figuresCall(keys: StreamKeys): ScriptCall {
  return { script: streamFiguresScript, keys: [keys.stream, keys.config], args: [] };
}

/** A stream's figures without those of dead letters and side stores. */
interface OpenFigures {
  readonly stream: Omit<StreamFigures, "groups">;
  readonly groups: readonly OpenGroup[];
  /** How many groups are left out: names that are not UTF-8 may look like another's. */
  readonly unnamed: number;
}

interface OpenGroup extends Omit<GroupFigures, "inHand" | "delayed" | "deadLetters"> {
  readonly hasDeadLetters: boolean;
  readonly hasSideStore: boolean;
}

/** What is to be asked for besides, in the order in which {@link completed} reads it. */
function furtherCalls(keyPrefix: string, { stream, groups }: OpenFigures): Call[] {
  const keys = streamKeys(keyPrefix, stream.name);
  return groups.flatMap(({ name, hasDeadLetters, hasSideStore }) => [
    ...(hasDeadLetters ? [["XLEN", keys.dead(name)] as const] : []),
    ...(hasSideStore ? [sideCountsCall(keys, name)] : []),
  ]);
}

function completed(open: readonly OpenFigures[], outcomes: readonly Outcome[]): StreamFigures[] {
  let next = 0;
  // A key of another type there counts as none.
  const take = () => {
    const outcome = outcomes[next++] ?? null;
    return outcome instanceof ReplyError ? null : outcome;
  };
  return open.map(({ stream, groups }) => ({
    ...stream,
    groups: groups.map(({ hasDeadLetters, hasSideStore, ...group }) => {
      const deadLetters = hasDeadLetters ? take() : null;
      const side = hasSideStore ? take() : null;
      const { inHand, delayed, oldestInHandId } = side === null ? NOTHING_ASIDE : decodeSideCounts(side);
      return {
        ...group,
        deadLetters: deadLetters === null ? 0 : asNumber(deadLetters),
        inHand,
        delayed,
        oldestPendingId: olderOf(group.oldestPendingId, oldestInHandId),
      };
    }),
  }));
}

function olderOf(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return compareIds(a, b) < 0 ? a : b;
}

export function decodeFigures(name: string, reply: Reply): OpenFigures {
  const [
    length,
    lastGenerated,
    first = null,
    last = null,
    added = null,
    deleted = null,
    rows,
    scheduled = null,
    due = null,
  ] = asArray(reply);
  const stream = {
    name,
    length: asNumber(length),
    firstId: asTextOrNull(first),
    lastId: asTextOrNull(last),
    lastGeneratedId: asText(lastGenerated),
    scheduled: countOr0(scheduled),
    scheduledDueMs: due === null ? null : countOr0(due),
  };
  const facts = { ...stream, added: asNumberOrNull(added), maxDeletedId: asTextOrNull(deleted) };
  const decoded = asArray(rows).map((row) => decodeGroup(row, facts));
  const groups = [...new Map(decoded.map((group) => [group.name, group])).values()];
  return { stream, groups, unnamed: decoded.length - groups.length };
}

type Facts = Omit<StreamFigures, "groups"> & Pick<StreamFacts, "added" | "maxDeletedId">;

function decodeGroup(row: Reply, stream: Facts): OpenGroup {
  const [name, consumers, pending, delivered, readReply, lag, oldest, countedReply = null, dead, side] = asArray(row);
  const lastDeliveredId = asText(delivered);
  const lastId = stream.lastGeneratedId === "0-0" ? null : stream.lastGeneratedId;
  const [read, counted] = [asNumberOrNull(readReply), asTextOrNull(countedReply)];
  return {
    name: asText(name),
    consumers: asNumber(consumers),
    pending: asNumber(pending),
    lastDeliveredId,
    entriesRead: read,
    ...findLag({ lag: asNumberOrNull(lag), read, lastDeliveredId, counted }, { ...stream, lastId }),
    oldestPendingId: asTextOrNull(oldest),
    hasDeadLetters: dead === 1,
    hasSideStore: side === 1,
  };
}
