import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { RedisClock } from "../../shared/redis/clock.ts";
import { claim } from "../../shared/stream/claim.ts";
import { listDeadLetters } from "../../shared/stream/dead-letters.ts";
import type { Waiting } from "../../shared/stream/in-time.ts";
import { configureGroup, configureStream } from "../../shared/stream/manage.ts";
import { listPending } from "../../shared/stream/pending.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { type EventStream, openStream } from "../../shared/stream/stream.ts";
import { type OwnRedis, ownRedis } from "../support/own-redis.ts";
import { BOTH_TRANSPORTS, nativeClient, type TransportName } from "../support/redis.ts";
import { age, leasesOf, makeStream, poll, produceNumbers } from "../support/streams.ts";

/** How long the polls of these tests wait for Redis. */
const TIMEOUT_MS = 400;

/** A group with three messages, in the hands of a consumer that has crashed; one delivery is left for each. */
async function makeCrashed(own: OwnRedis, transport: TransportName): Promise<EventStream> {
  const stream = openStream(own.open(transport, TIMEOUT_MS), "weir:", "s");
  await configureStream(stream, { maxMessageBytes: 1_024 }, Date.now());
  await configureGroup(stream, "g", { kind: "first" }, { maxDeliveries: 3 });
  await produceNumbers(stream, 3);
  await poll(stream, "g", { consumer: "crashed" });
  await age(own.native, stream, "g");
  return stream;
}

