import { describe, expect, test } from "vitest";
import { encodeMessage, type NewMessage } from "../../shared/message.ts";
import { type Connection, ConnectionError } from "../../shared/redis/connection.ts";
import { Redis } from "../../shared/redis/redis.ts";
import { listScheduledScript } from "../../shared/scripts/list-scheduled.lua.ts";
import { hourAt, parseScheduledCursor, parseScheduledId } from "../../shared/stream/buckets.ts";
import { streamInfo } from "../../shared/stream/inspect.ts";
import { configureStream, deleteStream } from "../../shared/stream/manage.ts";
import { produce } from "../../shared/stream/produce.ts";
import { decodePromoted, promoteCall } from "../../shared/stream/promote.ts";
import { forecastRetention } from "../../shared/stream/retention.ts";
import { cancelScheduled, getScheduled, listScheduled } from "../../shared/stream/scheduled.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { failure } from "../support/failure.ts";
import { connectionAt, ownRedis } from "../support/own-redis.ts";
import { BOTH_TRANSPORTS, nativeClient, openRedis } from "../support/redis.ts";
import {
  leasesOf,
  makeStream,
  passTimeOfScheduled,
  poll,
  produceNumbers,
  settleSome,
  type TestStream,
} from "../support/streams.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

function later(data: unknown, delayMs: number): NewMessage {
  return { data: JSON.stringify(data), schedule: { delayMs } };
}

function at(data: unknown, deliverAtMs: number): NewMessage {
  return { data: JSON.stringify(data), schedule: { deliverAtMs } };
}

/** Promotes until nothing more is due, as the reaper does. @returns how many were appended */
async function promoteAll(stream: TestStream, max = 1_000): Promise<number> {
  let [appended, buckets]: [number, readonly string[]] = [0, []];
  for (let step = 0; step < 200; step++) {
    const done = decodePromoted(await stream.redis.send(promoteCall(stream, buckets, max)));
    appended += done.appended;
    if (!done.more) return appended;
    buckets = done.buckets;
  }
  throw new Error("promotion does not end");
}

async function dataOf(stream: TestStream, native = nativeClient()): Promise<unknown[]> {
  const entries = await native.xrange(stream.keys.stream, "-", "+");
  return entries.map(([, fields]) => JSON.parse(fields[fields.indexOf("data") + 1] ?? ""));
}

/** The keys of scheduled messages that are there, without what stands before their names. */
async function keysOf(stream: TestStream): Promise<string[]> {
  const keys = await nativeClient().keys(`${stream.keys.stream}:later*`);
  return keys.map((key) => key.slice(stream.keys.stream.length + 1)).sort();
}

/** What a client sees that follows `next` to the end: the data, in the order of the pages. */
async function listAll(stream: TestStream, limit: number): Promise<unknown[]> {
  const listed: unknown[] = [];
  let cursor: string | null = null;
  for (let pages = 0; pages < 200; pages++) {
    const page: Awaited<ReturnType<typeof listScheduled>> = await listScheduled(stream, {
      cursor: cursor === null ? undefined : parseScheduledCursor(cursor),
      limit,
    });
    listed.push(...page.items.map(({ message }) => JSON.parse(message).data));
    cursor = page.next;
    if (cursor === null) return listed;
  }
  throw new Error("the list does not end");
}

async function idsOf(stream: TestStream): Promise<string[]> {
  return (await listScheduled(stream, { limit: 1_000 })).items.map(({ id }) => id);
}

function known(id: string) {
  const parsed = parseScheduledId(id);
  if (parsed === undefined) throw new Error(`not a scheduled id: ${id}`);
  return parsed;
}

describe.each(BOTH_TRANSPORTS)("a scheduled message over %s", (transport) => {
  test("is in no range and no group before it is due, then is appended once, in one round trip", async () => {
    const stream = await makeStream(["g"], { transport });
    const { usage } = stream.redis;
    await produceNumbers(stream, 1);
    const before = usage.roundTrips;
    const { ids } = await produce(stream, [later("b", 2 * HOUR_MS), { data: '"now"' }, later("a", HOUR_MS)]);
    expect(usage.roundTrips - before).toBe(1);
    expect(ids).toEqual([
      expect.stringMatching(/^later~\d+\.0~\d{12}\.[0-9a-f]{8}$/),
      expect.stringMatching(/^\d+-\d+$/),
      expect.stringMatching(/^later~\d+\.0~\d{12}\.[0-9a-f]{8}$/),
    ]);
    expect(await promoteAll(stream)).toBe(0);
    expect(await dataOf(stream)).toEqual([0, "now"]);
    expect((await poll(stream, "g")).messages).toHaveLength(2);
    await passTimeOfScheduled(nativeClient(), stream, HOUR_MS);
    expect(await promoteAll(stream)).toBe(1);
    expect(await dataOf(stream)).toEqual([0, "now", "a"]);
    await passTimeOfScheduled(nativeClient(), stream, HOUR_MS);
    expect(await promoteAll(stream)).toBe(1);
    expect(await promoteAll(stream)).toBe(0);
    expect(await dataOf(stream)).toEqual([0, "now", "a", "b"]);
    expect(await keysOf(stream)).toEqual([]);
    expect(await nativeClient().hmget(stream.keys.config, "laterDue", "scheduled")).toEqual([null, null]);
  });

  test("keeps every byte: type, key, attributes, binary, JSON text and long texts", async () => {
    const stream = await makeStream([], { transport, settings: { maxMessageBytes: 1024 * 1024 } });
    const messages: NewMessage[] = [
      {
        type: "a,b\n1",
        key: "ключ",
        data: '{"1.0":1.0,"z":-0,"a":12345678901234567890}',
        attributes: { "€": "\u2028\0\n" },
      },
      { data: "AP+Q", isBase64: true, datacontenttype: "image/png" },
      { data: JSON.stringify("😀".repeat(20_000)) },
      {},
    ];
    const schedule = { delayMs: MINUTE_MS };
    const { ids } = await produce(
      stream,
      messages.map((message) => ({ ...message, schedule })),
    );
    const listed = (await listScheduled(stream, { limit: 10 })).items;
    expect(listed.map(({ id }) => id)).toEqual(ids);
    expect(JSON.parse(listed[1]?.message ?? "")).toEqual({
      type: null,
      key: null,
      attributes: {},
      datacontenttype: "image/png",
      dataBase64: "AP+Q",
    });
    expect(listed[0]?.message).toContain('"data":{"1.0":1.0,"z":-0,"a":12345678901234567890}');
    expect(await getScheduled(stream, known(ids[2] ?? ""))).toEqual(listed[2]);
    await passTimeOfScheduled(nativeClient(), stream, MINUTE_MS);
    expect(await promoteAll(stream)).toBe(4);
    const entries = await nativeClient().xrange(stream.keys.stream, "-", "+");
    expect(entries.map(([, fields]) => fields)).toEqual(messages.map(encodeMessage));
  });
});

