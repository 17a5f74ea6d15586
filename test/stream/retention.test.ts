import { describe, expect, test } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { listDeadLetters } from "../../shared/stream/dead-letters.ts";
import { groupInfo, streamInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, configureStream } from "../../shared/stream/manage.ts";
import { produce } from "../../shared/stream/produce.ts";
import { seek } from "../../shared/stream/reread.ts";
import { forecastRetention, trimNow } from "../../shared/stream/retention.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { nativeClient, openRedis } from "../support/redis.ts";
import { leasesOf, makeStream, poll, produceNumbers, settleSome, type TestStream } from "../support/streams.ts";

const HOUR_MS = 3_600_000;

/** A stream of 20 messages: `done` has acknowledged all, `behind` has been handed 10 and acknowledged 4. */
async function makeWorked(settings: Parameters<typeof configureStream>[1]) {
  const stream = await makeStream(["done", "behind"], { settings });
  const ids = await produceNumbers(stream, 20);
  await settleSome(stream, "done", { acks: leasesOf((await poll(stream, "done")).messages) });
  const { messages } = await poll(stream, "behind", { batchSize: 10 });
  await settleSome(stream, "behind", { acks: leasesOf(messages.slice(0, 4)) });
  return { stream, ids, held: messages.slice(4) };
}

function reap(stream: TestStream, nowMs = Date.now() + 2 * HOUR_MS) {
  const context = { redis: stream.redis, keyPrefix: stream.prefix, consumerIdleMs: 10 ** 12 };
  return runReaper(context, { nowMs, everyStream: true });
}

async function idsOfLetters(stream: TestStream, group: string): Promise<unknown[]> {
  const { items } = await listDeadLetters(stream, group, { limit: 1_000 });
  return items.map(({ message, reason, deliveries }) => [JSON.parse(message).id, reason, deliveries]);
}

describe("unfinished: dead-letter", () => {
  test("copies to a group's dead letters what it has not finished, before it goes", async () => {
    const { stream, ids } = await makeWorked({ maxAgeMs: HOUR_MS, unfinished: "dead-letter" });
    const report = await reap(stream);
    expect(report.streams).toMatchObject([{ trimmed: 20, deadLettered: 16, dropped: 0 }]);
    expect(await idsOfLetters(stream, "behind")).toEqual([
      ...ids.slice(4, 10).map((id) => [id, "trimmed", 1]),
      ...ids.slice(10).map((id) => [id, "trimmed", 0]),
    ]);
    expect(await idsOfLetters(stream, "done")).toEqual([]);
    expect(await groupInfo(stream, "behind", 0)).toMatchObject({ pending: 0, lag: 0, dropped: 0 });
    expect((await poll(stream, "behind")).messages).toEqual([]);
  });

  test("by length takes exactly the oldest, in steps", async () => {
    const stream = await makeStream(["g"], { settings: { maxLength: 10, unfinished: "dead-letter" } });
    const ids = [...(await produceNumbers(stream, 700)), ...(await produceNumbers(stream, 10))];
    await reap(stream);
    expect(await streamInfo(stream)).toMatchObject({ length: 10, firstId: ids[700] });
    expect((await idsOfLetters(stream, "g")).length).toBe(700);
    expect((await poll(stream, "g")).messages.map(({ id }) => id)).toEqual(ids.slice(700));
  });
});

