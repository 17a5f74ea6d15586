import type { Redis as IoRedis } from "ioredis";
import { describe, expect, test } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { leaseFormat } from "../../shared/lease.ts";
import { claim } from "../../shared/stream/claim.ts";
import { listConsumers, removeConsumer } from "../../shared/stream/consumers.ts";
import { summarizeDeadLetters } from "../../shared/stream/dead-letter-kinds.ts";
import { listDeadLetters, redrive } from "../../shared/stream/dead-letters.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, configureStream, type StreamPatch } from "../../shared/stream/manage.ts";
import { deleteMessage } from "../../shared/stream/messages.ts";
import { listPending } from "../../shared/stream/pending.ts";
import { replayToGroup } from "../../shared/stream/reread.ts";
import { trimNow } from "../../shared/stream/retention.ts";
import { messageStates } from "../../shared/stream/states.ts";
import { type EventStream, openStream } from "../../shared/stream/stream.ts";
import { slowestMs } from "../support/held-up.ts";
import { ownRedis } from "../support/own-redis.ts";

import { leasesOf, poll, settleSome, WAITING } from "../support/streams.ts";

/**
 * What Redis may be held up by one command, in ms of its processor's time. The aim is 20; this machine's cores are shared with
 * the tests themselves.
 */
const MOST_MS = 50;

/** A stream with the group `g`, in a Redis of the test's own: it is about how long that is held up. */
async function make(settings: StreamPatch = {}) {
  const { native, redis, open } = await ownRedis();
  const stream = openStream(open("tcp", 60_000), "w:", "s");
  await configureStream(stream, settings, Date.now());
  await configureGroup(stream, "g", { kind: "first" }, {});
  return { native, pid: redis.pid, stream };
}

type Trim = Awaited<ReturnType<typeof trimNow>>;
type Made = Awaited<ReturnType<typeof make>>;

/** Produces natively, in a script: quick, and without Weir's limits. */
async function fill({ native, stream }: Made, count: number, bytes: number): Promise<void> {
  const source = `
    local data = '"' .. string.rep('x', ARGV[2]) .. '"'
    for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'data', data) end`;
  // Not so much at once that the test's own script takes seconds.
  for (let left = count; left > 0; left -= 5_000) {
    await native.eval(source, 1, stream.keys.stream, Math.min(left, 5_000), bytes);
  }
}

/** Hands out natively. */
async function handOut({ native, stream }: Made, consumer: string, count: number): Promise<string[]> {
  const source = `
    local read = redis.call('XREADGROUP', 'GROUP', 'g', ARGV[1], 'COUNT', ARGV[2], 'STREAMS', KEYS[1], '>')
    local ids = {}
    for i, entry in ipairs(read[1][2]) do ids[i] = entry[1] end
    return ids`;
  const ids: string[] = [];
  while (ids.length < count) {
    const some = await native.eval(source, 1, stream.keys.stream, consumer, Math.min(10_000, count - ids.length));
    if (!Array.isArray(some)) throw new Error("expected ids");
    ids.push(...some.map(String));
  }
  return ids;
}

const leaseOf = (id: string, consumer = "c") => leaseFormat("s", "g").write({ id, consumer, deliveries: 1 });

function reap(stream: EventStream, consumerIdleMs = 10 ** 12) {
  const context = { redis: stream.redis, keyPrefix: "w:", consumerIdleMs };
  return runReaper(context, { nowMs: Date.now(), everyStream: true });
}

/** Lets what is pending have no delivery left. */
async function poison(native: IoRedis, stream: EventStream, ids: readonly string[]): Promise<void> {
  const pipeline = native.pipeline();
  for (const id of ids) {
    pipeline.call("XCLAIM", stream.keys.stream, "g", "c", 0, id, "IDLE", 10 ** 8, "RETRYCOUNT", 5, "JUSTID");
  }
  await pipeline.exec();
}

