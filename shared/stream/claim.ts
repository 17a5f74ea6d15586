import { WeirError } from "../errors.ts";
import { leaseFormat } from "../lease.ts";
import { asArray, asNumber, asText } from "../redis/reply.ts";
import { claimScript } from "../scripts/claim.lua.ts";
import { BATCH_BYTES, DeliveryReader } from "./delivery.ts";
import { inTime, type Waiting } from "./in-time.ts";
import { sendToGroup } from "./missing.ts";
import { GROUP_DEFAULTS, readIncarnation } from "./settings.ts";
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

/** Redis' pending entries that one step looks at: 3.4 ms. */
const SLICE = 5_000;
/** Messages that one step takes by name: each may be in the side store too, among many of its millisecond. */
const NAMED_AT_ONCE = 100;
/** Steps of one request: Workers' free plan has 50 subrequests. */
const MAX_STEPS = 40;

/**
 * Hands messages that are pending to a consumer by hand, charging a delivery each: whatever a listing of pending messages
 * shows, what was handed out of the side store and what Weir itself holds included.
 * @returns messages as JSON texts, with their leases; in large groups it looks at the oldest 200,000
 * @throws {WeirError} `unknown-stream`, `unknown-group`; `invalid-request` when a running lease would be broken without
 *   `force`; `redis-unavailable` when Redis came to it too late
 */
export async function claim(
  stream: EventStream,
  group: string,
  request: ClaimRequest,
  waiting: Waiting,
): Promise<readonly string[]> {
  const messages: string[] = [];
  let from = "-";
  const named = [...new Set(request.ids)];
  for (let step = 0; step < MAX_STEPS && from !== ""; step++) {
    const some = request.ids === undefined ? undefined : named.splice(0, NAMED_AT_ONCE);
    const progress = { waiting, from, handed: messages.length };
    const found = await claimStep(stream, group, { ...request, ids: some }, progress).catch((error: unknown) => {
      // What was handed out before must reach its consumer.
      if (messages.length === 0) throw error;
      return { messages: [], next: "" };
    });
    messages.push(...found.messages);
    from = request.ids !== undefined && named.length === 0 ? "" : found.next;
  }
  return messages;
}

interface Progress {
  readonly waiting: Waiting;
  /** Where to begin to look. */
  readonly from: string;
  /** How many were handed out before. */
  readonly handed: number;
}

async function claimStep(
  stream: EventStream,
  group: string,
  { consumer, ids = [], minIdleMs, force, limit }: ClaimRequest,
  { waiting, from, handed }: Progress,
): Promise<{ messages: readonly string[]; next: string }> {
  const { ackWaitMs, maxDeliveries } = GROUP_DEFAULTS;
  const args = [group, consumer, minIdleMs ?? -1, force ? 1 : 0, limit, BATCH_BYTES, ackWaitMs, maxDeliveries];
  const { reply } = await inTime(stream.redis, waiting, async (untilMs) => {
    const call = {
      script: claimScript,
      keys: groupKeys(stream, group),
      args: [...args, Math.floor(untilMs), handed, from, SLICE, ...ids],
    };
    const reply = asArray(await sendToGroup(stream, group, call));
    const redisNowMs = reply[0] === "needs-force" ? undefined : asNumber(reply[1]);
    return { redisNowMs, isLate: reply[0] === "late", reply };
  });
  if (reply[0] === "needs-force") {
    const message = `expected at least the group's ackWaitMs of ${asNumber(reply[1])}, or force, got ${minIdleMs}`;
    throw new WeirError("invalid-request", message, { errors: [{ path: "minIdleMs", message }] });
  }
  const [, , entries, earlier, due, next, incarnation] = reply;
  const reader = new DeliveryReader(leaseFormat(stream.name, group, readIncarnation(incarnation)), consumer);
  return { messages: [...reader.again(entries, earlier), ...reader.fromSideStore(due)], next: asText(next) };
}