describe("unfinished: drop", () => {
  test("takes it, counts it, and tells the group until it has acknowledged something after it", async () => {
    const { stream, ids, held } = await makeWorked({ maxAgeMs: HOUR_MS, unfinished: "drop" });
    const report = await reap(stream);
    expect(report.streams).toMatchObject([{ trimmed: 20, deadLettered: 0, dropped: 16 }]);
    const gap = { fromId: ids[4], toId: ids[19], messages: 16 };
    expect(await groupInfo(stream, "behind", 0)).toMatchObject({ pending: 0, lag: 0, gap, dropped: 16 });
    expect(await groupInfo(stream, "done", 0)).toMatchObject({ gap: null, dropped: 0 });

    const cache = new SettingsCache();
    const told = await poll(stream, "behind", {}, cache);
    expect(told).toMatchObject({ messages: [], gap });
    const late = await poll(stream, "behind", { acks: leasesOf(held), pollState: told.pollState }, cache);
    expect(late).toMatchObject({ gap, settled: { acked: 0 } });
    await produceNumbers(stream, 3);
    const next = await poll(stream, "behind", { pollState: late.pollState }, cache);
    expect(next).toMatchObject({ gap });
    const after = await poll(stream, "behind", { acks: leasesOf(next.messages), pollState: next.pollState }, cache);
    expect(after.gap).toBeUndefined();
    expect(await groupInfo(stream, "behind", 0)).toMatchObject({ gap: null, dropped: 16 });
    expect((await poll(stream, "done")).gap).toBeUndefined();
  });

  test("adds up what several trims took", async () => {
    const stream = await makeStream(["g"], { settings: { maxLength: 1, unfinished: "drop" } });
    const first = await produceNumbers(stream, 5);
    await reap(stream);
    const second = await produceNumbers(stream, 5);
    await reap(stream);
    const info = await groupInfo(stream, "g", 0);
    expect(info).toMatchObject({ lag: 1, dropped: 9, gap: { fromId: first[0], messages: 9 } });
    expect((await poll(stream, "g")).messages.map(({ id }) => id)).toEqual(second.slice(-1));
  });
});

describe("deleteAcknowledged", () => {
  test("frees what every group has acknowledged, at the next run", async () => {
    const { stream, ids } = await makeWorked({ deleteAcknowledged: 1 });
    expect((await reap(stream, Date.now())).streams).toMatchObject([{ trimmed: 4, dropped: 0 }]);
    expect(await streamInfo(stream)).toMatchObject({ length: 16, firstId: ids[4] });
  });

  test("takes nothing while there is no group", async () => {
    const stream = await makeStream([], { settings: { deleteAcknowledged: 1 } });
    await produceNumbers(stream, 5);
    await reap(stream);
    expect(await streamInfo(stream)).toMatchObject({ length: 5 });
  });
});

describe("a trim by hand", () => {
  test.each([
    ["maxLength", { maxLength: 0 }],
    ["minId", { minId: "9999999999999-0" }],
    ["olderThanMs", { olderThanMs: 0 }],
  ])("by %s stops at what a group needs, and says which", async (_, limit) => {
    const { stream, ids } = await makeWorked({});
    const later = Date.now() + 1_000;
    expect(await trimNow(stream, { ...limit, exact: true }, later)).toEqual({
      trimmed: 4,
      keptFor: [{ group: "behind", fromId: ids[4] }],
      next: null,
    });
    await expect(
      trimNow({ ...stream, keys: { ...stream.keys, stream: `${stream.prefix}none` } }, { ...limit, exact: true }, 0),
    ).rejects.toMatchObject({ code: "unknown-stream" });
  });

  test("without exact takes whole nodes only, never more than asked", async () => {
    const stream = await makeStream();
    await produceNumbers(stream, 250);
    const { trimmed } = await trimNow(stream, { maxLength: 10, exact: false }, 0);
    expect(trimmed).toBe(200);
    expect(await trimNow(stream, { maxLength: 10, exact: true }, 0)).toMatchObject({ trimmed: 40, keptFor: [] });
  });
});

