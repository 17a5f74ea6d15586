import { describe, expect, test } from "vitest";
import { listConsumers, removeConsumer } from "../../shared/stream/consumers.ts";
import { redrive } from "../../shared/stream/dead-letters.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup } from "../../shared/stream/manage.ts";
import { listPending, type PendingEntry } from "../../shared/stream/pending.ts";
import { produce } from "../../shared/stream/produce.ts";
import { replayToGroup } from "../../shared/stream/reread.ts";
import { BOTH_TRANSPORTS, nativeClient, type TransportName } from "../support/redis.ts";
import {
  age,
  leasesOf,
  makeStream,
  passTimeOfSideStore,
  poll,
  produceNumbers,
  settleSome,
  type TestStream,
} from "../support/streams.ts";

type Filter = Pick<Parameters<typeof listPending>[2], "consumer" | "minIdleMs">;

const NATIVE = 'go client 2 h c "é"\n';

/** Walks all pages; between two of them something may happen. */
async function walk(stream: TestStream, limit: number, filter: Filter = {}, meanwhile?: () => Promise<void>) {
  const found: PendingEntry[] = [];
  for (let [pages, cursor]: [number, string?] = [0]; ; pages++) {
    expect(pages).toBeLessThan(1_000);
    const { items, next } = await listPending(stream, "g", { cursor, limit, ...filter });
    expect(items.length).toBeLessThanOrEqual(limit);
    found.push(...items);
    if (next === null) return found;
    cursor = next;
    await meanwhile?.();
  }
}

function idsOf(entries: readonly { id: string }[]): string[] {
  return entries.map(({ id }) => id);
}

/**
 * A group with all that can be: messages 0 and 1 pending with a native client, 2 to 4 with `a`; handed out again to `c`
 * after a retry (5, 6), a redrive (7) and a replay (8); 9 waits.
 */
async function makeMix(transport: TransportName = "tcp") {
  const stream = await makeStream(["g"], { transport });
  const ids = await produceNumbers(stream, 10);
  const native = nativeClient();
  await native.xreadgroup("GROUP", "g", NATIVE, "COUNT", 2, "STREAMS", stream.keys.stream, ">");
  await poll(stream, "g", { consumer: "a", batchSize: 3 });
  const [five = "", six = "", seven = "", eight = "", nine = ""] = leasesOf(
    (await poll(stream, "g", { consumer: "b" })).messages,
  );
  await settleSome(stream, "g", {
    acks: [eight],
    retries: [
      { lease: five, delayMs: 0 },
      { lease: six, delayMs: 0 },
      { lease: nine, delayMs: 3_600_000 },
    ],
    rejects: [{ lease: seven }],
  });
  await redrive(stream, "g", { limit: 10 });
  await replayToGroup(stream, "g", { ids: ids.slice(8, 9), limit: 10 });
  const { messages } = await poll(stream, "g", { consumer: "c" });
  expect(idsOf(messages).sort()).toEqual(ids.slice(5, 9));
  return { stream, native, ids, again: messages };
}

