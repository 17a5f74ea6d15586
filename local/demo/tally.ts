// Who saw what, by id; and the reckoning: whatever was produced must have arrived, in each group.
import type { DeadLetter, Delivery, GroupState, Message } from "./api.ts";
import { Usage } from "./usage.ts";
import type { Webhook } from "./webhook-api.ts";

/** @returns what GitHub names the delivery by that became this message */
export function deliveryOf({ attributes }: Pick<Message, "attributes">): string {
  return String(attributes["webhook-id"]);
}

/** What the producer and the consumers of each group have done so far. */
export class Tally {
  readonly producing = new Usage();
  readonly groups: ReadonlyMap<string, GroupTally>;
  /** Payloads as JSON text, by id. */
  readonly payloads = new Map<string, string>();

  /** @param maxDeliveries of each group, by name */
  constructor(maxDeliveries: Readonly<Record<string, number>>) {
    this.groups = new Map(Object.entries(maxDeliveries).map(([group, most]) => [group, new GroupTally(most)]));
  }

  group(name: string): GroupTally {
    const group = this.groups.get(name);
    if (group === undefined) throw new Error(`no group ${name} in the tally`);
    return group;
  }

  /**
   * @param ids the messages' ids, by delivery
   * @throws Error when one of the webhooks became no message
   */
  produced(ids: ReadonlyMap<string, string>, webhooks: readonly Webhook[]): void {
    for (const { delivery, body } of webhooks) {
      const id = ids.get(delivery);
      if (id === undefined) throw new Error(`the webhook ${delivery} is not in the stream`);
      this.payloads.set(id, body);
    }
  }
}

/** What the consumers of one group have seen. */
export class GroupTally {
  readonly usage = new Usage();
  /** Deliveries that were not a message's first one. */
  redelivered = 0;
  /** Messages that were acknowledged at the last delivery that they are permitted. */
  saved = 0;
  /** Payloads as they were handed out, by id. */
  readonly acknowledgedPayloads = new Map<string, string>();
  readonly #maxDeliveries: number;

  constructor(maxDeliveries: number) {
    this.#maxDeliveries = maxDeliveries;
  }

  delivered(messages: readonly Delivery[]): void {
    this.redelivered += messages.filter(({ deliveries }) => deliveries > 1).length;
  }

  acknowledged(messages: readonly Delivery[]): void {
    for (const { id, data } of messages) this.acknowledgedPayloads.set(id, JSON.stringify(data));
    this.saved += messages.filter(({ deliveries }) => deliveries === this.#maxDeliveries).length;
  }
}

/** How a group came out. Ids in the lists; `leftOver` counts messages, a lag that nobody knows as one. */
export interface Outcome {
  readonly acknowledged: readonly string[];
  readonly deadLettered: readonly string[];
  /** Dead letters other than the one that was to be expected. */
  readonly innocent: readonly string[];
  /** Neither acknowledged nor among the dead letters, or there with another payload than what was produced. */
  readonly lost: readonly string[];
  readonly leftOver: number;
}

/**
 * Holds what was produced against what became of it in one group.
 *
 * @param produced payloads as JSON text, by id
 * @param acknowledged payloads as handed out, by id
 * @param poison the id of the message that is expected among the dead letters
 */
export function reckon(
  produced: ReadonlyMap<string, string>,
  acknowledged: ReadonlyMap<string, string>,
  deadLetters: readonly Pick<DeadLetter, "messageId" | "data">[],
  { lag, pending, delayed }: GroupState,
  poison: string | undefined,
): Outcome {
  const dead = new Map(deadLetters.map(({ messageId, data }) => [messageId, JSON.stringify(data)]));
  const arrived = ([id, payload]: readonly [string, string]) =>
    dead.has(id) ? dead.get(id) === payload : acknowledged.get(id) === payload;
  return {
    // Acknowledged too late, after it went to the dead letters: there it is.
    acknowledged: [...acknowledged.keys()].filter((id) => !dead.has(id)),
    deadLettered: [...dead.keys()],
    innocent: [...dead.keys()].filter((id) => id !== poison),
    lost: [...produced].filter((entry) => !arrived(entry)).map(([id]) => id),
    leftOver: (lag ?? 1) + pending + delayed,
  };
}

/** Whether everything arrived and nothing is left to do. */
export function nothingMissing(outcomes: Iterable<Outcome>): boolean {
  return [...outcomes].every(({ lost, leftOver }) => lost.length === 0 && leftOver === 0);
}