describe("no command holds Redis up for long:", () => {
  test.each([
    ["400 retries of half a megabyte", 400, 524_288, { maxMessageBytes: 1024 * 1024 }],
    ["400 retries of half a megabyte that another client wrote", 400, 524_288, {}],
    ["1,000 retries of 60 KB", 1_000, 60_000, {}],
  ])("%s are settled in turns, each fenced", async (_, count, bytes, settings) => {
    const made = await make(settings);
    await fill(made, count, bytes);
    const ids = await handOut(made, "c", count);
    // Somebody else has one of them by now.
    await made.native.call("XCLAIM", made.stream.keys.stream, "g", "other", 0, ids[count / 2] ?? "", "JUSTID");
    const retries = ids.map((id) => ({ lease: leaseOf(id), delayMs: 3_600_000 }));
    const { result, ms } = await slowestMs(made, () => settleSome(made.stream, "g", { retries }));
    expect(result).toMatchObject({ retried: count - 1, stale: [{ outcome: "superseded" }] });
    expect(ms).toBeLessThan(MOST_MS);
    expect(await groupInfo(made.stream, "g", 0)).toMatchObject({ pending: 1, delayed: count - 1 });
  });

  test("a consume that settles megabytes does so before it polls", async () => {
    const made = await make({ maxMessageBytes: 1024 * 1024 });
    await fill(made, 60, 300_000);
    const ids = await handOut(made, "c", 59);
    const rejects = ids.map((id) => ({ lease: leaseOf(id) }));
    const { result, ms } = await slowestMs(made, () => poll(made.stream, "g", { rejects, recover: true }));
    expect(result.settled).toMatchObject({ rejected: 59, stale: [] });
    expect(result.messages).toHaveLength(1);
    expect(ms).toBeLessThan(MOST_MS);
  });

  test.each([
    ["that the settings permit", { maxMessageBytes: 1024 * 1024 }],
    ["that another client wrote", {}],
  ])("400 poison messages of half a megabyte %s are swept", async (_, settings) => {
    const made = await make(settings);
    await fill(made, 400, 524_288);
    await poison(made.native, made.stream, await handOut(made, "c", 400));
    const { ms } = await slowestMs(made, () => reap(made.stream));
    expect(ms).toBeLessThan(MOST_MS);
    expect(await groupInfo(made.stream, "g", 0)).toMatchObject({ pending: 0, deadLetters: 400 });
  });

  test("two leases are extended of 300,000 that one consumer holds", async () => {
    const made = await make();
    await fill(made, 300_000, 10);
    const ids = await handOut(made, "c", 300_000);
    const leases = [leaseOf(ids[0] ?? ""), leaseOf(ids.at(-1) ?? "")];
    const { result, ms } = await slowestMs(made, () => settleSome(made.stream, "g", { extends: leases }));
    expect(result).toMatchObject({ extended: 2, stale: [] });
    expect(ms).toBeLessThan(MOST_MS);
  });

  test("1,000 leases of 1,000 consumers are extended, then retried", async () => {
    const made = await make();
    await fill(made, 1_000, 200);
    const leases: string[] = [];
    for (let i = 0; i < 1_000; i++) {
      const [id = ""] = await handOut(made, `c${i}`, 1);
      leases.push(leaseOf(id, `c${i}`));
    }
    const extended = await slowestMs(made, () => settleSome(made.stream, "g", { extends: leases }));
    expect(extended.result).toMatchObject({ extended: 1_000, stale: [] });
    expect(extended.ms).toBeLessThan(MOST_MS);
    const retries = leases.map((lease) => ({ lease }));
    const retried = await slowestMs(made, () => settleSome(made.stream, "g", { retries }));
    expect(retried.result).toMatchObject({ retried: 1_000, stale: [] });
    expect(retried.ms).toBeLessThan(MOST_MS);
  });

  test.each([
    ["keep", { deadLetters: 0, pending: 100_000, dropped: 0 }],
    ["dead-letter", { deadLetters: 100_400, pending: 0, dropped: 500 }],
    ["drop", { deadLetters: 0, pending: 0, dropped: 100_900 }],
  ] as const)(
    "a trim (%s) after 100,000 pending messages were trimmed by another client",
    async (unfinished, found) => {
      const made = await make({ unfinished });
      await fill(made, 100_000, 10);
      await handOut(made, "c", 100_000);
      await fill(made, 1_000, 10);
      await made.native.xtrim(made.stream.keys.stream, "MAXLEN", 500);
      const trim = { maxLength: 100, exact: true };
      let cursor: string | undefined;
      let slowest = 0;
      do {
        const request = { ...trim, cursor };
        const { result, ms } = await slowestMs<Trim>(made, () => trimNow(made.stream, request, Date.now()));
        slowest = Math.max(slowest, ms);
        cursor = result.next ?? undefined;
      } while (cursor !== undefined);
      expect(slowest).toBeLessThan(MOST_MS);
      expect(await groupInfo(made.stream, "g", 0)).toMatchObject(found);
    },
  );

  test("a million pending messages are swept in a few runs", { timeout: 240_000 }, async () => {
    const made = await make();
    await fill(made, 1_000_000, 10);
    for (let i = 0; i < 20; i++) await handOut(made, `dead${i}`, 50_000);
    // As if their leases had ended.
    await configureGroup(made.stream, "g", undefined, { ackWaitMs: 1_000 });
    await made.native.hdel(made.stream.keys.config, "ackWaitBefore:g");
    await expect
      .poll(() => listPending(made.stream, "g", { limit: 1, minIdleMs: 1_000 }))
      .toMatchObject({ items: [{}] });
    let expired = 0;
    let slowest = 0;
    for (let run = 0; run < 3 && expired < 1_000_000; run++) {
      const { result, ms } = await slowestMs(made, () => reap(made.stream));
      expired += result.groups[0]?.expired ?? 0;
      slowest = Math.max(slowest, ms);
    }
    expect(expired).toBe(1_000_000);
    expect(slowest).toBeLessThan(MOST_MS);
  });
});