describe.each(BOTH_TRANSPORTS)("the list of what is pending, over %s,", (transport) => {
  test("holds all that the group's figure counts: what was handed out again too, and not what waits to be", async () => {
    const { stream, ids } = await makeMix(transport);
    const { items, next } = await listPending(stream, "g", { limit: 100 });
    expect(items.map(({ id, consumer, deliveries }) => [id, consumer, deliveries])).toEqual([
      [ids[0], NATIVE, 1],
      [ids[1], NATIVE, 1],
      [ids[2], "a", 1],
      [ids[3], "a", 1],
      [ids[4], "a", 1],
      [ids[5], "c", 2],
      [ids[6], "c", 2],
      [ids[7], "c", 1],
      [ids[8], "c", 1],
    ]);
    expect(next).toBeNull();
    expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ pending: items.length, delayed: 1 });
  });

  test("agrees with what the list of consumers says that each has in hand", async () => {
    const { stream, native } = await makeMix(transport);
    const { items } = await listConsumers(stream, "g", { limit: 100 });
    expect(items.map(({ name, pending }) => [name, pending])).toEqual([
      ["a", 3],
      ["b", 0],
      ["c", 4],
      [NATIVE, 2],
    ]);
    for (const { idleMs } of items) expect(idleMs).toBeLessThan(5_000);
    // By its latest lease: 30 s long, it began 10 s ago when it ends in 20 s.
    const [redisNowS] = await native.time();
    const due = stream.keys.againDue("g");
    const members = await native.zrangebyscore(due, "-inf", "(0");
    for (const [i, member] of members.entries()) {
      const leftMs = i === 1 ? 20_000 : 5_000;
      await native.zadd(due, -(Number(redisNowS) * 1_000 + leftMs), member);
    }
    const idle = new Map((await listConsumers(stream, "g", { limit: 100 })).items.map((one) => [one.name, one.idleMs]));
    expect(idle.get("c")).toBeGreaterThanOrEqual(9_000);
    expect(idle.get("c")).toBeLessThan(15_000);
    const pages = [
      await listConsumers(stream, "g", { limit: 3 }),
      await listConsumers(stream, "g", { cursor: "c", limit: 3 }),
    ];
    expect(pages).toMatchObject([
      { items: items.slice(0, 3).map(({ name, pending }) => ({ name, pending })), next: "c" },
      { items: [{ name: NATIVE, pending: 2 }], next: null },
    ]);
    await expect(listConsumers(stream, "nope", { limit: 3 })).rejects.toMatchObject({ code: "unknown-group" });
  });

  test.each([1, 2, 5, 8, 9])("gives each once in pages of %i", async (limit) => {
    const { stream, ids } = await makeMix(transport);
    expect(idsOf(await walk(stream, limit))).toEqual(ids.slice(0, 9));
  });

  test("is that of one consumer, of either kind, if asked for", async () => {
    const { stream, ids } = await makeMix(transport);
    for (const limit of [1, 100]) {
      expect(idsOf(await walk(stream, limit, { consumer: NATIVE }))).toEqual(ids.slice(0, 2));
      expect(idsOf(await walk(stream, limit, { consumer: "a" }))).toEqual(ids.slice(2, 5));
      expect(idsOf(await walk(stream, limit, { consumer: "c" }))).toEqual(ids.slice(5, 9));
      expect(await walk(stream, limit, { consumer: "none" })).toEqual([]);
    }
  });

  test("is that of what is idle for long, of either kind, if asked for", async () => {
    const { stream, native, ids, again } = await makeMix(transport);
    expect(await walk(stream, 100, { minIdleMs: 60_000 })).toEqual([]);
    expect(await walk(stream, 100, { minIdleMs: 0 })).toHaveLength(9);
    await age(native, stream, "g");
    await passTimeOfSideStore(native, stream, "g");
    const [kept] = again;
    await settleSome(stream, "g", { extends: [kept?.lease ?? ""] });
    // What was retried with a delay is due by now, and still waits.
    for (const limit of [1, 100]) {
      expect(idsOf(await walk(stream, limit, { minIdleMs: 60_000 }))).toEqual(
        ids.slice(0, 9).filter((id) => id !== kept?.id),
      );
    }
    expect(idsOf(await walk(stream, 100, { minIdleMs: 60_000, consumer: "c" }))).toHaveLength(3);
  });

  test("leaves out what was acknowledged while its successor's delivery was running", async () => {
    const { stream, native, ids, again } = await makeMix(transport);
    await passTimeOfSideStore(native, stream, "g");
    await poll(stream, "g", { consumer: "d", batchSize: 100 });
    const late = again.find(({ id }) => id === ids[5])?.lease ?? "";
    expect(await settleSome(stream, "g", { acks: [late] })).toMatchObject({ acked: 1 });
    const members = await native.zrange(stream.keys.againDue("g"), "0", "-1");
    for (const limit of [1, 100]) {
      expect(idsOf(await walk(stream, limit, { consumer: "d" })).filter((id) => id !== ids[9])).toEqual(
        ids.slice(6, 9),
      );
    }
    expect(await native.zrange(stream.keys.againDue("g"), "0", "-1")).toEqual(members);
  });
});

