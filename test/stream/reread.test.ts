import { describe, expect, test } from "vitest";
import { claim } from "../../shared/stream/claim.ts";
import { listConsumers, removeConsumer } from "../../shared/stream/consumers.ts";
import { listDeadLetters } from "../../shared/stream/dead-letters.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup } from "../../shared/stream/manage.ts";
import { listPending } from "../../shared/stream/pending.ts";
import { produce } from "../../shared/stream/produce.ts";
import { replayToGroup, seek } from "../../shared/stream/reread.ts";
import { nativeClient } from "../support/redis.ts";
import {
  age,
  leasesOf,
  makeStream,
  passTimeOfSideStore,
  poll,
  produceNumbers,
  settleSome,
  type TestStream,
  WAITING,
} from "../support/streams.ts";

function numbers(messages: readonly { data?: unknown }[]): unknown[] {
  return messages.map(({ data }) => data);
}

/** A stream of five messages that the group has read and acknowledged. */
async function makeDone(): Promise<{ stream: TestStream; ids: readonly string[] }> {
  const stream = await makeStream(["g", "other"]);
  const ids = await produceNumbers(stream, 5);
  for (const group of ["g", "other"]) {
    const { messages } = await poll(stream, group);
    await settleSome(stream, group, { acks: leasesOf(messages) });
  }
  return { stream, ids };
}

describe("seek", () => {
  test.each([
    ["earliest", () => ({ kind: "first" }) as const, 5],
    ["latest", () => ({ kind: "last" }) as const, 0],
    ["an id", (ids: readonly string[]) => ({ kind: "id", id: ids[1] ?? "" }) as const, 3],
    ["a time", (ids: readonly string[]) => ({ kind: "time", ms: Number(ids[0]?.split("-")[0]) }) as const, 5],
  ])("to %s: reads on there from delivery 1, with the lag right at once", async (_, position, count) => {
    const { stream, ids } = await makeDone();
    await seek(stream, "g", position(ids));
    expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ lag: count, lagIs: "exact" });
    const { messages } = await poll(stream, "g");
    expect(messages.map(({ id, deliveries }) => [id, deliveries])).toEqual(ids.slice(5 - count).map((id) => [id, 1]));
    expect((await poll(stream, "other")).messages).toEqual([]);
  });

  test("forward over what is pending keeps it pending", async () => {
    const stream = await makeStream(["g"]);
    const ids = await produceNumbers(stream, 4);
    await poll(stream, "g", { batchSize: 2 });
    expect(await seek(stream, "g", { kind: "last" })).toBe(ids[3]);
    await age(nativeClient(), stream, "g");
    expect(numbers((await poll(stream, "g")).messages)).toEqual([0, 1]);
  });
});

describe("a replay to a group", () => {
  test("by ids hands them to it alone from delivery 1, and leaves its cursor and the others alone", async () => {
    const { stream, ids } = await makeDone();
    const { lastDeliveredId } = await groupInfo(stream, "g", Date.now());
    const chosen = [ids[3] ?? "", ids[1] ?? "", "1-1"];
    expect(await replayToGroup(stream, "g", { ids: chosen, limit: 10 })).toMatchObject({ count: 2 });
    expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ delayed: 2, lag: 0, lastDeliveredId });
    const { messages } = await poll(stream, "g");
    expect(messages.map(({ id, deliveries }) => [id, deliveries]).sort()).toEqual([
      [ids[1], 1],
      [ids[3], 1],
    ]);
    expect((await poll(stream, "other")).messages).toEqual([]);
  });

  test("by range, type and limit takes those only", async () => {
    const stream = await makeStream(["g"]);
    const types = Array.from({ length: 300 }, (_, i) => ({ type: i % 3 === 0 ? "a" : "b", data: String(i) }));
    await produce(stream, types);
    await seek(stream, "g", { kind: "last" });
    const whole = { start: { kind: "first" }, end: { kind: "last" } } as const;
    expect(await replayToGroup(stream, "g", { ...whole, type: "a", limit: 1_000 })).toMatchObject({ count: 100 });
    expect(await replayToGroup(stream, "g", { ...whole, limit: 7 })).toMatchObject({ count: 7 });
    expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ delayed: 107 });
  });

  test("is not acknowledged by a repeated acknowledgement of the original", async () => {
    const stream = await makeStream(["g"]);
    await produceNumbers(stream, 1);
    const original = leasesOf((await poll(stream, "g")).messages);
    await settleSome(stream, "g", { acks: original });
    await replayToGroup(stream, "g", { start: { kind: "first" }, end: { kind: "last" }, limit: 10 });
    expect(await settleSome(stream, "g", { acks: original })).toMatchObject({ acked: 0 });
    const { messages } = await poll(stream, "g");
    expect(messages).toMatchObject([{ deliveries: 1 }]);
    expect(await settleSome(stream, "g", { acks: original })).toMatchObject({ acked: 0 });
    expect(await settleSome(stream, "g", { acks: leasesOf(messages) })).toMatchObject({ acked: 1 });
  });
});

