import { expect, test } from "vitest";
import { Collector } from "../../scheduled/collector.ts";
import { Budget } from "../../scheduled/context.ts";
import type { SurveyedStream } from "../../scheduled/survey.ts";
import { trim } from "../../scheduled/trim.ts";
import { claim } from "../../shared/stream/claim.ts";
import { listConsumers, removeConsumer } from "../../shared/stream/consumers.ts";
import { deleteDeadLetters, listDeadLetters, redrive } from "../../shared/stream/dead-letters.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, deleteGroup } from "../../shared/stream/manage.ts";
import { deleteMessage } from "../../shared/stream/messages.ts";
import { replayToGroup } from "../../shared/stream/reread.ts";
import { STREAM_DEFAULTS } from "../../shared/stream/settings.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { settle } from "../../shared/stream/settle.ts";
import { decodeSwept, sweepCall } from "../../shared/stream/upkeep.ts";
import { nativeClient } from "../support/redis.ts";
import {
  age,
  leasesOf,
  makeStream,
  NOTHING_SETTLED,
  poll,
  produceNumbers,
  settleSome,
  type TestStream,
  WAITING,
} from "../support/streams.ts";

const FIRST = { kind: "first" } as const;

/** Polls until so many are handed out. */
async function handOut(stream: TestStream, count: number, consumer = "c"): Promise<string[]> {
  const leases: string[] = [];
  while (leases.length < count) {
    const { messages } = await poll(stream, "g", { consumer, batchSize: 1_000 });
    if (messages.length === 0) throw new Error(`only ${leases.length} were handed out`);
    leases.push(...leasesOf(messages));
  }
  return leases;
}

test("an isolate that remembers a group from before its incarnation acknowledges what another has handed out", async () => {
  const stream = await makeStream();
  await nativeClient().xgroup("CREATE", stream.keys.stream, "native", "0");
  await configureGroup(stream, "g", FIRST, {});
  const cache = new SettingsCache();
  for (const group of ["g", "native"]) await poll(stream, group, {}, cache);
  await deleteGroup(stream, "g");
  await configureGroup(stream, "g", FIRST, {});
  await produceNumbers(stream, 4);
  for (const group of ["g", "native"]) {
    const leases = leasesOf((await poll(stream, group)).messages);
    const settled = await settle(stream, group, { ...NOTHING_SETTLED, acks: leases.slice(0, 2) }, cache);
    expect(settled).toMatchObject({ acked: 2, stale: [] });
    const state = "1.0.0.0.0.0.0";
    const next = await poll(stream, group, { acks: leases.slice(2), pollState: state }, cache);
    expect(next.settled).toMatchObject({ acked: 2, stale: [] });
  }
});

test("a sweep tells no message as missing that is there, however large the poison between", async () => {
  const native = nativeClient();
  const stream = await makeStream(["g"]);
  const data = JSON.stringify("x".repeat(300_000));
  const ids: string[] = [];
  for (let i = 0; i < 20; i++) ids.push(String(await native.xadd(stream.keys.stream, "*", "data", data)));
  await native.xreadgroup("GROUP", "g", "c", "COUNT", 100, "STREAMS", stream.keys.stream, ">");
  for (const [i, id] of ids.entries()) {
    const count = i % 2 === 0 ? 1 : 5;
    await native.call("XCLAIM", stream.keys.stream, "g", "c", 0, id, "IDLE", 10 ** 8, "RETRYCOUNT", count, "JUSTID");
  }
  let swept = decodeSwept(await stream.redis.send(sweepCall(stream, "g", 1)));
  while (swept.more) swept = decodeSwept(await stream.redis.send(sweepCall(stream, "g", 1)));
  const { items } = await listDeadLetters(stream, "g", { limit: 100 });
  expect(items.map(({ reason }) => reason)).toEqual(Array(10).fill("max-deliveries"));
  expect(await groupInfo(stream, "g", 0)).toMatchObject({ pending: 10, deadLetters: 10 });
});

test("removing a consumer ends, though another one's name has the same hash, and both are listed rightly", async () => {
  const stream = await makeStream(["g"]);
  const ids = await produceNumbers(stream, 1_000);
  await replayToGroup(stream, "g", { ids, limit: 1_000 });
  // Java's hashes of "Aa" and "BB" are equal, and so are these.
  await handOut(stream, 1_000, "w-Aa");
  await replayToGroup(stream, "g", { ids: ids.slice(0, 1), limit: 1 });
  await poll(stream, "g", { consumer: "w-BB", batchSize: 1 });
  const { items } = await listConsumers(stream, "g", { limit: 10 });
  expect(items.map(({ name, pending }) => [name, pending])).toEqual(
    expect.arrayContaining([
      ["w-Aa", 1_000],
      ["w-BB", 1],
    ]),
  );
  expect(await removeConsumer(stream, "g", "w-BB")).toBe(1);
});