describe("when it is due", () => {
  test("Redis' clock decides, however far the Worker's is off", async () => {
    for (const offMs of [-3 * DAY_MS, -5_000, 5_000, 3 * DAY_MS]) {
      const stream = await makeStream([]);
      const sentMs = Date.now();
      const messages = [later(1, 90 * MINUTE_MS), at(2, sentMs + HOUR_MS)];
      const { ids } = await produce(stream, messages, undefined, undefined, sentMs + offMs);
      const [first, second] = (await listScheduled(stream, { limit: 10 })).items;
      expect([first?.id, second?.id]).toEqual([ids[1], ids[0]]);
      expect(first?.deliverAt).toBe(sentMs + HOUR_MS);
      expect(second?.deliverAt).toBeGreaterThanOrEqual(sentMs + 90 * MINUTE_MS);
      expect(second?.deliverAt).toBeLessThanOrEqual(Date.now() + 90 * MINUTE_MS);
    }
  });

  test("a time that has passed, and a delay of 0, are appended at once and have plain ids", async () => {
    const stream = await makeStream([]);
    const nowMs = Date.now();
    // By a clock that is a day behind it is to come.
    for (const offMs of [0, -DAY_MS]) {
      const { ids } = await produce(stream, [at(1, nowMs - 1), later(2, 0)], undefined, undefined, nowMs + offMs);
      expect(ids.every((id) => /^\d+-\d+$/.test(id))).toBe(true);
    }
    expect(await dataOf(stream)).toEqual([1, 2, 1, 2]);
    expect(await keysOf(stream)).toEqual([]);
  });

  test("many around the turn of an hour fit at once, though Redis is some time away", async () => {
    const stream = await makeStream([]);
    const turnMs = (hourAt(Date.now()) + 2) * HOUR_MS;
    const fromMs = turnMs - 30_000 - Date.now();
    const messages = Array.from({ length: 1_000 }, (_, i) => later(i, fromMs + i * 60));
    for (const awayMs of [100, -100, 5_000]) {
      const before = stream.redis.usage.roundTrips;
      await produce(stream, messages, undefined, undefined, Date.now() - awayMs);
      expect(stream.redis.usage.roundTrips - before).toBe(1);
    }
    expect(await streamInfo(stream)).toMatchObject({ scheduled: 3_000 });
    expect(await listAll(stream, 300)).toHaveLength(3_000);
  });

  test("a time more than 30 days ahead is refused, and names its message", async () => {
    const stream = await makeStream([]);
    const error = await failure(produce(stream, [{ data: "1" }, at(2, Date.now() + 31 * DAY_MS)]));
    expect(error).toMatchObject({ code: "invalid-request", options: { errors: [{ path: "messages[1].deliverAt" }] } });
    expect(await dataOf(stream)).toEqual([]);
  });

  test("messages are appended in the order of their times, those of one moment in the order in which they came", async () => {
    const stream = await makeStream([]);
    const nowMs = Date.now();
    const times = Array.from({ length: 300 }, (_, i) => nowMs + MINUTE_MS + ((i * 7_919) % 40) * 20 * MINUTE_MS);
    for (let i = 0; i < times.length; i += 50) {
      await produce(
        stream,
        times.slice(i, i + 50).map((ms, j) => at([ms, i + j], ms)),
      );
    }
    const expected = times.map((ms, i) => [ms, i]).sort(([a = 0, i = 0], [b = 0, j = 0]) => a - b || i - j);
    expect(await listAll(stream, 7)).toEqual(expected);
    await passTimeOfScheduled(nativeClient(), stream, DAY_MS);
    expect(await promoteAll(stream, 33)).toBe(300);
    expect(await dataOf(stream)).toEqual(expected);
  });
});