describe("a full stream", () => {
  test("refuses what it cannot take, names the group that holds it back, and appends nothing", async () => {
    const stream = await makeStream(["slow", "fast"], { settings: { maxLength: 10 } });
    await produceNumbers(stream, 10);
    const fast = await poll(stream, "fast");
    await settleSome(stream, "fast", { acks: leasesOf(fast.messages) });
    const refused = produce(stream, [{ data: "1" }]);
    await expect(refused).rejects.toMatchObject({ code: "stream-full", message: expect.stringContaining('"slow"') });
    expect(await streamInfo(stream)).toMatchObject({ length: 10 });
    const slow = await poll(stream, "slow");
    await settleSome(stream, "slow", { acks: leasesOf(slow.messages.slice(0, 5)) });
    expect((await produceNumbers(stream, 3)).length).toBe(3);
    expect((await streamInfo(stream)).length).toBeLessThanOrEqual(10);
  });

  test("trims what is done with instead, also for a batch larger than its length", async () => {
    const stream = await makeStream([], { settings: { maxLength: 100 } });
    for (let i = 0; i < 20; i++) await produceNumbers(stream, 30);
    expect((await streamInfo(stream)).length).toBeLessThanOrEqual(100);
    expect(await produceNumbers(stream, 150)).toHaveLength(150);
  });

  test("costs no round trip more, and a stream without maxLength no command more", async () => {
    const stream = await makeStream(["g"]);
    const cache = new SettingsCache();
    const cost = async () => {
      const before = { ...stream.redis.usage };
      await produce(stream, [{ data: "1" }], undefined, cache);
      return [stream.redis.usage.commands - before.commands, stream.redis.usage.roundTrips - before.roundTrips];
    };
    await cost();
    expect(await cost()).toEqual([2, 1]);
    const bounded = await makeStream(["g"], { settings: { maxLength: 100 } });
    await produceNumbers(bounded, 10);
    const before = { ...bounded.redis.usage };
    await produceNumbers(bounded, 1);
    expect(bounded.redis.usage.roundTrips - before.roundTrips).toBe(1);
    expect(bounded.redis.usage.commands - before.commands).toBeLessThanOrEqual(4);
  });

  test("gives the answer to a repeated request all the same", async () => {
    const stream = await makeStream(["g"], { settings: { maxLength: 2 } });
    const first = await produce(stream, [{ data: "1" }, { data: "2" }], "key");
    expect(await produce(stream, [{ data: "1" }, { data: "2" }], "key")).toEqual({ ids: first.ids, repeated: true });
  });
});

describe("the forecast", () => {
  test("says what the next trim would take, and which group holds it back since when", async () => {
    const { stream, ids } = await makeWorked({ maxLength: 5 });
    const forecast = await forecastRetention(stream, Date.now());
    expect(forecast).toMatchObject({ unfinished: "keep", takesFrom: [] });
    expect(forecast.heldBackBy).toEqual([{ group: "behind", fromId: ids[4], sinceMs: Number(ids[4]?.split("-")[0]) }]);
  });

  test.each([
    ["nearly all at once, the last one later", (i: number) => (i === 19 ? "2000-0" : `1000-${i}`)],
    ["the first one long before the others", (i: number) => (i === 0 ? "1000-0" : `2000-${i}`)],
    ["all within a millisecond", (i: number) => `1000-${i}`],
    ["with sequences that no number holds", (i: number) => `1000-184467440737095515${i + 10}`],
    ["evenly", (i: number) => `${1_000 + i}-0`],
  ])("names the group that holds a trim back, however its entries lie in time: %s", async (_, idOf) => {
    const stream = await makeStream(["behind", "done"], { settings: { maxLength: 5 } });
    const ids = Array.from({ length: 20 }, (_, i) => idOf(i));
    for (const id of ids) await nativeClient().xadd(stream.keys.stream, id, "data", "1");
    // Done with enough, though not with all that it was handed.
    const handed = leasesOf((await poll(stream, "done", { batchSize: 17 })).messages);
    await settleSome(stream, "done", { acks: handed.slice(0, 16) });
    const { messages } = await poll(stream, "behind", { batchSize: 10 });
    await settleSome(stream, "behind", { acks: leasesOf(messages.slice(0, 4)) });
    const { heldBackBy } = await forecastRetention(stream, Date.now());
    expect(heldBackBy).toEqual([{ group: "behind", fromId: ids[4], sinceMs: Number(ids[4]?.split("-")[0]) }]);
  });

  test("does not name a group that has done enough, and says since when a message waits, not what came before it", async () => {
    const stream = await makeStream(["g"], { settings: { maxAgeMs: HOUR_MS } });
    await nativeClient().xadd(stream.keys.stream, "1000-0", "data", "1");
    await settleSome(stream, "g", { acks: leasesOf((await poll(stream, "g")).messages) });
    expect((await forecastRetention(stream, Date.now())).heldBackBy).toEqual([]);
    const id = await nativeClient().xadd(stream.keys.stream, "5000-0", "data", "2");
    expect((await forecastRetention(stream, Date.now())).heldBackBy).toEqual([
      { group: "g", fromId: id, sinceMs: 5_000 },
    ]);
  });

  test("counts what a group is done with once, after a seek back and with pending messages that were deleted", async () => {
    const stream = await makeStream(["sought", "ghosts"], { settings: { maxLength: 60 } });
    const native = nativeClient();
    const ids = Array.from({ length: 100 }, (_, i) => `${1_000 + i}-0`);
    for (const id of ids) await native.xadd(stream.keys.stream, id, "data", "1");
    for (const group of ["sought", "ghosts"]) {
      const { messages } = await poll(stream, group, { batchSize: 100 });
      await settleSome(stream, group, { acks: leasesOf(messages.slice(0, 60)) });
    }
    await seek(stream, "sought", { kind: "id", id: ids[49] ?? "" });
    expect(await forecastRetention(stream, Date.now())).toMatchObject({ next: { messages: 40 }, heldBackBy: [] });
    await native.xdel(stream.keys.stream, ...ids.slice(62, 92));
    await configureStream(stream, { maxLength: 15 }, Date.now());
    const { heldBackBy } = await forecastRetention(stream, Date.now());
    expect(heldBackBy).toMatchObject([{ group: "sought", fromId: ids[50] }]);
    await reap(stream);
    expect((await streamInfo(stream)).length).toBe(20);
  });

  test("stays within what there is, whatever lag another client has made Redis believe in", async () => {
    const stream = await makeStream([], { settings: { deleteAcknowledged: 1 } });
    const ids = await produceNumbers(stream, 10);
    const native = nativeClient();
    for (const [group, entriesRead] of [
      ["far", "0"],
      ["near", "1000"],
    ] as const) {
      await native.xgroup("CREATE", stream.keys.stream, group, ids[4] ?? "", "ENTRIESREAD", entriesRead);
    }
    const { next } = await forecastRetention(stream, Date.now());
    expect(next.messages).toBeGreaterThanOrEqual(1);
    expect(next.messages).toBeLessThanOrEqual(9);
  });

  test("says from whom a trim would take", async () => {
    const { stream } = await makeWorked({ maxAgeMs: HOUR_MS, unfinished: "drop" });
    const forecast = await forecastRetention(stream, Date.now() + 2 * HOUR_MS);
    expect(forecast).toMatchObject({ next: { messages: 20, messagesAre: "exact" }, heldBackBy: [] });
    expect(forecast.takesFrom).toMatchObject([{ group: "behind" }]);
    await reap(stream);
    expect(await forecastRetention(stream, Date.now() + 2 * HOUR_MS)).toMatchObject({ next: { messages: 0 } });
  });
});

