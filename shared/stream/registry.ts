import { registryKey, streamKeys } from "../keys.ts";
import { type Command, type Outcome, ReplyError } from "../redis/connection.ts";
import { type Call, type Redis, unwrap } from "../redis/redis.ts";
import { asArray, asNumber, asText } from "../redis/reply.ts";
import type { ScriptCall } from "../redis/script.ts";
import { forgetStreamScript } from "../scripts/forget-stream.lua.ts";
import { noteVisitsScript } from "../scripts/note-visits.lua.ts";
import { type Page, type PageQuery, pageByName } from "./page.ts";
import { countOr0 } from "./settings.ts";
import { type EventStream, openStream } from "./stream.ts";

/**
 * The registry: every stream's name, by the time of the reaper's next visit. A stream is registered before it is created
 * and forgotten after it was deleted: what a crash leaves in between is a name that the reaper forgets, never a stream
 * that it does not know.
 */

/** A registered stream, with the time (ms, as Redis wrote it) at which it is to be visited. */
export interface RegisteredStream {
  readonly stream: EventStream;
  readonly dueMs: string;
}

/** @param nowMs when the reaper may visit it first */
export function registerCall({ registry, name }: EventStream, nowMs: number): Command {
  return ["ZADD", registry, nowMs, name];
}

/** Answers when the reaper is to visit it; null when it is not registered. */
export function scoreCall({ registry, name }: EventStream): Command {
  return ["ZSCORE", registry, name];
}

/** Takes a name off the registry, unless it was registered anew since. */
export function forgetCall({ registry, name }: EventStream, registeredFor: string): ScriptCall {
  return { script: forgetStreamScript, keys: [registry], args: [name, registeredFor] };
}

/** Lets the reaper's next run visit the stream, however quiet it is. */
export async function visitSoon({ redis, registry, name }: EventStream, nowMs: number): Promise<void> {
  await redis.send(["ZADD", registry, "XX", nowMs, name]);
}

/**
 * Has a stream visited by then, also where the reaper is visiting it just now and has not seen what is due then: so the time
 * is touched in any case, and the reaper leaves one that has changed since it was read (see {@link noteVisits}). To be sent
 * behind what is due, never before.
 */
export function visitByCalls({ registry, name }: EventStream, atMs: number): Command[] {
  return [
    ["ZADD", registry, "XX", "LT", atMs, name],
    // Answers null where the name is not there.
    ["ZADD", registry, "XX", "INCR", TOUCH_MS, name],
  ];
}

/** The least that changes a time as Redis keeps it, a double, for the next thousands of years. */
const TOUCH_MS = 0.001;

/** When to visit a stream next. */
export interface Visit {
  readonly name: string;
  /** What the registry said when the stream was looked up. */
  readonly seenMs: string;
  readonly atMs: number;
}

const VISITS_AT_ONCE = 1_000;

/**
 * Notes when to visit streams next. What others have noted since they were looked up stays where it is sooner; by a script,
 * which costs two commands more, only where a stream is put off.
 * @param nowMs by when a visit is not put off
 * @returns the first error, or null
 */
export async function noteVisits(
  redis: Redis,
  keyPrefix: string,
  visits: readonly Visit[],
  nowMs: number,
): Promise<Outcome> {
  const registry = registryKey(keyPrefix);
  const soon = visits.filter(({ atMs }) => atMs <= nowMs);
  const putOff = visits.filter(({ atMs }) => atMs > nowMs);
  // XX: a stream that was deleted meanwhile must not come back as a name.
  const calls: Call[] =
    soon.length === 0 ? [] : [["ZADD", registry, "XX", ...soon.flatMap(({ name, atMs }) => [atMs, name])]];
  for (let i = 0; i < putOff.length; i += VISITS_AT_ONCE) {
    const args = putOff.slice(i, i + VISITS_AT_ONCE).flatMap(({ name, seenMs, atMs }) => [name, seenMs, atMs]);
    calls.push({ script: noteVisitsScript, keys: [registry], args });
  }
  const outcomes = await redis.pipeline(calls);
  return outcomes.find((outcome) => outcome instanceof ReplyError) ?? null;
}

/** Lists the streams by name; a key that another client put a value of another type into is no stream. */
export async function listStreams(
  redis: Redis,
  keyPrefix: string,
  query: PageQuery,
): Promise<Page<{ name: string; length: number; scheduled: number }>> {
  const names = asArray(await redis.send(["ZRANGE", registryKey(keyPrefix), 0, -1])).map(asText);
  const { items, next } = pageByName(
    names.map((name) => ({ name })),
    query,
  );
  const figures = await redis.pipeline(
    items.flatMap(({ name }): Command[] => {
      const keys = streamKeys(keyPrefix, name);
      return [
        ["XLEN", keys.stream],
        ["HMGET", keys.config, "scheduled"],
      ];
    }),
  );
  const streams = items.flatMap(({ name }, i) => {
    const [length, scheduled] = figures.slice(2 * i, 2 * i + 2);
    return typeof length === "number" ? [{ name, length, scheduled: readScheduled(scheduled) }] : [];
  });
  return { items: streams, next };
}

/** A key of another type there counts as none. */
function readScheduled(outcome: Outcome | undefined): number {
  return Array.isArray(outcome) ? countOr0(outcome[0]) : 0;
}

/**
 * The names that are registered, those first that are due first.
 * @returns at most `max` of them, and how many there are
 */
export async function registeredNames(
  redis: Redis,
  keyPrefix: string,
  max: number,
): Promise<{ names: readonly string[]; registered: number }> {
  const registry = registryKey(keyPrefix);
  const [names, registered] = (
    await redis.pipeline([
      ["ZRANGE", registry, 0, max - 1],
      ["ZCARD", registry],
    ])
  ).map(unwrap);
  return { names: asArray(names).map(asText), registered: asNumber(registered) };
}

/**
 * The streams to visit, the one that has waited longest first.
 * @param dueAtMs those due by then; Infinity: all
 */
export async function dueStreams(
  redis: Redis,
  keyPrefix: string,
  dueAtMs: number,
  max: number,
): Promise<RegisteredStream[]> {
  const until = dueAtMs === Number.POSITIVE_INFINITY ? "+inf" : dueAtMs;
  const range: Command = ["ZRANGEBYSCORE", registryKey(keyPrefix), "-inf", until, "WITHSCORES", "LIMIT", 0, max];
  const flat = asArray(await redis.send(range)).map(asText);
  return flat.flatMap((name, i) =>
    i % 2 === 0 ? [{ stream: openStream(redis, keyPrefix, name), dueMs: flat[i + 1] ?? "0" }] : [],
  );
}

/** @returns those of the streams that are not registered: they were deleted */
export async function unregisteredOf(
  redis: Redis,
  keyPrefix: string,
  names: ReadonlySet<string>,
): Promise<Set<string>> {
  const listed = [...names];
  const registry = registryKey(keyPrefix);
  const scores = await redis.pipeline(listed.map((name): Command => ["ZSCORE", registry, name]));
  return new Set(listed.filter((_, i) => unwrap(scores[i] ?? null) === null));
}