/** Stops Redis, lets polls be given up, and lets Redis go on: it runs then what came meanwhile. */
async function stall(own: OwnRedis, during: () => Promise<unknown>): Promise<void> {
  const pid = own.redis.pid ?? 0;
  process.kill(pid, "SIGSTOP");
  try {
    await during();
    await sleep(1_000);
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await own.native.ping();
}

/** A clock of this machine that is wrong. */
const CLOCKS = {
  right: () => Date.now(),
  "5 s ahead": () => Date.now() + 5_000,
  "5 s behind": () => Date.now() - 5_000,
} as const;

describe.each(BOTH_TRANSPORTS)("over %s", (transport) => {
  test.each(Object.entries(CLOCKS))(
    "polls that were given up while Redis stalled charge nothing, with a clock that is %s",
    async (_, now) => {
      const own = await ownRedis();
      const stream = await makeCrashed(own, transport);
      const waiting: Waiting = { clock: new RedisClock(now), timeoutMs: TIMEOUT_MS };
      // The clock has been seen before anything stalls.
      expect(await claim(stream, "g", { consumer: "ops", ids: ["1-1"], force: false, limit: 1 }, waiting)).toEqual([]);
      for (let i = 0; i < 3; i++) {
        await stall(own, () =>
          poll(stream, "g", { consumer: "gives up" }, undefined, undefined, waiting).catch(() => undefined),
        );
        await stall(own, () =>
          claim(stream, "g", { consumer: "ops", force: false, limit: 9 }, waiting).catch(() => undefined),
        );
      }
      const { messages } = await poll(stream, "g", { consumer: "next" }, undefined, undefined, waiting);
      expect(messages.map(({ deliveries }) => deliveries)).toEqual([2, 2, 2]);
      expect((await listDeadLetters(stream, "g", { limit: 9 })).items).toEqual([]);
    },
  );
});

test("with one delivery only every poll is one that Redis does not run too late", async () => {
  const own = await ownRedis();
  const stream = openStream(own.open("tcp", TIMEOUT_MS), "weir:", "s");
  await configureStream(stream, {}, Date.now());
  await configureGroup(stream, "g", { kind: "first" }, { maxDeliveries: 1 });
  const [cache, waiting] = [new SettingsCache(), { clock: new RedisClock(), timeoutMs: TIMEOUT_MS }];
  const { pollState } = await poll(stream, "g", {}, cache, undefined, waiting);
  await produceNumbers(stream, 5);
  await stall(own, () => poll(stream, "g", { pollState }, cache, undefined, waiting).catch(() => undefined));
  expect((await listPending(stream, "g", { limit: 9 })).items).toEqual([]);
  expect((await poll(stream, "g", { pollState }, cache, undefined, waiting)).messages).toHaveLength(5);
});

test("whoever still waits when Redis comes late gets a batch all the same, and what it settled is settled once", async () => {
  const stream = await makeStream(["g"]);
  await produceNumbers(stream, 3);
  const held = await poll(stream, "g", { batchSize: 1 });
  // Our clock was set back by 10 s since Redis' time was seen: the deadline is long over.
  let [skewMs, reads] = [0, 0];
  const clock = new RedisClock(() => {
    reads += 1;
    return Date.now() + skewMs;
  });
  await clock.deadline(stream.redis, 0);
  skewMs = -10_000;
  const before = { ...stream.redis.usage };
  const acks = held.messages.map(({ lease }) => lease);
  const batch = await poll(stream, "g", { acks }, undefined, undefined, { clock, timeoutMs: 10_000 });
  expect(batch.messages).toHaveLength(2);
  expect(batch.settled).toMatchObject({ acked: 1 });
  expect(stream.redis.usage.roundTrips - before.roundTrips).toBe(2);
  expect(reads).toBeGreaterThan(0);
});

test("whoever waits for a Redis that is slow is told so, and nothing is charged; the next one may wait longer", async () => {
  const own = await ownRedis();
  const stream = openStream(own.open("tcp"), "weir:", "s");
  await configureStream(stream, {}, Date.now());
  await configureGroup(stream, "g", { kind: "first" }, {});
  await produceNumbers(stream, 4);
  const waiting: Waiting = { clock: new RedisClock(), timeoutMs: 10_000 };
  await waiting.clock.deadline(stream.redis, 0);
  const acks = leasesOf((await poll(stream, "g", { batchSize: 1 })).messages);
  let polled: Promise<unknown> = Promise.resolve();
  await stall(own, async () => {
    polled = poll(stream, "g", { acks }, undefined, undefined, waiting).catch((error: unknown) => error);
    await sleep(200);
  });
  const options = { retryAfterS: 1, settled: { acked: 1 } };
  expect(await polled).toMatchObject({ code: "redis-unavailable", options });
  expect((await listPending(stream, "g", { limit: 9 })).items).toEqual([]);
  await stall(own, async () => {
    polled = poll(stream, "g", {}, undefined, undefined, waiting);
    await sleep(200);
  });
  expect(await polled).toMatchObject({ messages: Array(3).fill({ deliveries: 1 }) });
});

test("a shorter ackWaitMs leaves running leases alone, and holds for what is handed out ten seconds later", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  await produceNumbers(stream, 4);
  await poll(stream, "g", { consumer: "works", batchSize: 2 });
  await configureGroup(stream, "g", undefined, { ackWaitMs: 1_000 });
  // Lowered once more: the longest promise counts.
  await configureGroup(stream, "g", undefined, { ackWaitMs: 2_000 });
  await configureGroup(stream, "g", undefined, { ackWaitMs: 1_000 });
  await poll(stream, "g", { consumer: "works", batchSize: 1 });
  await age(native, stream, "g", 29_000);
  expect(
    (await poll(stream, "g", { consumer: "other", batchSize: 3 })).messages.map(({ deliveries }) => deliveries),
  ).toEqual([1]);
  const { items } = await listPending(stream, "g", { limit: 9, consumer: "works" });
  for (const { leaseEndsAt } of items) expect(Math.abs(leaseEndsAt - Date.now() - 1_000)).toBeLessThan(900);
  // The change was 20 s ago: what was handed out 5 s ago, after it had come to hold, has expired.
  await native.hset(stream.keys.config, "ackWaitBefore:g", `30000 ${Date.now() - 10_000}`);
  await age(native, stream, "g", 5_000);
  const { messages } = await poll(stream, "g", { consumer: "other", batchSize: 9 });
  expect(messages.map(({ deliveries }) => deliveries)).toEqual([2, 2, 2, 2]);
});

test("a clock that is set forward, back, and again costs a poll one round trip more each time, and no message", async () => {
  const stream = await makeStream(["g"]);
  await produceNumbers(stream, 8);
  let skewMs = 0;
  const waiting: Waiting = { clock: new RedisClock(() => Date.now() + skewMs), timeoutMs: 10_000 };
  const trips: number[] = [];
  for (const step of [0, 0, 5_000, 5_000, -5_000, -5_000, 0, 0]) {
    skewMs = step;
    const before = stream.redis.usage.roundTrips;
    const { messages } = await poll(stream, "g", { batchSize: 1 }, undefined, undefined, waiting);
    expect(messages.map(({ deliveries }) => deliveries)).toEqual([1]);
    trips.push(stream.redis.usage.roundTrips - before);
  }
  // The first one asks for Redis' time; those after a step back learn it anew.
  expect(trips).toEqual([2, 1, 1, 1, 2, 1, 1, 1]);
});