describe("more buckets than one step looks at", () => {
  /** 300 hours, and in one of them a second bucket whose messages stand between those of the first. */
  async function makeMany() {
    const stream = await makeStream([]);
    const native = nativeClient();
    const fromMs = (hourAt(Date.now()) + 2) * HOUR_MS;
    const times = Array.from({ length: 300 }, (_, i) => fromMs + i * HOUR_MS + 30 * MINUTE_MS);
    await produce(
      stream,
      times.map((ms) => at(ms, ms)),
    );
    // As if it were full: the next message of that hour goes into another bucket.
    const crowded = hourAt(times[127] ?? 0);
    const size = (await native.hget(stream.keys.laterSizes, `${crowded}.0`)) ?? "";
    await produce(stream, [at("last", crowded * HOUR_MS + 50 * MINUTE_MS)]);
    await native.hset(stream.keys.laterSizes, `${crowded}.0`, `2 ${64 * 1024 * 1024}`);
    await produce(stream, [at("between", crowded * HOUR_MS + 40 * MINUTE_MS)]);
    expect(await native.hkeys(stream.keys.laterSizes)).toContain(`${crowded}.1`);
    expect(size).not.toBe("");
    const expected: unknown[] = [...times.slice(0, 128), "between", "last", ...times.slice(128)];
    return { stream, native, expected };
  }

  test.each([7, 100, 1_000])("are all listed, in order, by pages of %s", async (limit) => {
    const { stream, expected } = await makeMany();
    expect(await listAll(stream, limit)).toEqual(expected);
  });

  test("are all listed where none of the first ones holds anything", async () => {
    const { stream, native, expected } = await makeMany();
    const buckets = await native.zrange(stream.keys.later, "0", "149");
    await native.del(...buckets.map((bucket) => stream.keys.laterDue(bucket)));
    expect(await listAll(stream, 1_000)).toEqual(expected.slice(151));
  });

  test("and are due at once are appended in order, and each step says that there are more", async () => {
    const { stream, native, expected } = await makeMany();
    await passTimeOfScheduled(native, stream, 320 * HOUR_MS);
    expect(await promoteAll(stream)).toBe(302);
    expect(await dataOf(stream)).toEqual(expected);
    expect(await keysOf(stream)).toEqual([]);
  });
});

describe("all or nothing:", () => {
  test("one message that is too large, or a key of another type, leaves nothing of either kind", async () => {
    const stream = await makeStream([]);
    const native = nativeClient();
    const messages = [{ data: "1" }, later("x".repeat(2_000), HOUR_MS)];
    expect((await failure(produce(stream, messages))).code).toBe("payload-too-large");
    const hour = hourAt(Date.now() + HOUR_MS);
    const odd = [
      stream.keys.later,
      stream.keys.laterSizes,
      stream.keys.laterMessages(`${hour}.0`),
      stream.keys.laterDue(`${hour}.0`),
    ];
    for (const key of odd) {
      await native.set(key, "another client's");
      const error = await failure(produce(stream, [{ data: "1" }, later(2, HOUR_MS)]));
      expect(error.code, key).toBe("conflict");
      await native.del(key);
    }
    expect(await dataOf(stream)).toEqual([]);
    expect(await keysOf(stream)).toEqual([]);
    expect(await streamInfo(stream)).toMatchObject({ length: 0, scheduled: 0 });
  });

  test("a full Redis refuses the whole of it, and appends what it has once there is room", async () => {
    const { native, open } = await ownRedis();
    const stream = { ...openStream(open("tcp"), "weir:", "s"), prefix: "weir:" };
    await configureStream(stream, {}, 0);
    await produce(stream, [later(1, HOUR_MS)]);
    await native.config("SET", "maxmemory", 1);
    expect((await failure(produce(stream, [later(2, HOUR_MS), { data: "3" }]))).code).toBe("redis-full");
    const moved = await native.hgetall(stream.keys.config);
    expect(moved.scheduled).toBe("1");
    await native.config("SET", "maxmemory", 0);
    await passTimeOfScheduled(native, stream, HOUR_MS);
    await native.config("SET", "maxmemory", 1);
    expect((await failure(promoteAll(stream))).code).toBe("redis-full");
    await native.config("SET", "maxmemory", 0);
    expect(await promoteAll(stream)).toBe(1);
    expect(await dataOf(stream, native)).toEqual([1]);
  });

  test("a stream that is gone takes none", async () => {
    const stream = await makeStream([]);
    await nativeClient().del(stream.keys.stream);
    expect((await failure(produce(stream, [later(1, HOUR_MS)]))).code).toBe("unknown-stream");
    await deleteStream(stream);
    expect((await failure(produce(stream, [later(1, HOUR_MS)]))).code).toBe("unknown-stream");
    expect(await keysOf(stream)).toEqual([]);
  });

  test("1,000 messages over 720 hours are stored in one round trip, by a bounded number of commands", async () => {
    const stream = await makeStream([]);
    const { usage } = stream.redis;
    const before = { ...usage };
    const messages = Array.from({ length: 1_000 }, (_, i) => later(i, 1 + ((i * HOUR_MS) % (720 * HOUR_MS))));
    const { ids } = await produce(stream, messages);
    expect(new Set(ids).size).toBe(1_000);
    expect(usage.roundTrips - before.roundTrips).toBeLessThanOrEqual(2);
    expect(usage.commands - before.commands).toBeLessThan(2 * (4 * 720 + 30));
    expect(await streamInfo(stream)).toMatchObject({ scheduled: 1_000 });
  });
});

