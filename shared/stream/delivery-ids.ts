import { Buffer } from "node:buffer";
import type { EventStream } from "./stream.ts";

/**
 * The memory of webhooks' delivery ids, by which a provider's repeat is known. An id takes 8 bytes: 7 of its digest, and one
 * for when it came. They stand in a row in a string, for which Redis allocates up to twice its length, behind 8 bytes of the
 * stream's incarnation: a stream made anew has had nothing.
 *
 * They are spread over shards, so that a script has little to look through, and over two generations, so that what is old goes
 * by itself. A generation is a little longer than the window: near its end, where another isolate's clock may be in the next
 * one already, the one before need not be looked at. So two strings are looked at, whenever it is.
 */

/** A million ids a window are 250 KB a string, which a script looks through in some 0.1 ms. */
const SHARDS = 32;
/** How far the clocks of isolates may be apart, for windows that are not very short. */
const MAX_SKEW_MS = 60_000;
/** A generation's length in moments that a byte tells. */
const MOMENTS = 256;

/** What produce needs to take a delivery once. */
export interface Delivery {
  /** 56 bits of the id's digest, in hex. */
  readonly digest: string;
  /** When it came: which moment of the generation. */
  readonly moment: number;
  /** The string that it goes to, then the other one that it may be in. */
  readonly keys: readonly [current: string, other: string];
  /** From which moments on an id in those strings is within the window. */
  readonly oldest: readonly [inCurrent: number, inOther: number];
  /** For how long the string it goes to is kept. */
  readonly lifeMs: number;
}

/** Whose delivery ids, and for how long they are remembered. */
export interface DeliveryMemory {
  /** Made anew with each source, and whenever its stream or window changes: what was before is then forgotten. */
  readonly epoch: string;
  readonly windowMs: number;
}

/**
 * @param id what the provider names the delivery by: a repeat has the same
 * @param nowMs this machine's clock, in Unix milliseconds
 */
export async function deliveryOf(
  stream: EventStream,
  { epoch, windowMs }: DeliveryMemory,
  id: string,
  nowMs: number,
): Promise<Delivery> {
  const bytes = Buffer.from(await crypto.subtle.digest("SHA-256", Buffer.from(id)));
  const shard = bytes.readUInt16BE(8) % SHARDS;
  const skewMs = Math.min(MAX_SKEW_MS, windowMs / 20);
  // At its end, what is as old as the window was in it too, also by a clock that is behind.
  const lengthMs = windowMs + 2 * skewMs;
  const current = Math.floor(nowMs / lengthMs);
  const isAtEnd = (current + 1) * lengthMs - nowMs <= skewMs;
  const other = isAtEnd ? current + 1 : current - 1;
  const momentIn = (generation: number, atMs: number) =>
    Math.min(Math.max(Math.floor(((atMs - generation * lengthMs) * MOMENTS) / lengthMs), 0), MOMENTS);
  const sinceMs = nowMs - windowMs - skewMs;
  return {
    digest: bytes.toString("hex", 0, 7),
    moment: Math.min(momentIn(current, nowMs), MOMENTS - 1),
    keys: [stream.keys.deliveries(epoch, current, shard), stream.keys.deliveries(epoch, other, shard)],
    oldest: [momentIn(current, sinceMs), momentIn(other, sinceMs)],
    lifeMs: Math.ceil((current + 2) * lengthMs - nowMs),
  };
}