describe("dead letters are counted, by kind or for a redrive, in bounded steps:", () => {
  const words = (bytes: number) => `string.rep('x', ${bytes})`;
  const wide = "for f = 1, 1000 do fields[#fields + 1], fields[#fields + 2] = 'f' .. f, 'v' end";
  const packed = `fields[2] = '[' .. string.rep('"name","v",', 45000) .. '"x","y"]' fields[1] = 'weir-fields'`;
  test.each([
    ["30,000 small ones, each of a kind of its own", 30_000, "fields[#fields] = i", {}],
    ["30,000 small ones in a stream of the smallest messages", 30_000, "", { maxMessageBytes: 1_024 }],
    ["3,000 of 60 KB", 3_000, `fields[2] = ${words(60_000)}`, {}],
    ["400 of half a megabyte", 400, `fields[2] = ${words(524_288)}`, { maxMessageBytes: 1024 * 1024 }],
    ["400 of half a megabyte that another client wrote", 400, `fields[2] = ${words(524_288)}`, {}],
    ["200 with words of a megabyte", 200, `fields[#fields] = ${words(1_000_000)} .. i`, {}],
    ["1,000 of 1,000 fields", 1_000, wide, {}],
    ["200 of 45,000 fields packed in one", 200, packed, {}],
  ])("%s", async (_, count, change, settings) => {
    const made = await make(settings);
    const source = `
      for i = 1, ARGV[1] do
        local fields = { 'data', '{"n":1}', 'type', 'order.paid', 'key', 'k', 'weir-id', i .. '-1', 'weir-reason', 'rejected',
          'weir-deliveries', '1', 'weir-consumer', 'c', 'weir-detail', 'no such address' }
        ${change}
        redis.call('XADD', KEYS[1], '*', unpack(fields))
      end`;
    await made.native.eval(source, 1, made.stream.keys.dead("g"), count);
    const { result, ms } = await slowestMs(made, () => summarizeDeadLetters(made.stream, "g"));
    expect(ms).toBeLessThan(MOST_MS);
    expect(result.kinds.length).toBeGreaterThan(0);
    const counted = await slowestMs(made, () => redrive(made.stream, "g", { limit: 1_000, dryRun: true }));
    expect(counted.result.count).toBeGreaterThan(0);
    expect(counted.ms).toBeLessThan(MOST_MS);
  });
});