test("the largest request there may be, all of it scheduled, is stored in one step that holds Redis up for no longer than a plain one", async () => {
  const stream = await makeStream([], { settings: { maxMessageBytes: 4 * 1024 * 1024 } });
  const usage = stream.redis.usage;
  for (const count of [4, 1_000]) {
    const text = "x".repeat(Math.floor((7.9 * 1024 * 1024) / count));
    const before = usage.commands;
    // The slow log of all tests fails where a produce takes Redis more than 150 ms.
    await produce(
      stream,
      Array.from({ length: count }, (_, i) => later([i, text], 50 * HOUR_MS)),
    );
    expect(usage.commands - before).toBeLessThan(25);
  }
  await deleteStream(stream);
});

test("large messages of one hour take several buckets, each far below what one key may hold, and keep their order", async () => {
  const stream = await makeStream([], { settings: { maxMessageBytes: 4 * 1024 * 1024 } });
  const native = nativeClient();
  const dueMs = (hourAt(Date.now()) + 2) * HOUR_MS;
  const text = "x".repeat(1_000_000);
  // Two isolates: one does not know what the other has filled.
  for (const cache of [new SettingsCache(), new SettingsCache()]) {
    for (let i = 0; i < 20; i++) {
      const messages = [at([i, text], dueMs + 30 - i), at([i, 2, text], dueMs + 30 - i)];
      const before = stream.redis.usage.roundTrips;
      await produce(stream, messages, undefined, cache);
      expect(stream.redis.usage.roundTrips - before).toBeLessThanOrEqual(2);
    }
  }
  const buckets = await native.zrange(stream.keys.later, "0", "-1");
  expect(buckets.length).toBeGreaterThan(2);
  for (const bucket of buckets) {
    expect(await native.memory("USAGE", stream.keys.laterMessages(bucket))).toBeLessThan(48 * 1024 * 1024);
  }
  expect((await listScheduled(stream, { limit: 100 })).items.length).toBeLessThan(5);
  await passTimeOfScheduled(native, stream, 3 * HOUR_MS);
  expect(await promoteAll(stream)).toBe(80);
  const order = (await dataOf(stream)).map((data) => (Array.isArray(data) ? data[0] : undefined));
  expect(order).toEqual(Array.from({ length: 80 }, (_, i) => 19 - Math.floor(i / 4)));
  expect(await keysOf(stream)).toEqual([]);
  await deleteStream(stream);
});

describe("an Idempotency-Key", () => {
  test("covers scheduled messages: the same ids, whatever became of them", async () => {
    const stream = await makeStream([]);
    const messages = [later(1, HOUR_MS), { data: "2" }, later(3, HOUR_MS)];
    const { ids } = await produce(stream, messages, "key");
    expect(await produce(stream, messages, "key")).toEqual({ ids, repeated: true });
    await cancelScheduled(stream, known(ids[0] ?? ""));
    await passTimeOfScheduled(nativeClient(), stream, HOUR_MS);
    await promoteAll(stream);
    expect(await produce(stream, messages, "key")).toEqual({ ids, repeated: true });
    expect(await dataOf(stream)).toEqual([2, 3]);
    const only = [later(4, HOUR_MS)];
    const other = await produce(stream, only, "other");
    expect(await produce(stream, only, "other")).toEqual({ ids: other.ids, repeated: true });
  });

  test("with another delay is other content", async () => {
    const stream = await makeStream([]);
    await produce(stream, [later(1, HOUR_MS)], "key");
    for (const message of [later(1, HOUR_MS + 1), at(1, HOUR_MS), { data: "1" }]) {
      expect((await failure(produce(stream, [message], "key"))).code).toBe("idempotency-mismatch");
    }
  });

  test("is not remembered by a stream made anew", async () => {
    const stream = await makeStream([]);
    const first = await produce(stream, [later(1, HOUR_MS)], "key");
    await deleteStream(stream);
    await configureStream(stream, {}, 0);
    const second = await produce(stream, [later(1, HOUR_MS)], "key");
    expect(second.repeated).toBe(false);
    expect(second.ids).not.toEqual(first.ids);
  });
});

describe("cancelling", () => {
  test("takes a message back, once; the others stay", async () => {
    const stream = await makeStream([]);
    const { ids } = await produce(stream, [later(1, HOUR_MS), later(2, HOUR_MS), later(3, 5 * HOUR_MS)]);
    const [first, second, third] = ids.map(known);
    if (!first || !second || !third) throw new Error("three ids");
    await cancelScheduled(stream, first);
    expect((await failure(cancelScheduled(stream, first))).code).toBe("unknown-message");
    expect((await failure(getScheduled(stream, first))).code).toBe("unknown-message");
    expect(await idsOf(stream)).toEqual(ids.slice(1));
    await cancelScheduled(stream, second);
    expect(await streamInfo(stream)).toMatchObject({ scheduled: 1 });
    await cancelScheduled(stream, third);
    expect(await streamInfo(stream)).toMatchObject({ scheduled: 0 });
    expect(await keysOf(stream)).toEqual([]);
  });

  test("against an append at the same time has exactly one winner, and is told which", async () => {
    const stream = await makeStream([]);
    const { ids } = await produce(
      stream,
      Array.from({ length: 60 }, (_, i) => later(i, HOUR_MS)),
    );
    await passTimeOfScheduled(nativeClient(), stream, HOUR_MS);
    const other = { ...stream, redis: openRedis() };
    const cancelling = Promise.all(
      ids.map((id, i) =>
        cancelScheduled(i % 2 === 0 ? stream : other, known(id)).then(
          () => i,
          () => undefined,
        ),
      ),
    );
    const promoting = Promise.all([promoteAll(stream, 7), promoteAll(other, 5)]);
    const cancelled = (await cancelling).filter((i) => i !== undefined);
    await promoting;
    const appended = await dataOf(stream);
    expect([...cancelled, ...appended].sort((a, b) => Number(a) - Number(b))).toEqual(ids.map((_, i) => i));
  });

  test("says 404 of a stream or message that is not there, also by the id of an earlier stream of that name", async () => {
    const stream = await makeStream([]);
    const { ids } = await produce(stream, [later(1, HOUR_MS)]);
    const id = known(ids[0] ?? "");
    await deleteStream(stream);
    for (const ask of [cancelScheduled(stream, id), getScheduled(stream, id), listScheduled(stream, { limit: 1 })]) {
      expect((await failure(ask)).code).toBe("unknown-stream");
    }
    await configureStream(stream, {}, 0);
    await produce(stream, [later(1, HOUR_MS)]);
    expect((await failure(cancelScheduled(stream, id))).code).toBe("unknown-message");
    expect(await idsOf(stream)).toHaveLength(1);
  });
});