test("removing a consumer ends, though nothing of what it has can be read", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  const ids = await produceNumbers(stream, 1_000);
  await settleSome(stream, "g", { acks: await handOut(stream, 1_000) });
  await replayToGroup(stream, "g", { ids, limit: 1_000 });
  await handOut(stream, 1_000);
  for (const side of await native.hkeys(stream.keys.again("g"))) await native.hset(stream.keys.again("g"), side, "x");
  expect(await removeConsumer(stream, "g", "c")).toBe(0);
});

test("small messages are settled together, however large the stream's may be", async () => {
  const stream = await makeStream(["g"], { settings: { maxMessageBytes: 4 * 1024 * 1024 } });
  await produceNumbers(stream, 200);
  const leases = await handOut(stream, 200);
  const { usage } = stream.redis;
  const before = usage.roundTrips;
  const retries = leases.map((lease) => ({ lease, delayMs: 0 }));
  expect(await settleSome(stream, "g", { retries })).toMatchObject({ retried: 200 });
  expect(usage.roundTrips - before).toBeLessThanOrEqual(2);
});

test.each([1024, 4 * 1024 * 1024])(
  "a poll hands out nothing of what its request settles, messages of %i bytes being allowed",
  async (maxMessageBytes) => {
    const stream = await makeStream(["g"], { settings: { maxMessageBytes } });
    await produceNumbers(stream, 4);
    const leases = await handOut(stream, 4);
    await age(nativeClient(), stream, "g");
    const request = { rejects: leases.map((lease) => ({ lease })), recover: true };
    const { settled, messages } = await poll(stream, "g", request);
    expect(settled).toMatchObject({ rejected: 4, stale: [] });
    expect(messages).toEqual([]);
  },
);

test("messages with a hundred copies in hand are claimed by name, and deleted with all of them", async () => {
  const stream = await makeStream(["g"]);
  const ids = await produceNumbers(stream, 50);
  await settleSome(stream, "g", { acks: await handOut(stream, 50) });
  for (let i = 0; i < 110; i++) await replayToGroup(stream, "g", { ids, limit: 1_000 });
  await handOut(stream, 2_000);
  const request = { consumer: "z", ids, minIdleMs: 0, force: true, limit: 10 };
  expect((await claim(stream, "g", request, WAITING)).length).toBe(10);
  const before = await groupInfo(stream, "g", 0);
  await deleteMessage(stream, ids[7] ?? "");
  const after = await groupInfo(stream, "g", 0);
  expect(before.pending + before.delayed - after.pending - after.delayed).toBe(110);
});

test("all dead letters are redriven and deleted, though Redis' clock was ahead when one came", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  const letter = async (id: string) =>
    native.xadd(stream.keys.dead("g"), id, "data", "1", "weir-id", "1-1", "weir-reason", "rejected");
  await letter(`${Date.now() + 3_600_000}-0`);
  expect(await redrive(stream, "g", { limit: 1_000 })).toEqual({ count: 1, next: null });
  await letter(`${Date.now() + 7_200_000}-0`);
  expect(await deleteDeadLetters(stream, "g", "all")).toEqual({ count: 1, next: null });
});

test("the reaper trims into the dead letters of a group that came after it had looked", async () => {
  const stream = await makeStream(["g"], { settings: { maxLength: 1, unfinished: "dead-letter" } });
  await produceNumbers(stream, 10);
  const retention = { ...STREAM_DEFAULTS.retention, maxLength: 1, unfinished: "dead-letter" } as const;
  const later = { scheduled: 0, laterDueMs: undefined };
  const config = { ...STREAM_DEFAULTS, retention };
  const surveyed: SurveyedStream = { stream, seenMs: "0", config, isAdopted: true, later, groups: [] };
  const collector = new Collector(stream.redis, new Budget(stream.redis, { roundTrips: 10, durationMs: 10_000 }));
  expect(await collector.finish(await collector.first(trim([surveyed], Date.now())))).toEqual([]);
  expect(collector.streams).toMatchObject([{ trimmed: 9, deadLettered: 9 }]);
});

test("what another client put among the side store's members stops no list, claim or sweep", async () => {
  const native = nativeClient();
  const stream = await makeStream(["g"]);
  await produceNumbers(stream, 3);
  const leases = leasesOf((await poll(stream, "g")).messages);
  await settleSome(stream, "g", { retries: leases.map((lease) => ({ lease, delayMs: 0 })) });
  await handOut(stream, 3);
  await native.zadd(stream.keys.againDue("g"), -5, "odd", 2e15, "h odd", 4e15 + 5, "odder");
  await native.zadd(stream.keys.deadIndex("g"), 0, "d 0", 0, "m 0");
  expect(decodeSwept(await stream.redis.send(sweepCall(stream, "g", 1)))).toMatchObject({ deadLettered: 0 });
  expect((await listConsumers(stream, "g", { limit: 10 })).items).toMatchObject([{ name: "c", pending: 3 }]);
  const request = { consumer: "z", minIdleMs: 0, force: true, limit: 10 };
  expect(await claim(stream, "g", request, WAITING)).toHaveLength(3);
  expect(await deleteDeadLetters(stream, "g", "all")).toEqual({ count: 0, next: null });
});
