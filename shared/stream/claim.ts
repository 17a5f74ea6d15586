import { WeirError } from "../errors.ts";
import { leaseFormat } from "../lease.ts";
import { asArray, asNumber } from "../redis/reply.ts";
import { claimScript } from "../scripts/claim.lua.ts";
import { BATCH_BYTES, DeliveryReader } from "./delivery.ts";
import { sendToGroup } from "./missing.ts";
import { GROUP_DEFAULTS } from "./settings.ts";
import { type EventStream, groupKeys } from "./stream.ts";

export interface ClaimRequest {
  readonly consumer: string;
  /** Which messages; undefined: those that have been idle for long enough. */
  readonly ids?: readonly string[] | undefined;
  /** How long they must have been idle; undefined: the group's `ackWaitMs`. */
  readonly minIdleMs?: number | undefined;
  /** Allows less than `ackWaitMs`, and so to take a message from a consumer that may be working on it. */
  readonly force: boolean;
  readonly limit: number;
}

/**
 * Hands pending messages to a consumer by hand, charging a delivery each.
 * @returns messages as JSON texts, with their leases
 * @throws {WeirError} `unknown-stream`, `unknown-group`; `invalid-request` when a running lease would be broken without
 *   `force`
 */
export async function claim(stream: EventStream, group: string, request: ClaimRequest): Promise<readonly string[]> {
  const { consumer, ids = [], minIdleMs, force, limit } = request;
  const { ackWaitMs, maxDeliveries } = GROUP_DEFAULTS;
  const defaults = [ackWaitMs, maxDeliveries];
  const args = [group, consumer, minIdleMs ?? -1, force ? 1 : 0, limit, BATCH_BYTES, ...defaults, ...ids];
  const call = { script: claimScript, keys: groupKeys(stream, group).slice(0, 3), args };
  const [outcome, entries, earlier] = asArray(await sendToGroup(stream, group, call));
  if (outcome === "claimed")
    return new DeliveryReader(leaseFormat(stream.name, group), consumer).again(entries, earlier);
  const message = `expected at least the group's ackWaitMs of ${asNumber(entries)}, or force, got ${minIdleMs}`;
  throw new WeirError("invalid-request", message, { errors: [{ path: "minIdleMs", message }] });
}
