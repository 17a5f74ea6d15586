import { WeirError } from "../errors.ts";
import { asArray, asNumber, asText } from "../redis/reply.ts";
import { listConsumersScript } from "../scripts/list-consumers.lua.ts";
import { removeConsumerScript } from "../scripts/remove-consumer.lua.ts";
import { sendToGroup } from "./missing.ts";
import { type Page, type PageQuery, pageByName } from "./page.ts";
import { GROUP_DEFAULTS } from "./settings.ts";
import { type EventStream, groupKeys } from "./stream.ts";

export interface ConsumerInfo {
  readonly name: string;
  /** What it has in hand, as the group's `pending` counts it. */
  readonly pending: number;
  /** Since it was handed something, or asked for new messages. */
  readonly idleMs: number;
}

/**
 * Lists a group's consumers by name.
 * @throws {WeirError} `unknown-stream`, `unknown-group`
 */
export async function listConsumers(stream: EventStream, group: string, query: PageQuery): Promise<Page<ConsumerInfo>> {
  const { keys } = stream;
  const reply = await sendToGroup(stream, group, {
    script: listConsumersScript,
    keys: [keys.stream, keys.config, keys.againDue(group), keys.clock],
    args: [group, GROUP_DEFAULTS.ackWaitMs],
  });
  const consumers = asArray(reply).map((row) => {
    const [name, pending, idleMs] = asArray(row);
    return { name: asText(name), pending: asNumber(pending), idleMs: asNumber(idleMs) };
  });
  return pageByName(consumers, query);
}

/**
 * Removes a consumer. What it holds goes to another one, which gets it by `recover`; without one it is held to be
 * handed out at once. No delivery is charged.
 * @returns how many messages it held
 * @throws {WeirError} `unknown-stream`, `unknown-group`, `unknown-consumer`; `invalid-request` for a handover to itself
 */
export async function removeConsumer(
  stream: EventStream,
  group: string,
  consumer: string,
  handoverTo?: string,
): Promise<number> {
  if (handoverTo === consumer) {
    throw new WeirError("invalid-request", "handoverTo: expected another consumer than the one to remove");
  }
  const args = [group, consumer, handoverTo ?? "", GROUP_DEFAULTS.ackWaitMs];
  // Some thousands a call: a consumer may hold any number, and Redis must not be blocked for long.
  for (let handedOver = 0; ; ) {
    const call = { script: removeConsumerScript, keys: groupKeys(stream, group), args };
    const [count, more] = asArray(await sendToGroup(stream, group, call));
    if (count === "unknown-consumer" && handedOver === 0) {
      throw new WeirError("unknown-consumer", `the group "${group}" has no consumer "${consumer}"`);
    }
    if (count !== "unknown-consumer") handedOver += asNumber(count);
    if (more !== 1) return handedOver;
  }
}