describe("a stream at its maxLength", () => {
  test("takes scheduled messages; due ones wait for room, as the figures say, and lose nothing", async () => {
    const stream = await makeStream(["g"], { settings: { maxLength: 5 } });
    const native = nativeClient();
    await produceNumbers(stream, 5);
    await produce(
      stream,
      Array.from({ length: 4 }, (_, i) => later(100 + i, HOUR_MS)),
    );
    await passTimeOfScheduled(native, stream, HOUR_MS + 5_000);
    const done = decodePromoted(
      await stream.redis.send(promoteCall(stream, [`${hourAt(Date.now() + HOUR_MS)}.0`], 100)),
    );
    expect(done).toMatchObject({ appended: 0, more: false, fullFor: "g" });
    expect(await forecastRetention(stream, Date.now())).toMatchObject({
      scheduled: 4,
      overdueSince: expect.any(Number),
    });
    const { messages } = await poll(stream, "g", { batchSize: 3 });
    await settleSome(stream, "g", { acks: leasesOf(messages) });
    expect(await promoteAll(stream)).toBe(3);
    expect(await dataOf(stream)).toEqual([3, 4, 100, 101, 102]);
    const rest = await poll(stream, "g", { batchSize: 10 });
    await settleSome(stream, "g", { acks: leasesOf(rest.messages) });
    expect(await promoteAll(stream)).toBe(1);
    expect((await poll(stream, "g")).messages.map(({ data }) => data)).toEqual([103]);
  });

  test("gives the next free place to what is due, not to what a produce brings", async () => {
    const stream = await makeStream(["g"], { settings: { maxLength: 3 } });
    const cache = new SettingsCache();
    await produceNumbers(stream, 3);
    await produce(stream, [later("due", HOUR_MS)], undefined, cache);
    await passTimeOfScheduled(nativeClient(), stream, HOUR_MS);
    const { messages } = await poll(stream, "g", { batchSize: 1 });
    await settleSome(stream, "g", { acks: leasesOf(messages) });
    const error = await failure(produce(stream, [{ data: '"new"' }], undefined, cache, Date.now() + 2 * HOUR_MS));
    expect(error.code).toBe("stream-full");
    expect(await dataOf(stream)).toEqual([1, 2, "due"]);
  });

  test("is not trimmed further than what is due needs", async () => {
    const stream = await makeStream(["g"], { settings: { maxLength: 5_000 } });
    for (let i = 0; i < 5; i++) await produceNumbers(stream, 1_000);
    await nativeClient().xgroup("SETID", stream.keys.stream, "g", "$");
    await produce(stream, [later("x", HOUR_MS)]);
    await passTimeOfScheduled(nativeClient(), stream, HOUR_MS);
    expect(await promoteAll(stream)).toBe(1);
    expect((await streamInfo(stream)).length).toBeGreaterThan(4_800);
  });
});