describe("with 120,000 consumers", () => {
  test("they are listed, one is removed, and those that hold nothing go", { timeout: 240_000 }, async () => {
    const made = await make();
    const { native, stream } = made;
    for (let i = 0; i < 24; i++) {
      const create = "for i = 1, 5000 do redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], 'g', ARGV[1] .. i) end";
      await native.eval(create, 1, stream.keys.stream, `c${i}-`);
    }
    await fill(made, 2, 10);
    await handOut(made, "busy", 1);
    await native.xclaim(stream.keys.stream, "g", "c0-1", 0, (await handOut(made, "busy", 1))[0] ?? "");
    // XINFO CONSUMERS itself takes Redis 45 ms here, and nothing else tells the names.
    const listed = await slowestMs(made, () => listConsumers(stream, "g", { limit: 10 }), "EVAL", "EVALSHA");
    expect(listed.result.items).toHaveLength(10);
    expect(listed.ms).toBeLessThan(MOST_MS);
    const removed = await slowestMs(made, () => removeConsumer(stream, "g", "c0-2"));
    expect(removed.result).toBe(0);
    expect(removed.ms).toBeLessThan(MOST_MS);
    await expect(removeConsumer(stream, "g", "c0-2")).rejects.toMatchObject({ code: "unknown-consumer" });
    const settled = await slowestMs(made, () => settleSome(stream, "g", { acks: [leaseOf("1-1")] }));
    expect(settled.ms).toBeLessThan(MOST_MS);
    let left = 120_000;
    for (let run = 0; run < 3 && left > 3; run++) {
      const { ms } = await slowestMs(made, () => reap(stream, 1), "EVAL", "EVALSHA");
      expect(ms).toBeLessThan(MOST_MS);
      left = (await groupInfo(stream, "g", 0)).consumers;
    }
    expect((await listConsumers(stream, "g", { limit: 10 })).items).toMatchObject([
      { name: "busy", pending: 1 },
      { name: "c0-1", pending: 1 },
    ]);
  });

  test("a group with a crowd of them lets go of the idle ones after a minute, another one after a day", async () => {
    const made = await make();
    const { native, stream } = made;
    await configureGroup(stream, "few", { kind: "first" }, {});
    const create = "for i = 1, ARGV[1] do redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[2], 'c' .. i) end";
    await native.eval(create, 1, stream.keys.stream, 1_001, "g");
    await native.eval(create, 1, stream.keys.stream, 1_000, "few");
    const context = { redis: stream.redis, keyPrefix: "w:", consumerIdleMs: 1 };
    await expect.poll(async () => (await listConsumers(stream, "g", { limit: 1 })).items[0]?.idleMs).toBeGreaterThan(1);
    // The smaller of the two times: what is set may be less than a minute.
    await runReaper(context, { nowMs: Date.now(), everyStream: true });
    expect((await groupInfo(stream, "g", 0)).consumers).toBe(0);
    expect((await groupInfo(stream, "few", 0)).consumers).toBe(0);
    await native.eval(create, 1, stream.keys.stream, 1_001, "g");
    await native.eval(create, 1, stream.keys.stream, 1_000, "few");
    // A group of few is looked at once an hour.
    await expect.poll(async () => (await listConsumers(stream, "g", { limit: 1 })).items[0]?.idleMs).toBeGreaterThan(1);
    await runReaper(context, { nowMs: Date.now(), everyStream: true });
    expect((await groupInfo(stream, "g", 0)).consumers).toBe(0);
    expect((await groupInfo(stream, "few", 0)).consumers).toBe(1_000);
  });
});

test("with 100,000 messages of one millisecond aside, each is found", { timeout: 240_000 }, async () => {
  const made = await make({ maxMessageBytes: 1_024 });
  const { native, stream } = made;
  const add = "for i = 1, 5000 do redis.call('XADD', KEYS[1], '7-' .. (ARGV[1] + i), 'data', i) end";
  for (let i = 0; i < 20; i++) await native.eval(add, 1, stream.keys.stream, 5_000 * i);
  const all = { start: { kind: "first" }, end: { kind: "last" }, limit: 1_000 } as const;
  for (let cursor: string | undefined = "0-0"; cursor !== undefined; ) {
    const { next } = await replayToGroup(stream, "g", { ...all, cursor });
    cursor = next ?? undefined;
  }
  expect(await groupInfo(stream, "g", 0)).toMatchObject({ delayed: 100_000 });
  await native.xtrim(stream.keys.stream, "MAXLEN", 0);
  const { messages } = await poll(stream, "g", { batchSize: 1_000 });
  const handed = messages.at(-1)?.id ?? "";
  for (const [id, state] of [
    ["7-99999", "delayed"],
    ["7-54321", "delayed"],
    [handed, "pending"],
  ] as const) {
    const states = await slowestMs(made, () => messageStates(stream, id));
    expect(states.result).toMatchObject([{ state }]);
    expect(states.ms).toBeLessThan(MOST_MS);
  }
  const byForce = { consumer: "x", ids: [handed], minIdleMs: 0, force: true, limit: 10 };
  const claimed = await slowestMs(made, () => claim(stream, "g", byForce, WAITING));
  expect(claimed.result).toHaveLength(1);
  expect(claimed.ms).toBeLessThan(MOST_MS);
  for (const id of ["7-54321", handed]) {
    const deleted = await slowestMs(made, () => deleteMessage(stream, id));
    expect(deleted.ms).toBeLessThan(MOST_MS);
    await expect(deleteMessage(stream, id)).rejects.toMatchObject({ code: "unknown-message" });
  }
  // What was deleted in somebody's hands can be acknowledged, and counts nothing.
  expect(await settleSome(stream, "g", { acks: leasesOf(messages) })).toMatchObject({ acked: 999 });
  expect(await groupInfo(stream, "g", 0)).toMatchObject({ pending: 0, delayed: 98_999 });
  expect((await listDeadLetters(stream, "g", { limit: 1 })).items).toEqual([]);
});
