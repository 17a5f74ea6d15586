import { registryKey, streamKeys } from "../keys.ts";
import type { Command, Outcome } from "../redis/connection.ts";
import { type Redis, unwrap } from "../redis/redis.ts";
import { asArray, asNumber, asText } from "../redis/reply.ts";
import type { ScriptCall } from "../redis/script.ts";
import { forgetStreamScript } from "../scripts/forget-stream.lua.ts";
import { type Page, type PageQuery, pageByName } from "./page.ts";
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
 * Notes when to visit streams next.
 * @param visits XX: a stream that was deleted meanwhile must not come back as a name
 */
export async function noteVisits(
  redis: Redis,
  keyPrefix: string,
  visits: readonly { readonly name: string; readonly atMs: number }[],
): Promise<Outcome> {
  if (visits.length === 0) return null;
  const scores = visits.flatMap(({ name, atMs }) => [atMs, name]);
  const [outcome = null] = await redis.pipeline([["ZADD", registryKey(keyPrefix), "XX", ...scores]]);
  return outcome;
}

/** Lists the streams by name; a key that another client put a value of another type into is no stream. */
export async function listStreams(
  redis: Redis,
  keyPrefix: string,
  query: PageQuery,
): Promise<Page<{ name: string; length: number }>> {
  const names = asArray(await redis.send(["ZRANGE", registryKey(keyPrefix), 0, -1])).map(asText);
  const { items, next } = pageByName(
    names.map((name) => ({ name })),
    query,
  );
  const lengths = await redis.pipeline(items.map(({ name }): Command => ["XLEN", streamKeys(keyPrefix, name).stream]));
  const streams = items.flatMap(({ name }, i) => {
    const length = lengths[i];
    return typeof length === "number" ? [{ name, length }] : [];
  });
  return { items: streams, next };
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
