import { randomUUID } from "node:crypto";
import type { Redis as IoRedis } from "ioredis";
import type { NewMessage } from "../../shared/message.ts";
import { RedisClock } from "../../shared/redis/clock.ts";
import { type Batch, type ConsumeRequest, consume } from "../../shared/stream/consume.ts";
import type { Waiting } from "../../shared/stream/in-time.ts";
import { configureGroup, configureStream } from "../../shared/stream/manage.ts";
import { produce } from "../../shared/stream/produce.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { type Settled, type SettleRequest, settle } from "../../shared/stream/settle.ts";
import { type EventStream, openStream } from "../../shared/stream/stream.ts";
import { openRedis, type TransportName, uniquePrefix } from "./redis.ts";

/** A message as a consumer sees it. */
export interface Delivery {
  readonly id: string;
  readonly data?: unknown;
  readonly type: string | null;
  readonly deliveries: number;
  readonly lease: string;
}

/** A stream of the test's own. */
export interface TestStream extends EventStream {
  readonly prefix: string;
}

/**
 * Creates a stream under a prefix of its own, with groups that read from the beginning. Messages are small, so that a
 * batch is not limited by its bytes.
 */
export async function makeStream(
  groups: readonly string[] = [],
  { transport = "tcp" as TransportName, settings = {} as Parameters<typeof configureStream>[1] } = {},
): Promise<TestStream> {
  const prefix = uniquePrefix();
  const stream = openStream(openRedis(transport), prefix, `s-${randomUUID().slice(0, 4)}`);
  await configureStream(stream, { maxMessageBytes: 1_024, ...settings }, Date.now());
  for (const group of groups) await configureGroup(stream, group, { kind: "first" }, {});
  return { ...stream, prefix };
}

/** Produces `count` messages whose data is their number, from 0. */
export async function produceNumbers(stream: EventStream, count: number): Promise<readonly string[]> {
  const messages = Array.from({ length: count }, (_, i): NewMessage => ({ data: String(i) }));
  return (await produce(stream, messages)).ids;
}

export const NOTHING_SETTLED: SettleRequest = { acks: [], retries: [], rejects: [], releases: [], extends: [] };

/** Who waits in tests: all through the process with one view of Redis' time. */
export const WAITING: Waiting = { clock: new RedisClock(), timeoutMs: 10_000 };

/** Settles the lists that are named. */
export function settleSome(stream: EventStream, group: string, request: Partial<SettleRequest>): Promise<Settled> {
  return settle(stream, group, { ...NOTHING_SETTLED, ...request });
}

/** One poll without a cache, so a reclaim poll, unless a cache and state are given. */
export async function poll(
  stream: EventStream,
  group: string,
  request: Partial<ConsumeRequest> = {},
  cache = new SettingsCache(),
  nowMs = Date.now(),
  waiting = WAITING,
): Promise<Omit<Batch, "messages"> & { messages: Delivery[] }> {
  const defaults = { ...NOTHING_SETTLED, consumer: "c", batchSize: 100, recover: false };
  const batch = await consume(stream, group, { ...defaults, ...request }, { ...waiting, cache, nowMs });
  return { ...batch, messages: batch.messages.map((text): Delivery => JSON.parse(text)) };
}

export function leasesOf(messages: readonly Delivery[]): string[] {
  return messages.map(({ lease }) => lease);
}

/** Ages every pending entry of a group by that much, so that no test has to wait for a lease to expire. */
export async function age(native: IoRedis, stream: EventStream, group: string, idleMs = 10 ** 8): Promise<void> {
  const pending = await native.xpending(stream.keys.stream, group, "-", "+", 100_000);
  const byOwner = new Map<string, [id: string, deliveries: number][]>();
  for (const entry of pending) {
    if (!Array.isArray(entry)) throw new Error("expected a pending entry");
    const [id, owner, , deliveries] = entry;
    byOwner.set(String(owner), [...(byOwner.get(String(owner)) ?? []), [String(id), Number(deliveries)]]);
  }
  const pipeline = native.pipeline();
  for (const [owner, entries] of byOwner) {
    for (const [id, count] of entries) {
      const options = ["IDLE", idleMs, "RETRYCOUNT", count, "JUSTID"];
      pipeline.call("XCLAIM", stream.keys.stream, group, owner, 0, id, ...options);
    }
  }
  await pipeline.exec();
}

/** Lets all that waits in a group's side store be due, and the leases of what was handed out of it end. */
export async function passTimeOfSideStore(native: IoRedis, stream: EventStream, group: string): Promise<void> {
  const members = await native.zrange(stream.keys.againDue(group), "0", "-1", "WITHSCORES");
  const pipeline = native.pipeline();
  for (let i = 0; i < members.length; i += 2) {
    const before = Number(members[i + 1]);
    // What lies beyond any time is its index.
    if (before >= 1e15) continue;
    const score = before < 0 ? -1 : 1;
    pipeline.zadd(stream.keys.againDue(group), score, members[i] ?? "");
  }
  pipeline.hset(stream.keys.config, `againDue:${group}`, 1);
  await pipeline.exec();
}

/** Lets all that is scheduled be due by so much sooner, so that no test has to wait for it. */
export async function passTimeOfScheduled(native: IoRedis, { keys }: EventStream, ms: number): Promise<void> {
  const buckets = await native.zrange(keys.later, "0", "-1");
  const pipeline = native.pipeline();
  for (const key of [keys.later, ...buckets.map((bucket) => keys.laterDue(bucket))]) {
    const members = await native.zrange(key, "0", "-1", "WITHSCORES");
    for (let i = 0; i < members.length; i += 2) pipeline.zadd(key, Number(members[i + 1]) - ms, members[i] ?? "");
  }
  const due = await native.hget(keys.config, "laterDue");
  if (due !== null) pipeline.hset(keys.config, "laterDue", Number(due) - ms);
  await pipeline.exec();
}