describe("the list of what is pending", () => {
  test("gives what was handed out again once, however often it is extended or handed on between two pages", async () => {
    const { stream, native, ids } = await makeMix();
    await configureGroup(stream, "g", undefined, { maxDeliveries: 100 });
    let turn = 0;
    const found = await walk(stream, 1, {}, async () => {
      turn += 1;
      await passTimeOfSideStore(native, stream, "g");
      const { messages } = await poll(stream, "g", { consumer: `turn-${turn}`, batchSize: 2 });
      await settleSome(stream, "g", { extends: leasesOf(messages) });
    });
    // The 9th was waiting at first.
    expect(idsOf(found).filter((id) => id !== ids[9])).toEqual(ids.slice(0, 9));
  });

  test("says since when a delivery runs: from when it was handed out again, or extended last", async () => {
    const { stream, native, again } = await makeMix();
    await configureGroup(stream, "g", undefined, { ackWaitMs: 60_000 });
    const due = stream.keys.againDue("g");
    const [seconds] = await native.time();
    const [first] = again;
    for (const member of await native.zrangebyscore(due, "-inf", "(0")) {
      await native.zadd(due, -(Number(seconds) * 1_000 + 40_000), member);
    }
    await settleSome(stream, "g", { extends: [first?.lease ?? ""] });
    for (const { id, idleMs } of await walk(stream, 100, { consumer: "c" })) {
      const least = id === first?.id ? 0 : 20_000;
      expect(idleMs).toBeGreaterThanOrEqual(least);
      expect(idleMs).toBeLessThan(least + 15_000);
    }
    // The setting was shortened while it was running.
    await configureGroup(stream, "g", undefined, { ackWaitMs: 1_000 });
    expect((await walk(stream, 100, { consumer: "c" })).map(({ idleMs }) => idleMs)).toEqual([0, 0, 0, 0]);
  });

  test("follows what is handed over with a removed consumer, and leaves out what is held then", async () => {
    const { stream, ids } = await makeMix();
    await removeConsumer(stream, "g", "c", "heir");
    expect(idsOf(await walk(stream, 2, { consumer: "heir" }))).toEqual(ids.slice(5, 9));
    await removeConsumer(stream, "g", "heir");
    expect(await walk(stream, 2)).toHaveLength(5);
    expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ pending: 5, delayed: 5 });
  });

  test("of one consumer holds nothing of another whose name ends as a side entry of its would", async () => {
    const { stream } = await makeMix();
    await removeConsumer(stream, "g", "c", "1 2 h c");
    expect(await walk(stream, 100, { consumer: "c" })).toEqual([]);
    expect(await walk(stream, 100, { consumer: "1 2 h c" })).toHaveLength(4);
  });

  test("names large messages by their ids, whatever they hold, without reading them", async () => {
    const stream = await makeStream(["g"], { settings: { maxMessageBytes: 4 * 1024 * 1024 } });
    const large = "x".repeat(2 * 1024 * 1024);
    const ids: string[] = [];
    for (const end of ['],"id":"9-9"}', '{"id":"9-9",', '"]'])
      ids.push(...(await produce(stream, [{ data: JSON.stringify(large + end) }])).ids);
    await replayToGroup(stream, "g", { ids, limit: 10 });
    for (let i = 0; i < 3; i++) await poll(stream, "g");
    const { items, next } = await listPending(stream, "g", { limit: 100, cursor: ids[2] });
    expect([idsOf(items), next]).toEqual([ids, null]);
    expect(idsOf(await walk(stream, 100)).slice(-3)).toEqual(ids);
  });

  test("gives each of hundreds once, in their order, though their leases end in another", async () => {
    const stream = await makeStream(["g"]);
    const native = nativeClient();
    const ids = await produceNumbers(stream, 700);
    await native.xgroup("SETID", stream.keys.stream, "g", "$");
    await replayToGroup(stream, "g", { ids: [...ids], limit: 1_000 });
    await poll(stream, "g", { batchSize: 1_000 });
    const due = stream.keys.againDue("g");
    const handed = (await native.zrange(due, "0", "-1")).filter((member) => / h /.test(member) && !/^h /.test(member));
    expect(handed).toHaveLength(700);
    await native.zadd(due, ...handed.flatMap((member, i) => [-(10 ** 13 + ((i * 7_919) % 701)), member]));
    for (const limit of [7, 100, 699, 1_000]) expect(idsOf(await walk(stream, limit))).toEqual(ids);
  });

  test("is refused for a stream or group that is not there, wherever it is to go on", async () => {
    const stream = await makeStream(["g"]);
    for (const cursor of [undefined, "1-1", "again:1.abc"]) {
      await expect(listPending(stream, "none", { limit: 1, cursor })).rejects.toMatchObject({ code: "unknown-group" });
      expect(await listPending(stream, "g", { limit: 1, cursor })).toEqual({ items: [], next: null });
    }
    await nativeClient().del(stream.keys.stream);
    for (const cursor of [undefined, "1-1", "again:1.abc"])
      await expect(listPending(stream, "g", { limit: 1, cursor })).rejects.toMatchObject({ code: "unknown-stream" });
  });

  test("costs one round trip: 4 commands in Redis' own list, 6 beside it", async () => {
    const stream = await makeStream(["g"]);
    await produceNumbers(stream, 2);
    await poll(stream, "g");
    const mix = await makeMix();
    const cost = async ({ redis }: TestStream, list: () => Promise<unknown>) => {
      await list(); // The first run of all brings the script's source.
      const { commands, roundTrips } = redis.usage;
      await list();
      return [redis.usage.commands - commands, redis.usage.roundTrips - roundTrips];
    };
    expect(await cost(stream, () => listPending(stream, "g", { limit: 100 }))).toEqual([4, 1]);
    expect(await cost(mix.stream, () => listPending(mix.stream, "g", { limit: 3 }))).toEqual([4, 1]);
    expect(await cost(mix.stream, () => listPending(mix.stream, "g", { limit: 100 }))).toEqual([6, 1]);
  });
});
