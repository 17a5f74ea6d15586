import { describe, expect, test } from "vitest";
import { listDeadLetters } from "../../shared/stream/dead-letters.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, configureStream, deleteStream } from "../../shared/stream/manage.ts";
import { listPending } from "../../shared/stream/pending.ts";
import { produce } from "../../shared/stream/produce.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { BOTH_TRANSPORTS, nativeClient } from "../support/redis.ts";
import {
  age,
  leasesOf,
  makeStream,
  passTimeOfSideStore,
  poll,
  produceNumbers,
  settleSome,
} from "../support/streams.ts";

describe.each(BOTH_TRANSPORTS)("over %s", (transport) => {
  test("a batch whose consumer crashed is handed to another after its lease, in order, as delivery 2", async () => {
    const stream = await makeStream(["g"], { transport });
    const ids = await produceNumbers(stream, 5);
    expect((await poll(stream, "g", { consumer: "crashes" })).messages.map(({ id }) => id)).toEqual(ids);
    expect((await poll(stream, "g", { consumer: "other" })).messages).toEqual([]);
    await age(nativeClient(), stream, "g");
    const again = await poll(stream, "g", { consumer: "other" });
    expect(again.messages.map(({ id, deliveries }) => [id, deliveries])).toEqual(ids.map((id) => [id, 2]));
    expect(await settleSome(stream, "g", { acks: leasesOf(again.messages) })).toMatchObject({ acked: 5, stale: [] });
  });

  test("an acknowledgement that comes late, or twice, does no harm", async () => {
    const stream = await makeStream(["g"], { transport });
    await produceNumbers(stream, 2);
    const first = await poll(stream, "g", { consumer: "slow" });
    await age(nativeClient(), stream, "g");
    await poll(stream, "g", { consumer: "other" });
    expect(await settleSome(stream, "g", { acks: leasesOf(first.messages) })).toMatchObject({ acked: 2, stale: [] });
    expect(await settleSome(stream, "g", { acks: leasesOf(first.messages) })).toMatchObject({ acked: 0, stale: [] });
  });
});

test("groups are independent: each gets every message, and one's failures are not seen by the other", async () => {
  const stream = await makeStream(["a", "b"]);
  const ids = await produceNumbers(stream, 3);
  const a = await poll(stream, "a");
  await settleSome(stream, "a", { acks: leasesOf(a.messages) });
  const b = await poll(stream, "b");
  expect(b.messages.map(({ id }) => id)).toEqual(ids);
  await age(nativeClient(), stream, "b");
  expect((await poll(stream, "a")).messages).toEqual([]);
  expect((await poll(stream, "b")).messages.map(({ deliveries }) => deliveries)).toEqual([2, 2, 2]);
});

test("two consumers that share a group never hold the same message", async () => {
  const stream = await makeStream(["g"]);
  const ids = await produceNumbers(stream, 50);
  const polls = Array.from({ length: 10 }, (_, i) => poll(stream, "g", { consumer: `c${i % 2}`, batchSize: 7 }));
  const handed = (await Promise.all(polls)).flatMap(({ messages }) => messages.map(({ id }) => id));
  expect(handed.sort()).toEqual([...ids].sort());
});

test("a lease that is foreign or malformed is told, and touches nothing", async () => {
  const stream = await makeStream(["g", "other"]);
  await produceNumbers(stream, 2);
  const { messages } = await poll(stream, "g");
  const foreign = leasesOf((await poll(stream, "other")).messages);
  const [good = "", alsoGood = ""] = leasesOf(messages);
  const acks = [good, good, ...foreign, alsoGood.slice(0, -1), "", "1~x"];
  const settled = await settleSome(stream, "g", { acks });
  expect(settled).toMatchObject({ acked: 1 });
  expect(settled.stale).toEqual([
    ...foreign.map((lease) => ({ lease, outcome: "foreign" })),
    ...acks.slice(4).map((lease) => ({ lease, outcome: "malformed" })),
  ]);
  expect((await listPending(stream, "g", { limit: 10 })).items).toHaveLength(1);
});