test.each(["keep", "dead-letter"] as const)(
  "a trim (%s) that races consumers, producers, new groups, seeks and retries loses nothing, a hundred times",
  async (unfinished) => {
    for (let round = 0; round < 100; round++) {
      const stream = await makeStream(["g"], { settings: { maxLength: 3, unfinished } });
      const racing = { ...stream, redis: openRedis() };
      const ids = [...(await produceNumbers(stream, 8))];
      const { messages } = await poll(stream, "g", { batchSize: 4 });
      const [a = "", b = ""] = leasesOf(messages);
      await Promise.all([
        reap({ ...racing }, Date.now()),
        settleSome(stream, "g", { acks: [a], retries: [{ lease: b, delayMs: 0 }] }),
        produceNumbers(stream, 3).then(
          (more) => ids.push(...more),
          (error: unknown) => error,
        ),
        configureGroup(stream, "late", { kind: "first" }, {}),
        seek(stream, "g", { kind: "id", id: ids[round % 4] ?? "" }),
        poll(racing, "g", { consumer: "d", batchSize: 2 }),
        reap(stream, Date.now()),
      ]);
      const dead = (await idsOfLetters(stream, "g")).map((row) => (Array.isArray(row) ? row[0] : row));
      const kept = (await nativeClient().xrange(stream.keys.stream, "-", "+")).map(([id]) => id);
      const aside = await nativeClient().hvals(stream.keys.again("g"));
      const found = new Set([...dead, ...kept, messages[0]?.id, ...aside.map((text) => JSON.parse(text).id)]);
      expect(
        ids.filter((id) => !found.has(id)),
        `round ${round}`,
      ).toEqual([]);
    }
  },
);