describe("recover", () => {
  test("hands a restarted consumer what it held under its name, as another delivery, and then what is new", async () => {
    const stream = await makeStream(["g"]);
    await produceNumbers(stream, 6);
    await poll(stream, "g", { consumer: "a", batchSize: 2 });
    await poll(stream, "g", { consumer: "b", batchSize: 2 });
    const { messages } = await poll(stream, "g", { consumer: "a", recover: true });
    expect(messages.map(({ data, deliveries }) => [data, deliveries])).toEqual([
      [0, 2],
      [1, 2],
      [4, 1],
      [5, 1],
    ]);
  });

  test("covers the side store, and dead-letters what has no delivery left", async () => {
    const stream = await makeStream(["g"]);
    await configureGroup(stream, "g", undefined, { maxDeliveries: 2 });
    await produceNumbers(stream, 1);
    const [lease = ""] = leasesOf((await poll(stream, "g", { consumer: "a" })).messages);
    await settleSome(stream, "g", { retries: [{ lease, delayMs: 0 }] });
    await passTimeOfSideStore(nativeClient(), stream, "g");
    expect((await poll(stream, "g", { consumer: "a" })).messages).toHaveLength(1);
    expect((await poll(stream, "g", { consumer: "b", recover: true })).messages).toEqual([]);
    expect((await poll(stream, "g", { consumer: "a", recover: true })).messages).toEqual([]);
    expect((await listDeadLetters(stream, "g", { limit: 9 })).items).toMatchObject([{ deliveries: 2, consumer: "a" }]);
  });
});

test.each([
  [65_536, "exact"],
  [4 * 1024 * 1024, "estimated"],
])(
  "a seek back counts what lies behind, unless messages of %i bytes make that too much to read",
  async (maxMessageBytes, lagIs) => {
    const stream = await makeStream(["g"], { settings: { maxMessageBytes } });
    const native = nativeClient();
    for (let i = 0; i < 10; i++) await native.xadd(stream.keys.stream, `${1_000 + i}-0`, "data", "1");
    await poll(stream, "g");
    await seek(stream, "g", { kind: "id", id: "1003-0" });
    expect(await groupInfo(stream, "g", 2_000)).toMatchObject({ lag: lagIs === "exact" ? 6 : 7, lagIs });
  },
);

describe("removing a consumer", () => {
  test("hands what it holds to another, uncharged, which gets it by recover", async () => {
    const stream = await makeStream(["g"]);
    await produceNumbers(stream, 3);
    await poll(stream, "g", { consumer: "leaving" });
    expect(await removeConsumer(stream, "g", "leaving", "heir")).toBe(3);
    expect((await listConsumers(stream, "g", { limit: 9 })).items).toMatchObject([{ name: "heir", pending: 3 }]);
    const { messages } = await poll(stream, "g", { consumer: "heir", recover: true });
    expect(messages.map(({ deliveries }) => deliveries)).toEqual([2, 2, 2]);
  });

  test("without an heir holds it for redelivery at once, also what is of the side store", async () => {
    const stream = await makeStream(["g"]);
    const native = nativeClient();
    await produceNumbers(stream, 3);
    const [lease = ""] = leasesOf((await poll(stream, "g", { consumer: "leaving" })).messages);
    await settleSome(stream, "g", { retries: [{ lease, delayMs: 0 }] });
    await passTimeOfSideStore(native, stream, "g");
    expect((await poll(stream, "g", { consumer: "leaving" })).messages).toHaveLength(1);
    expect(await removeConsumer(stream, "g", "leaving")).toBe(3);
    const { messages } = await poll(stream, "g", { consumer: "next" });
    expect(messages.map(({ data, deliveries }) => [data, deliveries])).toEqual([
      [1, 2],
      [2, 2],
      [0, 3],
    ]);
  });

  test("that does not exist, or of an unknown group, is told", async () => {
    const stream = await makeStream(["g"]);
    await expect(removeConsumer(stream, "g", "nobody")).rejects.toMatchObject({ code: "unknown-consumer" });
    await expect(removeConsumer(stream, "nope", "nobody")).rejects.toMatchObject({ code: "unknown-group" });
  });

  test("loses nothing of 12,000 messages, and no holder gets above 1,000", async () => {
    const stream = await makeStream(["g"]);
    for (let i = 0; i < 12; i++) await produceNumbers(stream, 1_000);
    for (let i = 0; i < 12; i++) await poll(stream, "g", { consumer: "hoarder", batchSize: 1_000 });
    expect(await removeConsumer(stream, "g", "hoarder")).toBe(12_000);
    const { items } = await listConsumers(stream, "g", { limit: 100 });
    expect(items.map(({ pending }) => pending)).toEqual(Array(12).fill(1_000));
  });
});

