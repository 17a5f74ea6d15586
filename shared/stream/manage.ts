import { WeirError } from "../errors.ts";
import { asText, asTextOrNull } from "../redis/reply.ts";
import { configureGroupScript } from "../scripts/configure-group.lua.ts";
import { configureStreamScript } from "../scripts/configure-stream.lua.ts";
import { deleteGroupScript } from "../scripts/delete-group.lua.ts";
import { deleteStreamScript } from "../scripts/delete-stream.lua.ts";
import { type StreamInfo, streamInfo } from "./inspect.ts";
import { unknownGroup, unknownStream } from "./missing.ts";
import { lastReadBefore, nameOfStart, type Position } from "./position.ts";
import { forgetCall, registerCall } from "./registry.ts";
import {
  type ALERT_FIELDS,
  GROUP_DEFAULTS,
  GROUP_FIELDS,
  type GroupMetric,
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
  await redis.send(registerCall(stream, nowMs));
  const call = { script: configureStreamScript, keys: [keys.stream, keys.config] };
  const created = await redis
    .send({ ...call, args: [crypto.randomUUID(), ...patchArguments(patch)] })
    .catch(async (error: unknown) => {
      // Only streams may stay in the list of streams.
      if (error instanceof WeirError && error.code === "conflict") {
        await redis.send(forgetCall(stream, String(nowMs)));
      }
      throw error;
    });
  return { created: created === 1, info: await streamInfo(stream) };
}

/**
 * Deletes a stream with its groups, settings and dead letters.
 * @throws {WeirError} `unknown-stream`
 */
export async function deleteStream(stream: EventStream): Promise<void> {
  const { redis, registry, name } = stream;
  const registered = asTextOrNull(await redis.send(["ZSCORE", registry, name]));
  const deleted = await deleteNaming(stream, []);
  // The registry last: a crash in between leaves a name that the reaper forgets. A PUT in between registers it anew.
  if (registered !== null) await redis.send(forgetCall(stream, registered));
  if (!deleted) throw unknownStream(stream);
}

/**
 * A script may touch only keys that it is given, and those of a group hold its name: which groups there are, it tells.
 * @returns whether there was a stream
 */
async function deleteNaming(stream: EventStream, groups: readonly string[]): Promise<boolean> {
  const { keys } = stream;
  const ofGroups = groups.flatMap((group) => groupKeys(stream, group).slice(2, 6));
  const answer = await stream.redis.send({
    script: deleteStreamScript,
    keys: [keys.stream, keys.config, keys.clock, ...ofGroups],
    args: groups,
  });
  if (!Array.isArray(answer)) return answer === 1;
  return deleteNaming(stream, [...groups, ...answer.map(asText)]);
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
  const { keys } = stream;
  const fields = Object.fromEntries(Object.entries(patch).map(([name, value]) => [`${name}:${group}`, value]));
  const outcome = await stream.redis.send({
    script: configureGroupScript,
    keys: [keys.stream, keys.config, keys.again(group), keys.againDue(group), keys.clock],
    args: [
      group,
      nameOfStart(start),
      lastReadBefore(start),
      // Its dead letters stay: nobody asked to delete them.
      JSON.stringify(GROUP_FIELDS.filter((field) => field !== "deadSince")),
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

/** @throws {WeirError} `unknown-stream`, `unknown-group` */
export async function deleteGroup(stream: EventStream, group: string): Promise<void> {
  const outcome = await stream.redis.send({
    script: deleteGroupScript,
    keys: groupKeys(stream, group),
    args: [group, ...GROUP_FIELDS],
  });
  if (outcome === "unknown-stream") throw unknownStream(stream);
  if (outcome === "unknown-group") throw unknownGroup(stream, group);
}
