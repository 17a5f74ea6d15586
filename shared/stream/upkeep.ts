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

/** Takes expired deliveries off dead consumers, and messages without another try to the dead letters. */
export function sweepCall(stream: EventStream, group: string): ScriptCall {
  return {
    script: sweepScript,
    keys: groupKeys(stream, group),
    args: [group, SWEEP_SLICE, GROUP_DEFAULTS.ackWaitMs, GROUP_DEFAULTS.maxDeliveries],
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

/** Removes consumers that hold nothing and have not worked for that long. Answers how many. */
export function removeIdleConsumersCall(
  { keys }: EventStream,
  group: string,
  { minIdleMs, nowMs }: { minIdleMs: number; nowMs: number },
): ScriptCall {
  const args = [group, minIdleMs, nowMs];
  return { script: removeIdleConsumersScript, keys: [keys.stream, keys.config, keys.againDue(group)], args };
}
