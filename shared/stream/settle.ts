import { leaseFormat } from "../lease.ts";
import { type Command, ReplyError } from "../redis/connection.ts";
import { unwrap } from "../redis/redis.ts";
import { asNumber } from "../redis/reply.ts";
import { type EventStream, groupError } from "./stream.ts";

/** A lease that could not be settled, and why. */
export interface StaleLease {
  readonly lease: string;
  /** `foreign`: of another stream or group; `malformed`: no whole lease. */
  readonly outcome: "foreign" | "malformed";
}

/** What settling did. An acknowledgement of what is settled already is no error and counts nothing. */
export interface Settled {
  readonly acked: number;
  readonly stale: readonly StaleLease[];
}

/** Leases as read: the entries to acknowledge, and what cannot be. */
export interface ReadLeases {
  readonly ids: readonly string[];
  readonly stale: readonly StaleLease[];
}

export function readLeases(stream: EventStream, group: string, leases: readonly string[]): ReadLeases {
  const format = leaseFormat(stream.name, group);
  const ids = new Set<string>();
  const stale: StaleLease[] = [];
  for (const lease of leases) {
    const read = format.read(lease);
    if (typeof read === "string") stale.push({ lease, outcome: read });
    else ids.add(read.id);
  }
  return { ids: [...ids], stale };
}

/**
 * The acknowledgement as a command, also for deliveries whose lease has expired: the work was done.
 * @returns undefined when there is nothing to acknowledge
 */
export function acknowledgeCall(stream: EventStream, group: string, { ids }: ReadLeases): Command | undefined {
  return ids.length === 0 ? undefined : ["XACK", stream.keys.stream, group, ...ids];
}

/**
 * Acknowledges deliveries, in one round trip.
 * @throws {WeirError} `unknown-stream`, `unknown-group`
 */
export async function settle(stream: EventStream, group: string, acks: readonly string[]): Promise<Settled> {
  const leases = readLeases(stream, group, acks);
  const acknowledge = acknowledgeCall(stream, group, leases);
  // XACK says 0 for a missing stream or group: XPENDING, cheap however much is pending, tells.
  const probe: Command = ["XPENDING", stream.keys.stream, group];
  const [first = null, last = first] = await stream.redis.pipeline(
    acknowledge === undefined ? [probe] : [acknowledge, probe],
  );
  const fault = [first, last].find((outcome) => outcome instanceof ReplyError);
  if (fault !== undefined) throw await groupError(stream, group, fault);
  return { acked: acknowledge === undefined ? 0 : asNumber(unwrap(first)), stale: leases.stale };
}
