import { WeirError } from "../errors.ts";
import { ReplyError } from "../redis/connection.ts";
import { asWeirError, unwrap } from "../redis/redis.ts";
import { asArray, asNumber, asText, asTextOrNull } from "../redis/reply.ts";
import type { ScriptCall } from "../redis/script.ts";
import { adoptStreamScript } from "../scripts/adopt-stream.lua.ts";
import { configureGroupScript } from "../scripts/configure-group.lua.ts";
import { configureStreamScript } from "../scripts/configure-stream.lua.ts";
import { deleteGroupScript } from "../scripts/delete-group.lua.ts";
import { deleteStreamScript } from "../scripts/delete-stream.lua.ts";
import { bucketKeys } from "./buckets.ts";
import { decodeStreamInfo, type StreamInfo, streamInfoCalls } from "./inspect.ts";
import { isNoSuchKey, unknownGroup, unknownStream } from "./missing.ts";
import { lastReadBefore, nameOfStart, type Position } from "./position.ts";
import { forgetCall, registerCall, scoreCall } from "./registry.ts";
import {
  type ALERT_FIELDS,
  GROUP_DEFAULTS,
  GROUP_FIELDS,
  type GroupMetric,
  newIncarnation,
  type Patch,
  patchArguments,
} from "./settings.ts";
import { type EventStream, groupKeys } from "./stream.ts";

export type StreamPatch = Patch<
  | "maxAgeMs"
  | "maxLength"
  | "unfinished"
  | "deleteAcknowledged"
  | "deadLetterMaxAgeMs"
  | "maxMessageBytes"
  | "dedupeWindowMs"
>;
export type GroupPatch = Patch<
  "ackWaitMs" | "maxDeliveries" | "backoffMinMs" | "backoffMaxMs" | (typeof ALERT_FIELDS)[GroupMetric]
>;

/**
 * Creates a stream, or changes the settings that the patch names; adopts a Redis stream that is there.
 * Registers it before it creates it: a crash in between leaves a name that the reaper forgets, never a stream that it
 * does not know.
 * @param nowMs when the reaper may visit it first
 * @throws {WeirError} `conflict` when the key holds another type of value
 */
export async function configureStream(
  stream: EventStream,
  patch: StreamPatch,
  nowMs: number,
): Promise<{ created: boolean; info: StreamInfo }> {
  const { redis, keys } = stream;
  const args = [crypto.randomUUID(), ...patchArguments(patch)];
  const configure = {
    script: configureStreamScript,
    keys: [keys.stream, keys.config, keys.later, keys.laterSizes],
    args,
    inTurn: true as const,
  };
  // Registered once more behind it, under a score that nobody has seen: a DELETE that comes in between forgets the name only
  // under the score that it read before, and must not forget the stream that is made here.
  const again = nowMs + Math.random();
  const [before = null, registered = null] = await redis.pipeline([scoreCall(stream), registerCall(stream, nowMs)]);
  unwrap(registered);
  const calls = [configure, registerCall(stream, again), ...streamInfoCalls(stream)];
  const [outcome = null, , ...infos] = await redis.pipeline(calls);
  if (outcome instanceof ReplyError) {
    // Only streams may stay in the list of streams; what was there before stays as it was.
    const undo = before === null ? forgetCall(stream, String(again)) : registerCall(stream, asNumber(unwrap(before)));
    if (outcome.word === "WRONGTYPE") await redis.send(undo);
    throw asWeirError(outcome);
  }
  if (outcome === "leftovers") {
    await deleteNaming(stream, await groupsInConfig(stream), "leftovers");
    return configureStream(stream, patch, nowMs);
  }
  if (infos[0] instanceof ReplyError && isNoSuchKey(infos[0])) {
    throw new WeirError("conflict", `the stream "${stream.name}" was deleted at the same time`);
  }
  return { created: outcome === 1, info: decodeStreamInfo(stream, infos) };
}

/**
 * Takes on a stream that another client has made, and that a request names: with settings of its own, and known to the
 * reaper.
 * @param nowMs when the reaper may visit it first
 * @throws {WeirError} `unknown-stream`
 */
export async function adoptStream(stream: EventStream, nowMs: number): Promise<void> {
  const adopt = { ...adoptCall(stream), inTurn: true as const };
  const [, outcome = null] = await stream.redis.pipeline([registerCall(stream, nowMs), adopt]);
  if (unwrap(outcome) !== 0) return;
  await stream.redis.send(forgetCall(stream, String(nowMs)));
  throw unknownStream(stream);
}

/** Gives a stream that is registered settings of its own, where another client has made it or has deleted them. */
export function adoptCall({ keys }: EventStream): ScriptCall {
  const adopted = [keys.stream, keys.config, keys.later, keys.laterSizes];
  return { script: adoptStreamScript, keys: adopted, args: [crypto.randomUUID()] };
}