describe("a message that was delivered as often as it may be", () => {
  test("goes to its group's dead letters, whole, in the step that meets it", async () => {
    const stream = await makeStream(["g", "other"]);
    await configureGroup(stream, "g", undefined, { maxDeliveries: 2 });
    const message = { type: "t", key: "k", attributes: { a: "1" }, data: '{"n":1.0}' };
    const { ids } = await produce(stream, [message]);
    const native = nativeClient();
    for (const consumer of ["first", "second"]) {
      expect((await poll(stream, "g", { consumer })).messages).toHaveLength(1);
      await age(native, stream, "g");
    }
    expect((await poll(stream, "g", { consumer: "third" })).messages).toEqual([]);
    const { items } = await listDeadLetters(stream, "g", { limit: 10 });
    expect(items).toMatchObject([{ reason: "max-deliveries", deliveries: 2, consumer: "second", detail: null }]);
    expect(items[0]?.message).toContain('"data":{"n":1.0}');
    expect(JSON.parse(items[0]?.message ?? "")).toMatchObject({
      id: ids[0],
      type: "t",
      key: "k",
      attributes: { a: "1" },
    });
    expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ pending: 0, deadLetters: 1 });
    expect(await groupInfo(stream, "other", Date.now())).toMatchObject({ lag: 1, deadLetters: 0 });
  });

  test("gets no second try where maxDeliveries is 1", async () => {
    const stream = await makeStream(["g"]);
    await configureGroup(stream, "g", undefined, { maxDeliveries: 1 });
    await produceNumbers(stream, 3);
    expect((await poll(stream, "g")).messages).toHaveLength(3);
    await age(nativeClient(), stream, "g");
    expect((await poll(stream, "g")).messages).toEqual([]);
    expect((await listDeadLetters(stream, "g", { limit: 10 })).items).toHaveLength(3);
  });

  test.each([2, 3, 5])(
    "dies alone: of 40 with one that kills its consumer, 39 are done (maxDeliveries %i)",
    async (maxDeliveries) => {
      const stream = await makeStream(["g"]);
      await configureGroup(stream, "g", undefined, { maxDeliveries });
      const ids = await produceNumbers(stream, 40);
      const killer = ids[17];
      const native = nativeClient();
      const done = new Set<string>();
      for (let round = 0; round < 400; round++) {
        const { messages } = await poll(stream, "g", { consumer: `c${round % 3}`, batchSize: 10 });
        if (messages.some(({ id }) => id === killer)) {
          await age(native, stream, "g");
          continue;
        }
        await settleSome(stream, "g", { acks: leasesOf(messages) });
        for (const { id } of messages) done.add(id);
        if (messages.length === 0 && (await groupInfo(stream, "g", Date.now())).pending === 0) break;
      }
      expect([...done].sort()).toEqual(ids.filter((id) => id !== killer).sort());
      const { items } = await listDeadLetters(stream, "g", { limit: 10 });
      expect(items.map(({ message, deliveries }) => [JSON.parse(message).id, deliveries])).toEqual([
        [killer, maxDeliveries],
      ]);
    },
  );
});

test("a message whose payload was deleted while it was pending is recorded as dead, not lost in silence", async () => {
  const stream = await makeStream(["g"]);
  const ids = await produceNumbers(stream, 3);
  await poll(stream, "g");
  const native = nativeClient();
  await age(native, stream, "g");
  await native.xdel(stream.keys.stream, ids[1] ?? "");
  expect((await poll(stream, "g")).messages.map(({ id }) => id)).toEqual([ids[0], ids[2]]);
  const { items } = await listDeadLetters(stream, "g", { limit: 10 });
  expect(items).toMatchObject([{ reason: "payload-missing", deliveries: 1, consumer: "c" }]);
  expect(JSON.parse(items[0]?.message ?? "")).toMatchObject({ id: ids[1], attributes: {} });
});

test("batchSize is never exceeded, whatever has expired and whatever is new", async () => {
  const stream = await makeStream(["g"]);
  await produceNumbers(stream, 30);
  await poll(stream, "g", { batchSize: 20 });
  await age(nativeClient(), stream, "g");
  for (let i = 0; i < 5; i++)
    expect((await poll(stream, "g", { batchSize: 7 })).messages.length).toBeLessThanOrEqual(7);
});

test("an expired delivery behind 2,000 busy ones is found within a bounded number of polls", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  for (let i = 0; i < 3; i++) await produceNumbers(stream, 700);
  for (let i = 0; i < 9; i++) await poll(stream, "g", { consumer: `busy${i}`, batchSize: 250 });
  const entries = await native.xrange(stream.keys.stream, "-", "+");
  const idle = entries[2_050]?.[0] ?? "";
  await native.call("XCLAIM", stream.keys.stream, "g", "busy8", 0, idle, "IDLE", 10 ** 8, "JUSTID");
  const found = [];
  for (let i = 0; i < 10; i++) found.push(...(await poll(stream, "g", { batchSize: 1 })).messages);
  expect(found.map(({ id }) => id)).toEqual([idle]);
});