describe("requests that pass by", () => {
  test("a poll that finds something due appends it, and says to come back at once", async () => {
    const stream = await makeStream(["g"]);
    const cache = new SettingsCache();
    await produce(stream, [later(1, HOUR_MS)], undefined, cache);
    const first = await poll(stream, "g", {}, cache);
    const waits = await poll(stream, "g", { pollState: first.pollState }, cache);
    expect(waits.pollAfterMs).toBeGreaterThan(0);
    await passTimeOfScheduled(nativeClient(), stream, HOUR_MS);
    const found = await poll(stream, "g", {}, cache);
    expect(found).toMatchObject({ messages: [], pollAfterMs: 0 });
    const next = await poll(stream, "g", { pollState: found.pollState }, cache);
    expect(next.messages.map(({ data }) => data)).toEqual([1]);
  });

  test("a poll says to come back when the next one is due", async () => {
    const stream = await makeStream(["g"]);
    let state = await poll(stream, "g");
    for (let i = 0; i < 12; i++) state = await poll(stream, "g", { pollState: state.pollState });
    expect(state.pollAfterMs).toBeGreaterThan(10_000);
    await produce(stream, [later(1, 8_000)]);
    const { pollAfterMs } = await poll(stream, "g", { pollState: state.pollState });
    expect(pollAfterMs).toBeGreaterThan(0);
    expect(pollAfterMs).toBeLessThanOrEqual(8_000);
  });

  test("a produce that knows that something is due appends it, in its own round trip", async () => {
    const stream = await makeStream([]);
    const cache = new SettingsCache();
    await produce(stream, [later(1, HOUR_MS)], undefined, cache);
    await passTimeOfScheduled(nativeClient(), stream, HOUR_MS);
    const before = stream.redis.usage.roundTrips;
    await produce(stream, [{ data: "2" }], undefined, cache, Date.now() + HOUR_MS);
    expect(stream.redis.usage.roundTrips - before).toBe(1);
    expect(await dataOf(stream)).toEqual([1, 2]);
  });

  test("a produce was done, whatever becomes of what it appends in passing", async () => {
    const { native, open } = await ownRedis();
    const stream = { ...openStream(open("tcp"), "weir:", "s"), prefix: "weir:" };
    const cache = new SettingsCache();
    await configureStream(stream, {}, 0);
    await produce(stream, [later(1, HOUR_MS)], undefined, cache);
    await passTimeOfScheduled(native, stream, HOUR_MS);
    await native.script("FLUSH");
    await produce(stream, [{ data: "2" }], undefined, cache);
    // Its source gets no answer.
    const inner = connectionAt("tcp", Number(native.options.port), 10_000);
    const dying: Connection = {
      async run(commands, options) {
        if (commands.some(([name]) => name === "EVAL")) throw new ConnectionError("killed", { maybeRan: true });
        return inner.run(commands, options);
      },
      close: () => inner.close(),
    };
    const other = { ...stream, redis: new Redis(dying) };
    const { ids } = await produce(other, [{ data: "3" }], undefined, cache, Date.now() + HOUR_MS);
    expect(ids).toHaveLength(1);
    expect(await dataOf(stream, native)).toEqual([2, 3]);
  });

  test("a full stream is not tried again by each of them", async () => {
    const stream = await makeStream(["g"], { settings: { maxLength: 3 } });
    const cache = new SettingsCache();
    await produceNumbers(stream, 3);
    await produce(stream, [later(1, HOUR_MS)], undefined, cache);
    await passTimeOfScheduled(nativeClient(), stream, HOUR_MS);
    const costOf = async () => {
      const before = stream.redis.usage.roundTrips;
      await poll(stream, "g", { batchSize: 1 }, cache);
      return stream.redis.usage.roundTrips - before;
    };
    expect(await costOf()).toBeGreaterThan(1);
    expect([await costOf(), await costOf()]).toEqual([1, 1]);
  });

  test("where nothing is due, a produce and a poll cost what they cost without anything scheduled", async () => {
    const costs = [];
    for (const scheduled of [0, 500]) {
      const stream = await makeStream(["g"]);
      const cache = new SettingsCache();
      if (scheduled > 0) {
        const many = Array.from({ length: scheduled }, (_, i) => later(i, HOUR_MS + i * MINUTE_MS));
        await produce(stream, many, undefined, cache);
      }
      await produce(stream, [{ data: "1" }], undefined, cache);
      const { usage } = stream.redis;
      const costOf = async (run: () => Promise<unknown>) => {
        const before = { ...usage };
        await run();
        return [usage.commands - before.commands, usage.roundTrips - before.roundTrips];
      };
      const { pollState } = await poll(stream, "g", {}, cache);
      costs.push([
        await costOf(() => produce(stream, [{ data: "1" }, { data: "2" }], undefined, cache)),
        await costOf(() => produce(stream, [{ data: "1" }], "key", cache)),
        await costOf(() => poll(stream, "g", {}, cache)),
        await costOf(() => poll(stream, "g", { pollState }, cache)),
      ]);
    }
    expect(costs[1]).toEqual(costs[0]);
    // The script and its two XADDs.
    expect(costs[0]?.[0]).toEqual([3, 1]);
  });
});

