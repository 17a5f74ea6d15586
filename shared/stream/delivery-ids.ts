import { Buffer } from "node:buffer";
import type { Command } from "../redis/connection.ts";
import type { EventStream } from "./stream.ts";

/**
 * The memory of webhooks' delivery ids, by which a provider's repeat is known. An id is kept as 64 bits of its digest, in
 * sets of integers, which Redis packs into 8 bytes each up to 512 a set. They are spread over shards, so that sets stay that
 * small, and over two generations, so that what is old goes by itself, set by set.
 *
 * A generation is a little longer than the window. So the time near its end, in which another isolate's clock may be in the
 * next one already, needs no look at the one before: two sets are looked at, whenever it is.
 */

/** Up to 262,144 ids a window are packed; more are kept too, at some 50 bytes each. */
const SHARDS = 512;
/** How far the clocks of isolates may be apart: Cloudflare and others keep them within some milliseconds. */
const MAX_SKEW_MS = 60_000;
/** What one UNLINK is given. */
const KEYS_AT_ONCE = 1_024;

/** At its end, what is as old as the window was in it too, also by a clock that is behind. */
function generationMs(windowMs: number): number {
  return windowMs + 2 * MAX_SKEW_MS;
}

/** What produce needs to take a delivery once. */
export interface Delivery {
  /** 64 bits of the id's digest, as Redis writes integers. */
  readonly digest: string;
  /** The set that it goes to, then the other one that it may be in. */
  readonly keys: readonly [current: string, other: string];
  /** For how long the set it goes to is kept. */
  readonly lifeMs: number;
}

/** Whose delivery ids, and for how long they are remembered. */
export interface DeliveryMemory {
  readonly source: string;
  readonly windowMs: number;
}

/** @param id what the provider names the delivery by: a repeat has the same */
export async function deliveryOf(
  stream: EventStream,
  { source, windowMs }: DeliveryMemory,
  id: string,
  nowMs: number,
): Promise<Delivery> {
  const bytes = Buffer.from(await crypto.subtle.digest("SHA-256", Buffer.from(id)));
  const shard = bytes.readUInt16BE(8) % SHARDS;
  const lengthMs = generationMs(windowMs);
  const generation = Math.floor(nowMs / lengthMs);
  const isAtEnd = (generation + 1) * lengthMs - nowMs <= MAX_SKEW_MS;
  return {
    digest: bytes.readBigInt64BE(0).toString(),
    keys: [
      stream.keys.deliveries(source, generation, shard),
      stream.keys.deliveries(source, isAtEnd ? generation + 1 : generation - 1, shard),
    ],
    lifeMs: (generation + 2) * lengthMs - nowMs,
  };
}

/** Forgets all ids of a source: a few commands. */
export function forgetDeliveriesCalls(
  stream: EventStream,
  { source, windowMs }: DeliveryMemory,
  nowMs: number,
): readonly Command[] {
  const generation = Math.floor(nowMs / generationMs(windowMs));
  const keys = [generation - 1, generation, generation + 1].flatMap((one) =>
    Array.from({ length: SHARDS }, (_, shard) => stream.keys.deliveries(source, one, shard)),
  );
  const parts = Array.from({ length: Math.ceil(keys.length / KEYS_AT_ONCE) }, (_, i) =>
    keys.slice(i * KEYS_AT_ONCE, (i + 1) * KEYS_AT_ONCE),
  );
  return parts.map((part): Command => ["UNLINK", ...part]);
}