describe("a poll costs", () => {
  test("one round trip and at most 2 commands when it is fast, 6 when it finds nothing expired", async () => {
    const stream = await makeStream(["g"]);
    const cache = new SettingsCache();
    await produceNumbers(stream, 60);
    let last = await poll(stream, "g", { batchSize: 5 }, cache);
    const { usage } = stream.redis;
    const costs: [commands: number, roundTrips: number][] = [];
    for (let i = 0; i < 14; i++) {
      const before = { ...usage };
      last = await poll(stream, "g", { batchSize: 5, acks: leasesOf(last.messages), pollState: last.pollState }, cache);
      costs.push([usage.commands - before.commands, usage.roundTrips - before.roundTrips]);
    }
    expect(costs.every(([, roundTrips]) => roundTrips === 1)).toBe(true);
    expect(costs.slice(0, 9).every(([commands]) => commands === 2)).toBe(true);
    expect(Math.max(...costs.map(([commands]) => commands))).toBeLessThanOrEqual(6);
  });

  test("at most 10 commands when it hands out what has expired", async () => {
    const stream = await makeStream(["g"]);
    await produceNumbers(stream, 300);
    const { messages } = await poll(stream, "g", { consumer: "dead" });
    await age(nativeClient(), stream, "g");
    const before = stream.redis.usage.commands;
    const again = await poll(stream, "g", { batchSize: 150, acks: leasesOf(messages.slice(0, 3)) });
    expect(again.messages).toHaveLength(150);
    expect(stream.redis.usage.commands - before).toBeLessThanOrEqual(10);
  });
});

test("a stream that was deleted is gone with its groups, and a new one of that name starts afresh", async () => {
  const stream = await makeStream(["g"]);
  const { ids } = await produce(stream, [{ data: "1" }], "key");
  await deleteStream(stream);
  await expect(produce(stream, [{ data: "1" }])).rejects.toMatchObject({ code: "unknown-stream" });
  await expect(poll(stream, "g")).rejects.toMatchObject({ code: "unknown-stream" });
  await configureStream(stream, {}, Date.now());
  await expect(poll(stream, "g")).rejects.toMatchObject({ code: "unknown-group" });
  const again = await produce(stream, [{ data: "1" }], "key");
  expect(again).toMatchObject({ repeated: false });
  expect(again.ids).not.toEqual(ids);
});

test("a consumer that hands back pollState is told when a lease ends, and finds it with its first poll after that", async () => {
  const stream = await makeStream();
  await configureGroup(stream, "g", { kind: "first" }, { ackWaitMs: 10_000 });
  const cache = new SettingsCache();
  const start = Date.now();
  await produceNumbers(stream, 1);
  await poll(stream, "g", { consumer: "crashes" });
  // Redis' own clock stands nearly still meanwhile, so only the first of these is to learn when the lease ends.
  const last = await poll(stream, "g", { consumer: "idle" }, cache, start);
  let waitedMs = 0;
  for (let polls = 0; polls < 20 && waitedMs < 9_000; polls++) {
    const next = await poll(stream, "g", { consumer: "idle", pollState: last.pollState }, cache, start + waitedMs);
    expect(next.messages).toEqual([]);
    waitedMs += next.pollAfterMs;
  }
  await age(nativeClient(), stream, "g", 10_000);
  const found = await poll(stream, "g", { consumer: "idle", pollState: last.pollState }, cache, start + 10_500);
  expect(found.messages).toMatchObject([{ deliveries: 2 }]);
  expect(waitedMs).toBeLessThanOrEqual(11_000);
});

test("a consumer that hands back pollState finds a retry with its first poll after it is due", async () => {
  const stream = await makeStream(["g"]);
  const cache = new SettingsCache();
  const start = Date.now();
  await produceNumbers(stream, 1);
  const first = await poll(stream, "g", {}, cache, start);
  const retries = leasesOf(first.messages).map((lease) => ({ lease, delayMs: 5_000 }));
  let last = await poll(stream, "g", { retries, pollState: first.pollState }, cache, start);
  // Redis' own clock stands nearly still meanwhile, so only the first of these is to learn when the retry is due.
  last = await poll(stream, "g", { pollState: last.pollState }, cache, start);
  for (let atMs = last.pollAfterMs; atMs < 4_500; atMs += Math.max(250, last.pollAfterMs)) {
    const next = await poll(stream, "g", { pollState: last.pollState }, cache, start + atMs);
    expect(next.messages).toEqual([]);
  }
  await passTimeOfSideStore(nativeClient(), stream, "g");
  const found = await poll(stream, "g", { pollState: last.pollState }, cache, start + 5_300);
  expect(found.messages).toMatchObject([{ deliveries: 2 }]);
});
