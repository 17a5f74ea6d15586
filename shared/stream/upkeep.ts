import type { Reply } from "../redis/connection.ts";
import { asArray, asNumber } from "../redis/reply.ts";
import type { ScriptCall } from "../redis/script.ts";
import { noteCountsScript } from "../scripts/note-counts.lua.ts";
import { removeIdleConsumersScript } from "../scripts/remove-idle-consumers.lua.ts";
import { sweepScript } from "../scripts/sweep.lua.ts";
import { GROUP_DEFAULTS } from "./settings.ts";
import { type EventStream, groupKeys } from "./stream.ts";

/** The steps of upkeep as calls, so that the reaper can put those of many streams into one round trip. */

/** Pending entries that one sweep step looks at: about 0.4 ms of Redis' time. */
const SWEEP_SLICE = 1_000;

export interface Swept {
  readonly expired: number;
  readonly deadLettered: number;
  readonly payloadMissing: number;
  readonly more: boolean;
}

/** Consumers from which on a sweep step does not walk through all of them: 2,000 take Redis a millisecond. */
const MANY_CONSUMERS = 2_000;

/**
 * Takes expired deliveries off dead consumers, and messages without another try to the dead letters.
 * @param consumers how many the group has
 */
export function sweepCall(stream: EventStream, group: string, consumers: number): ScriptCall {
  const { ackWaitMs, maxDeliveries } = GROUP_DEFAULTS;
  const hasMany = consumers > MANY_CONSUMERS ? 1 : 0;
  return {
    script: sweepScript,
    keys: groupKeys(stream, group),
    args: [group, SWEEP_SLICE, ackWaitMs, maxDeliveries, hasMany, Math.random()],
  };
}

export function decodeSwept(reply: Reply): Swept {
  const [expired = 0, deadLettered = 0, payloadMissing = 0, more] = asArray(reply).map(asNumber);
  return { expired, deadLettered, payloadMissing, more: more === 1 };
}

/**
 * Notes up to where Redis counts rightly what a group has read, and what it has lost to other clients' trims. Answers how many
 * messages.
 */
export function noteCountsCall({ keys }: EventStream, group: string): ScriptCall {
  return { script: noteCountsScript, keys: [keys.stream, keys.config], args: [group] };
}

/**
 * Removes those of the named consumers that hold nothing. Answers how many.
 * @param isLast whether that was all there is to remove for now
 */
export function removeIdleConsumersCall(
  { keys }: EventStream,
  group: string,
  consumers: readonly string[],
  { nowMs, isLast }: { nowMs: number; isLast: boolean },
): ScriptCall {
  const args = [group, isLast ? nowMs : "", ...consumers];
  return { script: removeIdleConsumersScript, keys: [keys.stream, keys.config, keys.againDue(group)], args };
}
