import type { Reply } from "../redis/connection.ts";
import { asArray, asNumber, asNumberOrNull, asText, asTextOrNull } from "../redis/reply.ts";
import { decodeGroupFacts } from "../redis/xinfo.ts";
import { messageStatesScript } from "../scripts/message-states.lua.ts";
import { unknownMessage } from "./messages.ts";
import { unwrapOfStream } from "./missing.ts";
import { GROUP_DEFAULTS } from "./settings.ts";
import { type EventStream, groupKeys } from "./stream.ts";

/**
 * Where a group is with a message: not handed to it yet; in somebody's hands; to come back; among its dead letters; or done
 * (acknowledged, passed over, or its dead letter is gone).
 */
export const MESSAGE_STATES = ["waiting", "pending", "delayed", "dead", "done"] as const;

export interface MessageState {
  readonly group: string;
  readonly state: (typeof MESSAGE_STATES)[number];
  /** Who has it in hand, or had it last. */
  readonly consumer: string | null;
  readonly deliveries: number | null;
  readonly leaseEndsAt: number | null;
  readonly dueAt: number | null;
  readonly deadLetterId: string | null;
  readonly reason: string | null;
}

/** Groups that one step asks about. */
const GROUPS_AT_ONCE = 20;

/**
 * Tells where each group is with one message, also when the stream no longer holds it.
 * @returns a row for each group by name; two or more where the message was replayed to it
 * @throws {WeirError} `unknown-stream`; `unknown-message` when neither the stream nor any group has it
 */
export async function messageStates(stream: EventStream, id: string): Promise<readonly MessageState[]> {
  const { redis, keys } = stream;
  const [infos] = await redis.pipeline([["XINFO", "GROUPS", keys.stream]]);
  const groups = decodeGroupFacts(unwrapOfStream(stream, infos))
    .map(({ name }) => name)
    .sort();
  const calls = [];
  // At least one, which tells whether the stream has the message.
  for (let i = 0; i === 0 || i < groups.length; i += GROUPS_AT_ONCE) {
    calls.push(statesCall(stream, id, groups.slice(i, i + GROUPS_AT_ONCE)));
  }
  const answers = (await redis.pipeline(calls)).map((outcome) => asArray(unwrapOfStream(stream, outcome)));
  const states = answers.flatMap(([, rows]) => asArray(rows).map(decodeState));
  const isThere = answers.some(([found]) => asNumber(found) === 1);
  const isKnown = isThere || states.some(({ state }) => state !== "waiting" && state !== "done");
  if (!isKnown) throw unknownMessage(stream, id);
  return states;
}

function statesCall(stream: EventStream, id: string, groups: readonly string[]) {
  const { keys } = stream;
  return {
    script: messageStatesScript,
    // Of each group its dead letters, its side store, and the index of its dead letters.
    keys: [keys.stream, keys.config, keys.clock, ...groups.flatMap((group) => groupKeys(stream, group).slice(2, 6))],
    args: [id, GROUP_DEFAULTS.ackWaitMs, ...groups],
  };
}

function decodeState(row: Reply): MessageState {
  const [group, state, consumer = null, deliveries = null, leaseEnds = null, due = null, letter = null, reason = null] =
    asArray(row);
  return {
    group: asText(group),
    state: MESSAGE_STATES.find((one) => one === state) ?? "done",
    consumer: asTextOrNull(consumer) || null,
    deliveries: asNumberOrNull(deliveries),
    leaseEndsAt: asNumberOrNull(leaseEnds),
    dueAt: asNumberOrNull(due),
    deadLetterId: asTextOrNull(letter),
    reason: asTextOrNull(reason) || null,
  };
}
