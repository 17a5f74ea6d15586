// Who saw what, by id; and the reckoning: whatever was produced must have arrived, in each group.
import type { Delivery, Group, Message } from "../../client/index.ts";
import { Usage } from "./usage.ts";
import type { Webhook } from "./webhook-api.ts";

/** @returns what GitHub names the delivery by that became this message */
export function deliveryOf({ attributes }: Pick<Message, "attributes">): string {
  return attributes["webhook-id"] ?? "";
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
  /** Messages that were handled at the last delivery that they are permitted. */
  saved = 0;
  /** Payloads as they were handed out, by id. */
  readonly handledPayloads = new Map<string, string>();
  readonly #maxDeliveries: number;

  constructor(maxDeliveries: number) {
    this.#maxDeliveries = maxDeliveries;
  }

  delivered(messages: readonly Pick<Delivery, "deliveries">[]): void {
    this.redelivered += messages.filter(({ deliveries }) => deliveries > 1).length;
  }

  /** Whoever handled it acknowledges it; that it is settled in the end shows in what is pending then. */
  handled(messages: readonly Pick<Delivery, "id" | "data" | "deliveries">[]): void {
    for (const { id, data } of messages) this.handledPayloads.set(id, JSON.stringify(data));
    this.saved += messages.filter(({ deliveries }) => deliveries === this.#maxDeliveries).length;
  }
}

/** How a group came out. Ids in the lists; `leftOver` counts messages, a lag that nobody knows as one. */
export interface Outcome {
  readonly handled: readonly string[];
  readonly deadLettered: readonly string[];
  /** Dead letters other than the one that was to be expected. */
  readonly innocent: readonly string[];
  /** Neither handled nor among the dead letters, or there with another payload than what was produced. */
  readonly lost: readonly string[];
  readonly leftOver: number;
}

/**
 * Holds what was produced against what became of it in one group.
 *
 * @param produced payloads as JSON text, by id
 * @param handled payloads as handed out, by id
 * @param deadLettered the messages that its dead letters keep
 * @param poison the id of the message that is expected among the dead letters
 */
export function reckon(
  produced: ReadonlyMap<string, string>,
  handled: ReadonlyMap<string, string>,
  deadLettered: readonly Pick<Message, "id" | "data">[],
  { lag, pending, delayed }: Pick<Group, "lag" | "pending" | "delayed">,
  poison: string | undefined,
): Outcome {
  const dead = new Map(deadLettered.map(({ id, data }) => [id, JSON.stringify(data)]));
  const arrived = ([id, payload]: readonly [string, string]) =>
    dead.has(id) ? dead.get(id) === payload : handled.get(id) === payload;
  return {
    // Handled too late, after it went to the dead letters: there it is.
    handled: [...handled.keys()].filter((id) => !dead.has(id)),
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