/**
 * Deletes a stream with its groups, settings and dead letters; also what is left of one that another client has deleted or
 * renamed.
 * @throws {WeirError} `unknown-stream` when there is nothing
 */
export async function deleteStream(stream: EventStream): Promise<void> {
  const { redis } = stream;
  const registered = asTextOrNull(await redis.send(scoreCall(stream)));
  const deleted = await deleteNaming(stream, await groupsInConfig(stream), "all");
  // The registry last: a crash in between leaves a name that the reaper forgets. A PUT in between registers it anew.
  if (registered !== null) await redis.send(forgetCall(stream, registered));
  if (!deleted) throw unknownStream(stream);
}

/** The groups that the config has fields of: also those that another client has destroyed since. */
async function groupsInConfig({ redis, keys }: EventStream): Promise<string[]> {
  const fields = asArray(await redis.send(["HKEYS", keys.config])).map(asText);
  const known: ReadonlySet<string> = new Set(GROUP_FIELDS);
  const names = fields.flatMap((field) => {
    const colon = field.indexOf(":");
    return colon > 0 && known.has(field.slice(0, colon)) ? [field.slice(colon + 1)] : [];
  });
  return [...new Set(names)];
}

/**
 * A script may touch only keys that it is given, and those of a group hold its name: which groups and buckets of scheduled
 * messages there are besides, it tells.
 * @param what `leftovers`: only where the stream itself is gone
 * @returns whether there was something
 */
async function deleteNaming(
  stream: EventStream,
  groups: readonly string[],
  what: "all" | "leftovers",
  buckets: readonly string[] = [],
): Promise<boolean> {
  const { keys } = stream;
  const ofGroups = groups.flatMap((group) => groupKeys(stream, group).slice(2, 6));
  const answer = await stream.redis.send({
    script: deleteStreamScript,
    keys: [
      ...[keys.stream, keys.config, keys.clock, keys.later, keys.laterSizes],
      ...ofGroups,
      ...bucketKeys(keys, buckets),
    ],
    args: [what, groups.length, ...groups, ...buckets],
  });
  if (!Array.isArray(answer)) return answer === 1;
  const [moreGroups, moreBuckets] = answer.map((names) => asArray(names).map(asText));
  return deleteNaming(stream, [...groups, ...(moreGroups ?? [])], what, [...buckets, ...(moreBuckets ?? [])]);
}

/**
 * Creates a group, or changes the settings that the patch names.
 * @param start where it begins to read; undefined: at the end when it is created, unchanged otherwise
 * @returns whether it was created
 * @throws {WeirError} `unknown-stream`; `conflict` when the group is there with another start; `invalid-request` when the
 *   backoff would be upside down with what is set already
 */
export async function configureGroup(
  stream: EventStream,
  group: string,
  start: Position | undefined,
  patch: GroupPatch,
): Promise<{ created: boolean }> {
  const fields = Object.fromEntries(Object.entries(patch).map(([name, value]) => [`${name}:${group}`, value]));
  const outcome = await stream.redis.send({
    script: configureGroupScript,
    keys: groupKeys(stream, group),
    args: [
      group,
      nameOfStart(start),
      lastReadBefore(start),
      JSON.stringify(GROUP_FIELDS),
      newIncarnation(),
      GROUP_DEFAULTS.backoff.minMs,
      GROUP_DEFAULTS.backoff.maxMs,
      GROUP_DEFAULTS.ackWaitMs,
      ...patchArguments(fields),
    ],
  });
  if (outcome === "unknown-stream") throw unknownStream(stream);
  if (outcome === "other-start") {
    throw new WeirError("conflict", `the group "${group}" was created with another start; seek moves it`);
  }
  if (Array.isArray(outcome)) {
    const message = `expected minMs to be at most maxMs, got ${outcome.map(asText).join(" and ")}`;
    throw new WeirError("invalid-request", `backoff: ${message}`, { errors: [{ path: "backoff", message }] });
  }
  return { created: outcome === "created" };
}

/**
 * Deletes a group with its settings, side store and dead letters; also what is left of one that another client has destroyed.
 * @throws {WeirError} `unknown-stream`, `unknown-group` when there is nothing
 */
export async function deleteGroup(stream: EventStream, group: string): Promise<void> {
  const outcome = await stream.redis.send({
    script: deleteGroupScript,
    // Not the clock, which is the stream's.
    keys: groupKeys(stream, group).slice(0, 6),
    args: [group, ...GROUP_FIELDS],
  });
  if (outcome === "unknown-stream") throw unknownStream(stream);
  if (outcome === "unknown-group") throw unknownGroup(stream, group);
}
