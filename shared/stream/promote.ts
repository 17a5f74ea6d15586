import { type Reply, ReplyError, UnexpectedReply } from "../redis/connection.ts";
import { asArray, asNumber, asText } from "../redis/reply.ts";
import type { ScriptCall } from "../redis/script.ts";
import { promoteScript } from "../scripts/promote.lua.ts";
import { bucketKeys, bucketName, hourAt } from "./buckets.ts";
import type { CachedLater, SettingsCache } from "./settings-cache.ts";
import type { EventStream } from "./stream.ts";

/** Appends scheduled messages that are due: by the reaper, and by whatever passes by. Redis' clock decides. */

export interface Promoted {
  readonly redisNowMs: number;
  readonly appended: number;
  /** Whether more may be appended at once, by the buckets that are told. */
  readonly more: boolean;
  /** When the first of the rest is due; undefined: there is none. */
  readonly nextDueMs: number | undefined;
  /** The group for whose sake a stream at its `maxLength` takes no more; "": none. */
  readonly fullFor: string;
  /** Messages that are lost: another client has deleted their payloads or times. */
  readonly missing: number;
  /** Messages and buckets that another client or version has written. */
  readonly unreadable: number;
  /** Those that hold what is due. */
  readonly buckets: readonly string[];
}

/** @param buckets those that hold what is due, as far as that is known: the answer tells */
export function promoteCall({ keys }: EventStream, buckets: readonly string[], max: number): ScriptCall {
  return {
    script: promoteScript,
    keys: [keys.stream, keys.config, keys.clock, keys.later, keys.laterSizes, ...bucketKeys(keys, buckets)],
    args: [max, ...buckets],
  };
}

export function decodePromoted(reply: Reply): Promoted {
  const [redisNowMs, appended, more, next, full, missing, unreadable, buckets] = asArray(reply);
  const nextDueMs = asNumber(next);
  return {
    redisNowMs: asNumber(redisNowMs),
    appended: asNumber(appended),
    more: more === 1,
    nextDueMs: nextDueMs < 0 ? undefined : nextDueMs,
    fullFor: asText(full),
    missing: asNumber(missing),
    unreadable: asNumber(unreadable),
    buckets: asArray(buckets).map(asText),
  };
}

/** The bucket that most likely holds what is due from then on. */
export function likelyBuckets(dueMs: number): readonly string[] {
  return [bucketName(hourAt(dueMs))];
}

/** What a request that passes by appends at most, so that its client hardly notices. */
const PASSING_MAX = 200;
/** For how long requests of one isolate let be what could not be appended. */
const REST_MS = 5_000;

/** Notes when the first scheduled message is due, as a script told it by Redis' clock; below 0: there is none. */
export function noteLaterDue(stream: EventStream, cache: SettingsCache, laterDueMs: number): void {
  const known = cache.later(stream);
  if (laterDueMs >= 0 && laterDueMs < known.dueMs) cache.setLater(stream, { ...known, dueMs: laterDueMs });
}

/** Appends in passing, as a call for the pipeline of a request; undefined while nothing is known to be due. */
export function passingCall(stream: EventStream, cache: SettingsCache, nowMs: number): ScriptCall | undefined {
  const { dueMs, restUntilMs = 0, buckets = likelyBuckets(dueMs) } = cache.later(stream);
  if (dueMs > nowMs || restUntilMs > nowMs) return undefined;
  return { ...promoteCall(stream, buckets, PASSING_MAX), isAside: true };
}

/**
 * Notes what {@link passingCall} answered; an error is not the request's.
 * @param nowMs this machine's clock
 */
export function notePassing(
  stream: EventStream,
  cache: SettingsCache,
  outcome: Reply | ReplyError,
  nowMs: number,
): Promoted | undefined {
  const promoted = outcome instanceof ReplyError ? undefined : decodeOrNothing(outcome);
  if (promoted?.more) cache.setLater(stream, { dueMs: nowMs, buckets: promoted.buckets });
  else cache.setLater(stream, { ...nextTry(promoted, nowMs) });
  return promoted;
}

/** The request has done its own work: an answer that cannot be read must not hide that. */
function decodeOrNothing(reply: Reply): Promoted | undefined {
  try {
    return decodePromoted(reply);
  } catch (error) {
    if (error instanceof UnexpectedReply) return undefined;
    throw error;
  }
}

/** By this machine's clock. */
function nextTry(promoted: Promoted | undefined, nowMs: number): CachedLater {
  const { nextDueMs = Number.POSITIVE_INFINITY, redisNowMs } = promoted ?? { nextDueMs: 0, redisNowMs: 0 };
  if (nextDueMs > redisNowMs) return { dueMs: nowMs + (nextDueMs - redisNowMs) };
  // It is due, and could not be appended.
  return { dueMs: nowMs, restUntilMs: nowMs + REST_MS };
}

/**
 * Appends what a poll has found to be due.
 * @param dueMs since when
 * @param nowMs this machine's clock
 * @returns how many; whatever goes wrong is not the poll's: its messages must reach their consumer
 */
export async function promoteInPassing(
  stream: EventStream,
  cache: SettingsCache,
  dueMs: number,
  nowMs: number,
): Promise<number> {
  const { restUntilMs = 0 } = cache.later(stream);
  if (restUntilMs > nowMs) return 0;
  cache.setLater(stream, { dueMs });
  // The first answer tells the buckets, where they were guessed wrongly.
  for (let attempt = 1; attempt <= 2; attempt++) {
    const call = passingCall(stream, cache, Math.max(nowMs, dueMs));
    if (call === undefined) return 0;
    const outcome = await stream.redis.pipeline([call]).then(
      ([first = null]) => first,
      () => undefined,
    );
    if (outcome === undefined) return 0;
    const appended = notePassing(stream, cache, outcome, nowMs)?.appended ?? 0;
    if (appended > 0) return appended;
  }
  return 0;
}
