import { type StreamKeys, streamKeys } from "../keys.ts";
import { type Reply, ReplyError } from "../redis/connection.ts";
import type { Redis } from "../redis/redis.ts";
import { asArray, asNumber, asNumberOrNull, asText, asTextOrNull } from "../redis/reply.ts";
import type { ScriptCall } from "../redis/script.ts";
import { streamFiguresScript } from "../scripts/stream-figures.lua.ts";
import { findLag, type GroupInfo } from "./inspect.ts";
import { isNoSuchKey } from "./missing.ts";
import { registeredNames } from "./registry.ts";

/** A stream's figures, without any payload. */
export interface StreamFigures {
  readonly name: string;
  readonly length: number;
  readonly firstId: string | null;
  /** The id of the last message that is there. */
  readonly lastId: string | null;
  /** The last id that was given out; "0-0" before the first. */
  readonly lastGeneratedId: string;
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

/** Streams in one round trip. With {@link MAX_STREAMS}, 40 of the 50 round trips of the free plan. */
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
  for (let i = 0; i < names.length; i += STREAMS_AT_ONCE) {
    const some = names.slice(i, i + STREAMS_AT_ONCE);
    const outcomes = await redis.pipeline(some.map((name) => figuresCall(streamKeys(keyPrefix, name))));
    for (const [at, name] of some.entries()) {
      const outcome = outcomes[at] ?? null;
      if (!(outcome instanceof ReplyError)) {
        const { figures, unnamed } = decodeFigures(name, outcome);
        streams.push(figures);
        errors += unnamed;
        // No stream yet, or no longer: about to be created or forgotten.
      } else if (!isNoSuchKey(outcome)) errors += 1;
    }
  }
  return { streams, registered, errors };
}

/** Reads the figures of one stream and of all its groups. */
export function figuresCall(keys: StreamKeys): ScriptCall {
  return { script: streamFiguresScript, keys: [keys.stream], args: [keys.dead(""), keys.againDue("")] };
}

/** @returns the figures, and how many groups are left out: names that are not UTF-8 may look like another's */
export function decodeFigures(name: string, reply: Reply): { figures: StreamFigures; unnamed: number } {
  const [length, lastGenerated, first = null, last = null, rows] = asArray(reply);
  const stream = {
    name,
    length: asNumber(length),
    firstId: asTextOrNull(first),
    lastId: asTextOrNull(last),
    lastGeneratedId: asText(lastGenerated),
  };
  const decoded = asArray(rows).map((row) => decodeGroup(row, stream));
  const groups = [...new Map(decoded.map((group) => [group.name, group])).values()];
  return { figures: { ...stream, groups }, unnamed: decoded.length - groups.length };
}

function decodeGroup(row: Reply, { length, firstId, lastGeneratedId }: Omit<StreamFigures, "groups">): GroupFigures {
  const [name, consumers, pending, delivered, entriesRead, lag, oldest, deadLetters, inHand, delayed] = asArray(row);
  const lastDeliveredId = asText(delivered);
  const lastId = lastGeneratedId === "0-0" ? null : lastGeneratedId;
  return {
    name: asText(name),
    consumers: asNumber(consumers),
    pending: asNumber(pending),
    lastDeliveredId,
    entriesRead: asNumberOrNull(entriesRead),
    ...findLag({ lag: asNumberOrNull(lag), lastDeliveredId }, { length, firstId, lastId }),
    oldestPendingId: asTextOrNull(oldest),
    deadLetters: asNumber(deadLetters),
    inHand: asNumber(inHand),
    delayed: asNumber(delayed),
  };
}