describe("whatever another client or version has left", () => {
  async function makeDue(count = 3) {
    const stream = await makeStream([]);
    const native = nativeClient();
    const { ids } = await produce(
      stream,
      Array.from({ length: count }, (_, i) => later(i, HOUR_MS)),
    );
    const { bucket } = known(ids[0] ?? "");
    return { stream, native, ids, bucket, keys: stream.keys };
  }

  test("a payload that cannot be read stops none behind it, is kept, and is left out of lists", async () => {
    const { stream, native, ids, bucket, keys } = await makeDue(5);
    const odd = ["", "x", "3,1\nab", "1,1,1\nabc"];
    for (const [i, text] of odd.entries())
      await native.hset(keys.laterMessages(bucket), known(ids[i] ?? "").member, text);
    expect(await idsOf(stream)).toEqual(ids.slice(4));
    expect((await failure(getScheduled(stream, known(ids[0] ?? "")))).code).toBe("unknown-message");
    await passTimeOfScheduled(native, stream, HOUR_MS);
    const done = decodePromoted(await stream.redis.send(promoteCall(stream, [bucket], 100)));
    expect(done).toMatchObject({ appended: 1, unreadable: 4, more: false });
    expect(done.nextDueMs).toBeGreaterThan(Date.now() + HOUR_MS - MINUTE_MS);
    expect(await dataOf(stream)).toEqual([4]);
    expect(await native.hlen(keys.laterMessages(bucket))).toBe(4);
  });

  test("a bucket whose messages were deleted is forgotten, and the figures are right again", async () => {
    for (const which of ["messages", "times", "both"]) {
      const { stream, native, bucket, keys } = await makeDue();
      await produce(stream, [later("other", 5 * HOUR_MS)]);
      await passTimeOfScheduled(native, stream, HOUR_MS);
      if (which !== "times") await native.del(keys.laterMessages(bucket));
      if (which !== "messages") await native.del(keys.laterDue(bucket));
      expect(await promoteAll(stream), which).toBe(0);
      expect(await streamInfo(stream)).toMatchObject({ scheduled: 1, length: 0 });
      expect(await native.zcard(keys.later)).toBe(1);
      await passTimeOfScheduled(native, stream, 4 * HOUR_MS);
      expect(await promoteAll(stream)).toBe(1);
      expect(await keysOf(stream)).toEqual([]);
    }
  });

  test("a list of buckets that was deleted is restored; sizes that were deleted do no harm", async () => {
    for (const key of ["later", "laterSizes"] as const) {
      const { stream, native, keys } = await makeDue();
      await passTimeOfScheduled(native, stream, HOUR_MS);
      await native.del(keys[key]);
      expect(await promoteAll(stream), key).toBe(3);
      expect(await keysOf(stream)).toEqual([]);
      expect(await streamInfo(stream)).toMatchObject({ scheduled: 0, length: 3 });
    }
  });

  test("settings that were deleted are made anew, with what is scheduled", async () => {
    const { stream, native, keys } = await makeDue();
    await native.del(keys.config);
    await produceNumbers(stream, 1);
    await produce(stream, [{ data: "1" }], "adopts");
    expect(await streamInfo(stream)).toMatchObject({ scheduled: 3 });
    await passTimeOfScheduled(native, stream, HOUR_MS);
    expect(await promoteAll(stream)).toBe(3);
    expect(await keysOf(stream)).toEqual([]);
  });

  test("settings that were deleted are made anew by a PUT, with what is scheduled", async () => {
    const { stream, native, keys } = await makeDue();
    await native.del(keys.config);
    await configureStream(stream, {}, 0);
    expect(await streamInfo(stream)).toMatchObject({ scheduled: 3 });
    expect(await native.hget(keys.config, "laterDue")).not.toBeNull();
    await passTimeOfScheduled(native, stream, HOUR_MS);
    expect(await promoteAll(stream)).toBe(3);
  });

  test("a list of buckets that was deleted is restored before anything is noted in it", async () => {
    for (const step of ["produce", "cancel", "adopt"]) {
      const { stream, native, ids, keys } = await makeDue();
      const { ids: others } = await produce(stream, [later("other", 5 * HOUR_MS), later("third", 9 * HOUR_MS)]);
      await native.del(keys.later);
      if (step === "produce") await produce(stream, [later("more", 20 * HOUR_MS)]);
      if (step === "cancel") await cancelScheduled(stream, known(others[0] ?? ""));
      if (step === "adopt") {
        await native.del(keys.config);
        await configureStream(stream, {}, 0);
      }
      const left = { produce: 6, cancel: 4, adopt: 5 }[step];
      expect(await idsOf(stream), step).toHaveLength(left ?? 0);
      expect(await idsOf(stream)).toEqual(expect.arrayContaining([...ids]));
      await passTimeOfScheduled(native, stream, DAY_MS);
      expect(await promoteAll(stream)).toBe(left);
      await deleteStream(stream);
      expect(await native.keys(`${stream.prefix}*`)).toEqual([]);
    }
  });

  test("where all that names the buckets was deleted, the figures end, and it is told", async () => {
    const { stream, native, keys } = await makeDue();
    await passTimeOfScheduled(native, stream, HOUR_MS);
    await native.del(keys.later, keys.laterSizes);
    const done = decodePromoted(await stream.redis.send(promoteCall(stream, [], 100)));
    expect(done).toMatchObject({ appended: 0, missing: 3, more: false, nextDueMs: undefined });
    expect(await streamInfo(stream)).toMatchObject({ scheduled: 0 });
    expect(await native.hmget(keys.config, "laterDue", "scheduled")).toEqual([null, null]);
  });

  test("where all that names the buckets was deleted, the one that is looked for is found, and the rest is told", async () => {
    const { stream, native, bucket, keys } = await makeDue();
    await produce(stream, [later("other", 5 * HOUR_MS)]);
    await passTimeOfScheduled(native, stream, HOUR_MS);
    await native.del(keys.later, keys.laterSizes);
    const done = decodePromoted(await stream.redis.send(promoteCall(stream, [bucket], 100)));
    expect(done).toMatchObject({ appended: 3, missing: 1, more: false, nextDueMs: undefined });
    expect(await dataOf(stream)).toEqual([0, 1, 2]);
    expect(await streamInfo(stream)).toMatchObject({ scheduled: 0 });
  });

  test("messages whose times were deleted are told as missing", async () => {
    const { stream, native, bucket, keys } = await makeDue();
    await passTimeOfScheduled(native, stream, HOUR_MS);
    await native.del(keys.laterDue(bucket));
    const done = decodePromoted(await stream.redis.send(promoteCall(stream, [bucket], 100)));
    expect(done).toMatchObject({ appended: 0, missing: 3, more: false, nextDueMs: undefined });
    expect(await keysOf(stream)).toEqual([]);
  });

  test("a payload of more fields than Redis takes from a script is let be: nothing is appended twice", async () => {
    const { stream, native, ids, bucket, keys } = await makeDue();
    const fields = Array.from({ length: 9_000 }, () => "1");
    const odd = `${fields.join(",")}\n${"x".repeat(9_000)}`;
    await native.hset(keys.laterMessages(bucket), known(ids[1] ?? "").member, odd);
    expect(await idsOf(stream)).toEqual([ids[0], ids[2]]);
    await passTimeOfScheduled(native, stream, HOUR_MS);
    const done = decodePromoted(await stream.redis.send(promoteCall(stream, [bucket], 100)));
    expect(done).toMatchObject({ appended: 2, unreadable: 1, more: false });
    expect(await promoteAll(stream)).toBe(0);
    expect(await dataOf(stream)).toEqual([0, 2]);
  });

  test("a list of messages that have lost their payloads looks at a bounded number in one step", async () => {
    const { stream, native, bucket, keys } = await makeDue();
    const dueMs = Date.now() + HOUR_MS;
    for (let i = 0; i < 20; i++) {
      const members = Array.from({ length: 1_000 }, (_, j) => [dueMs + i, `${String(1e11 + i * 1_000 + j)}.x`]);
      await native.zadd(keys.laterDue(bucket), ...members.flat());
    }
    await native.del(keys.laterMessages(bucket));
    const { usage } = stream.redis;
    const before = usage.commands;
    await stream.redis.send({
      script: listScheduledScript,
      keys: [keys.stream, keys.config, keys.later, keys.laterMessages(bucket), keys.laterDue(bucket)],
      args: [10, 0, "", bucket],
    });
    // A hundred times ten, and the pages that they are of.
    expect(usage.commands - before).toBeLessThan(130);
    expect(await listAll(stream, 10)).toEqual([]);
  });

  test("a bucket of another type is let be, and stops no other", async () => {
    const { stream, native, bucket, keys } = await makeDue();
    await produce(stream, [later("other", 2 * HOUR_MS)]);
    await passTimeOfScheduled(native, stream, 2 * HOUR_MS);
    await native.del(keys.laterDue(bucket));
    await native.set(keys.laterDue(bucket), "another client's");
    expect(await promoteAll(stream)).toBe(1);
    expect(await dataOf(stream)).toEqual(["other"]);
    expect(await native.get(keys.laterDue(bucket))).toBe("another client's");
    expect(await native.hlen(keys.laterMessages(bucket))).toBe(3);
  });

  test("a counter that is no number breaks nothing: ids stay different", async () => {
    const { stream, native, ids, keys } = await makeDue();
    await native.hset(keys.config, "laterSequence", "x", "scheduled", "y", "laterDue", "z");
    const more = await produce(stream, [later(10, HOUR_MS), later(11, HOUR_MS)]);
    expect(new Set([...ids, ...more.ids]).size).toBe(5);
    await passTimeOfScheduled(native, stream, 2 * HOUR_MS);
    expect(await promoteAll(stream)).toBe(5);
    expect(await streamInfo(stream)).toMatchObject({ scheduled: 0, length: 5 });
  });
});

