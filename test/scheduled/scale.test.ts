import { expect, test } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { configureStream } from "../../shared/stream/manage.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { nativeClient, openRedis, uniquePrefix } from "../support/redis.ts";

const MINUTE_MS = 60_000;

/** Registers streams with groups that have read all; natively, since it is many. */
async function makeMany({ streams, groupsEach, pending }: { streams: number; groupsEach: number; pending: number }) {
  const prefix = uniquePrefix();
  const native = nativeClient();
  const redis = openRedis();
  const pipeline = native.pipeline();
  for (let s = 0; s < streams; s++) {
    const stream = openStream(redis, prefix, `s${s}`);
    for (let i = 0; i < Math.max(1, pending); i++) pipeline.xadd(stream.keys.stream, "*", "data", String(i));
    for (let g = 0; g < groupsEach; g++) {
      pipeline.call("XGROUP", "CREATE", stream.keys.stream, `g${g}`, pending === 0 ? "$" : "0");
      if (pending > 0) pipeline.call("XREADGROUP", "GROUP", `g${g}`, "dead", "STREAMS", stream.keys.stream, ">");
    }
    pipeline.hset(stream.keys.config, "incarnation", "x");
    pipeline.zadd(`${prefix}streams`, 0, stream.name);
  }
  const results = await pipeline.exec();
  expect(results?.every(([error]) => error === null)).toBe(true);
  return { redis, native, prefix, context: { redis, keyPrefix: prefix, consumerIdleMs: 10 ** 12 } };
}

test("1,000 streams with 5,000 groups that all have work are served within 50 round trips", async () => {
  const { redis, context } = await makeMany({ streams: 1_000, groupsEach: 5, pending: 2 });
  const report = await runReaper(context, { nowMs: Date.now(), everyStream: false });
  expect(report).toMatchObject({ complete: true, backlog: 0, errors: [] });
  expect(redis.usage.roundTrips).toBeLessThanOrEqual(50);
});

test("what the budget leaves undone is done first next time: every stream has its turn", async () => {
  const { context, native, prefix } = await makeMany({ streams: 600, groupsEach: 1, pending: 1 });
  const max = { roundTrips: 6, durationMs: 60_000 };
  const nowMs = Date.now();
  const first = await runReaper(context, { nowMs, everyStream: false, max });
  expect(first.complete).toBe(false);
  expect(first.backlog).toBeGreaterThan(0);
  const reports = [first];
  for (let i = 1; i < 10 && !reports.at(-1)?.complete; i++) {
    reports.push(await runReaper(context, { nowMs: nowMs + i, everyStream: false, max }));
  }
  const scores = await native.zrange(`${prefix}streams`, "0", "-1", "WITHSCORES");
  expect(scores.filter((_, i) => i % 2 === 1).every((score) => Number(score) > 0)).toBe(true);
});

test("an idle system of 100 streams and 500 groups costs at most 1,000,000 commands a month", async () => {
  const { redis, context } = await makeMany({ streams: 100, groupsEach: 5, pending: 0 });
  const start = Date.now();
  const runOn = async (fromMinute: number, minutes: number) => {
    const before = redis.usage.commands;
    for (let minute = fromMinute; minute < fromMinute + minutes; minute++) {
      await runReaper(context, { nowMs: start + minute * MINUTE_MS, everyStream: false });
    }
    return redis.usage.commands - before;
  };
  const firstDay = await runOn(0, 1_440);
  const anotherDay = await runOn(1_440, 1_440);
  expect(firstDay + 29 * anotherDay).toBeLessThanOrEqual(1_000_000);
});

test("a stream that was quiet is visited at once after a PUT, and by a run that is asked for", async () => {
  const { redis, context, native, prefix } = await makeMany({ streams: 1, groupsEach: 1, pending: 0 });
  const later = Date.now() + 24 * 60 * MINUTE_MS;
  await runReaper(context, { nowMs: later, everyStream: false });
  const dueAt = async () => Math.floor(Number(await native.zscore(`${prefix}streams`, "s0")));
  expect(await dueAt()).toBe(later + 15 * MINUTE_MS);
  await configureStream(openStream(redis, prefix, "s0"), {}, later + 1);
  expect(await dueAt()).toBe(later + 1);
});
