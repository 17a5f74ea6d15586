import { asArray, asNumber, asText, asTextOrNull } from "../redis/reply.ts";
import { replayScript } from "../scripts/replay.lua.ts";
import { seekScript } from "../scripts/seek.lua.ts";
import { sendToGroup } from "./missing.ts";
import { lastReadBefore, type Position, rangeBound } from "./position.ts";
import { inSteps, type Progress } from "./steps.ts";
import type { EventStream } from "./stream.ts";

/** Two ways for a group to get messages again: move its cursor, or copy them into its side store. */

/**
 * Moves where a group reads on. What was handed out before stays pending.
 * @returns the id up to which the group has read now
 * @throws {WeirError} `unknown-stream`, `unknown-group`
 */
export async function seek(stream: EventStream, group: string, to: Position): Promise<string> {
  const call = {
    script: seekScript,
    keys: [stream.keys.stream, stream.keys.config],
    args: [group, lastReadBefore(to)],
  };
  return asText(await sendToGroup(stream, group, call));
}

export interface GroupReplay {
  /** Which messages; otherwise those of the range. */
  readonly ids?: readonly string[] | undefined;
  readonly start?: Position | undefined;
  readonly end?: Position | undefined;
  /** Only those of this event type. */
  readonly type?: string | undefined;
  readonly limit: number;
  /** The last id that the request before looked at. */
  readonly cursor?: string | undefined;
  /** Counts only. */
  readonly dryRun?: boolean;
}

/**
 * Hands messages of the stream to this group again, from delivery 1; its cursor stays, and no other group notices.
 * @returns how many (ids that the stream does not hold count nothing), and where to go on
 * @throws {WeirError} `unknown-stream`, `unknown-group`; `conflict` when a key of the group holds another type of value
 */
export async function replayToGroup(stream: EventStream, group: string, request: GroupReplay): Promise<Progress> {
  const { ids, start, end, type = "", limit, cursor, dryRun = false } = request;
  const { keys } = stream;
  const which = ids === undefined ? { from: rangeBound(start, "-"), to: rangeBound(end, "+") } : { ids };
  return inSteps(which, cursor, limit, async (max, ...selection) => {
    const call = {
      script: replayScript,
      keys: [keys.stream, keys.config, keys.again(group), keys.againDue(group), keys.clock],
      args: [group, type, max, dryRun ? 1 : 0, ...selection],
    };
    const [count, last = null] = asArray(await sendToGroup(stream, group, call));
    return { count: asNumber(count), last: asTextOrNull(last) };
  });
}