describe("claim", () => {
  test("by ids breaks a running lease only by force", async () => {
    const stream = await makeStream(["g"]);
    const ids = await produceNumbers(stream, 3);
    const [old = ""] = leasesOf((await poll(stream, "g", { consumer: "a" })).messages);
    const request = { consumer: "b", ids: ids.slice(0, 1), force: false, limit: 10 };
    expect(await claim(stream, "g", request, WAITING)).toEqual([]);
    await expect(claim(stream, "g", { ...request, minIdleMs: 0 }, WAITING)).rejects.toMatchObject({
      code: "invalid-request",
    });
    const [message = "{}"] = await claim(stream, "g", { ...request, minIdleMs: 0, force: true }, WAITING);
    expect(JSON.parse(message)).toMatchObject({ id: ids[0], deliveries: 2 });
    expect((await settleSome(stream, "g", { extends: [old] })).stale).toMatchObject([{ outcome: "superseded" }]);
    expect(await settleSome(stream, "g", { acks: [JSON.parse(message).lease] })).toMatchObject({ acked: 1 });
  });

  test("without ids takes what has expired, dead-letters what has no delivery left, and respects the limit", async () => {
    const stream = await makeStream(["g"]);
    await configureGroup(stream, "g", undefined, { maxDeliveries: 3 });
    const ids = await produceNumbers(stream, 5);
    await poll(stream, "g", { consumer: "a" });
    const native = nativeClient();
    const options = ["IDLE", 10 ** 8, "RETRYCOUNT", 3, "JUSTID"];
    await age(native, stream, "g");
    await native.call("XCLAIM", stream.keys.stream, "g", "a", 0, ids[0] ?? "", ...options);
    const claimed = await claim(stream, "g", { consumer: "b", force: false, limit: 3 }, WAITING);
    expect(claimed.map((text) => JSON.parse(text).id)).toEqual(ids.slice(1, 4));
    expect((await listDeadLetters(stream, "g", { limit: 9 })).items).toHaveLength(1);
    expect((await listPending(stream, "g", { limit: 9, consumer: "b" })).items).toHaveLength(claimed.length);
  });

  test("by force leaves a last delivery that is running where it is", async () => {
    const stream = await makeStream(["g"]);
    await configureGroup(stream, "g", undefined, { maxDeliveries: 1 });
    const ids = await produceNumbers(stream, 1);
    const acks = leasesOf((await poll(stream, "g", { consumer: "a" })).messages);
    expect(await claim(stream, "g", { consumer: "b", ids, minIdleMs: 0, force: true, limit: 1 }, WAITING)).toEqual([]);
    expect(await settleSome(stream, "g", { acks })).toMatchObject({ acked: 1 });
  });
});

test("limits of replay and redrive count what comes back, not what was asked for", async () => {
  const stream = await makeStream(["g"]);
  const { ids } = await produce(stream, [{ type: "a" }, { type: "b" }]);
  await seek(stream, "g", { kind: "last" });
  expect(await replayToGroup(stream, "g", { ids, type: "b", limit: 1 })).toMatchObject({ count: 1 });
  expect(await replayToGroup(stream, "g", { ids: ["1-1", ...ids], limit: 1 })).toMatchObject({ count: 1 });
});
