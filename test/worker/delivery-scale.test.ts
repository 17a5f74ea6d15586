import { expect, test } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { listConsumers } from "../../shared/stream/consumers.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { nativeClient } from "../support/redis.ts";
import { age, leasesOf, makeStream, poll, produceNumbers, settleSome, type TestStream } from "../support/streams.ts";

/** What needs another clock, or more messages than HTTP carries in a test's time: the stream module, over REST. */

const GROUP = "g";
const MOST_PENDING = 1_000;

async function mostPending(stream: TestStream): Promise<number> {
  const { items } = await listConsumers(stream, GROUP, { limit: 1_000 });
  return Math.max(...items.map(({ pending }) => pending));
}

function reap(stream: TestStream) {
  const context = { redis: stream.redis, keyPrefix: stream.prefix, consumerIdleMs: 86_400_000 };
  return runReaper(context, { nowMs: Date.now(), everyStream: true });
}

test("50,000 messages that expire at once over 60 consumers come back by polls and sweeps, under the cap", async () => {
  const stream = await makeStream([GROUP], { transport: "rest" });
  for (let i = 0; i < 50; i++) await produceNumbers(stream, 1_000);
  for (let i = 0; i < 60; i++) await poll(stream, GROUP, { consumer: `dead${i}`, batchSize: 850 });
  expect(await groupInfo(stream, GROUP, Date.now())).toMatchObject({ pending: 50_000, lag: 0 });
  await age(nativeClient(), stream, GROUP);

  const cache = new SettingsCache();
  const done = new Map<string, number>();
  const states = new Map<string, { pollState: string; acks: string[] }>();
  const work = async (consumer: string) => {
    const last = states.get(consumer);
    const batch = await poll(stream, GROUP, { consumer, batchSize: 500, ...last }, cache);
    states.set(consumer, { pollState: batch.pollState, acks: leasesOf(batch.messages) });
    for (const { id, deliveries } of batch.messages) done.set(id, deliveries);
    return batch.messages.length;
  };
  const round = () => Promise.all(["a", "b", "c", "d"].map(work));
  // Before any sweep, then after one that was cut short by its budget, then after all.
  for (let i = 0; i < 5; i++) await round();
  expect(done.size).toBeGreaterThanOrEqual(5_000);
  await reap(stream);
  expect(await mostPending(stream)).toBeLessThanOrEqual(MOST_PENDING);
  for (let i = 0; i < 5; i++) await round();
  for (let i = 0; i < 10 && !(await reap(stream)).complete; i++);
  expect(await mostPending(stream)).toBeLessThanOrEqual(MOST_PENDING);
  for (let i = 0; i < 200 && done.size < 50_000; i++) await round();
  await round();
  expect(done.size).toBe(50_000);
  expect(new Set(done.values())).toEqual(new Set([2]));
  expect(await groupInfo(stream, GROUP, Date.now())).toMatchObject({ pending: 0, lag: 0, delayed: 0, deadLetters: 0 });
});

test("Workers whose clocks are 2 s apart hand out a retry when it is due by Redis' clock, never early", async () => {
  const stream = await makeStream([GROUP], { transport: "rest" });
  const native = nativeClient();
  const redisNowMs = async () => {
    const [seconds, micros] = await native.time();
    return Number(seconds) * 1_000 + Number(micros) / 1_000;
  };
  await produceNumbers(stream, 20);
  const { messages } = await poll(stream, GROUP);
  const before = await redisNowMs();
  const delays = new Map(messages.map(({ id }, i) => [id, 20 * i]));
  await settleSome(stream, GROUP, {
    retries: messages.map(({ lease, id }) => ({ lease, delayMs: delays.get(id) ?? 0 })),
  });
  const after = await redisNowMs();
  const due = new Set(delays.keys());
  for (let i = 0; due.size > 0; i++) {
    const skewMs = [-2_000, 0, 2_000][i % 3] ?? 0;
    const asked = await redisNowMs();
    const batch = await poll(stream, GROUP, { consumer: `w${i % 3}` }, new SettingsCache(), Date.now() + skewMs);
    const answered = await redisNowMs();
    const handed = new Set(batch.messages.map(({ id }) => id));
    for (const id of due) {
      const delayMs = delays.get(id) ?? 0;
      if (handed.has(id)) expect(answered - before).toBeGreaterThanOrEqual(delayMs);
      // The first poll after it is due: not one later.
      else expect(asked - after).toBeLessThanOrEqual(delayMs + 1);
    }
    for (const id of handed) due.delete(id);
    expect(i).toBeLessThan(5_000);
  }
});