describe("a counter that another client has set", () => {
  test.each(["1000000000000000000", "999999999999999", "9223372036854775807", "-5", "0", "2", "1.5"])(
    "to %s loses no message, and ids stay different",
    async (value) => {
      const stream = await makeStream([]);
      const native = nativeClient();
      const ids: string[] = [];
      const send = async (...data: unknown[]) => {
        const { ids: more } = await produce(
          stream,
          data.map((one) => later(one, HOUR_MS)),
        );
        ids.push(...more);
      };
      await send(0, 1, 2);
      for (let i = 0; i < 3; i++) {
        await native.hset(stream.keys.config, "laterSequence", value);
        await send(3 + 2 * i, 4 + 2 * i);
      }
      expect(new Set(ids).size).toBe(9);
      expect(ids.every((id) => parseScheduledId(id) !== undefined)).toBe(true);
      expect((await listAll(stream, 100)).sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
      await passTimeOfScheduled(native, stream, 2 * HOUR_MS);
      expect(await promoteAll(stream)).toBe(9);
      expect(await streamInfo(stream)).toMatchObject({ scheduled: 0, length: 9 });
    },
  );
});

describe("a stream that is deleted", () => {
  test.each([
    ["by Weir", (stream: TestStream) => deleteStream(stream)],
    ["by another client, its settings too", ({ keys }: TestStream) => nativeClient().del(keys.stream, keys.config)],
    ["by another client", ({ keys }: TestStream) => nativeClient().del(keys.stream)],
    [
      "by another client, all but the messages and their sizes",
      ({ keys }: TestStream) => nativeClient().del(keys.stream, keys.later, keys.config),
    ],
    [
      "by another client, the list of buckets too",
      ({ keys }: TestStream) => nativeClient().del(keys.stream, keys.later),
    ],
  ])("%s and made anew inherits nothing", async (_, remove) => {
    const stream = await makeStream(["g"]);
    await produce(
      stream,
      Array.from({ length: 1_000 }, (_, i) => later(i, 1 + i * 43 * MINUTE_MS)),
    );
    await remove(stream);
    await configureStream(stream, {}, 0);
    expect(await keysOf(stream)).toEqual([]);
    expect(await streamInfo(stream)).toMatchObject({ scheduled: 0, length: 0 });
    expect(await promoteAll(stream)).toBe(0);
    await deleteStream(stream);
    expect(await nativeClient().keys(`${stream.prefix}*`)).toEqual([]);
  });
});
