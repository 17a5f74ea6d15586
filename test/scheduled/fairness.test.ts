import { describe, expect, test } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { alertsKey, reaperRunsKey, registryKey } from "../../shared/keys.ts";
import { listDeadLetters } from "../../shared/stream/dead-letters.ts";
import { configureGroup, configureStream } from "../../shared/stream/manage.ts";
import { produce } from "../../shared/stream/produce.ts";
import { trimNow } from "../../shared/stream/retention.ts";
import { type EventStream, openStream } from "../../shared/stream/stream.ts";
import { type OwnRedis, ownRedis } from "../support/own-redis.ts";
import { nativeClient, uniquePrefix } from "../support/redis.ts";
import { age, leasesOf, makeStream, poll, produceNumbers, settleSome } from "../support/streams.ts";

const HOUR_MS = 3_600_000;

/** Appends many small messages natively, since it is many. */
async function append(native: OwnRedis["native"], stream: EventStream, count: number): Promise<void> {
  for (let made = 0; made < count; made += 10_000) {
    const pipeline = native.pipeline();
    for (let i = 0; i < 10_000 && made + i < count; i++)
      pipeline.xadd(stream.keys.stream, "*", "data", `"${"x".repeat(190)}"`);
    await pipeline.exec();
  }
}

test("however much is pending in one group, every other stream gets all its jobs at once, and that group goes on", async () => {
  const native = nativeClient();
  const big = await makeStream(["g"]);
  await append(native, big, 120_000);
  await native.xreadgroup("GROUP", "g", "dead", "COUNT", 120_000, "STREAMS", big.keys.stream, ">");
  await configureGroup(big, "g", undefined, { ackWaitMs: 1_000 });
  await native.hdel(big.keys.config, "ackWaitBefore:g");
  // Their leases have ended: nothing waits for that here but the setting.
  await native.hset(big.keys.config, "ackWaitMs:g", 0);
  const other = openStream(big.redis, big.prefix, "other");
  await configureStream(other, { maxAgeMs: HOUR_MS, maxMessageBytes: 1_024 }, Date.now());
  await configureGroup(other, "g", { kind: "first" }, { maxDeliveries: 1, alertDeadLetters: 0 });
  await produceNumbers(other, 10);
  const { messages } = await poll(other, "g");
  await settleSome(other, "g", {
    acks: leasesOf(messages.slice(0, 6)),
    rejects: [{ lease: messages[6]?.lease ?? "" }],
  });
  await age(native, other, "g");

  const context = { redis: big.redis, keyPrefix: big.prefix, consumerIdleMs: 10 ** 9 };
  // Room for a look, the first steps, one round of further ones, and the end.
  const max = { roundTrips: 4, durationMs: 60_000 };
  const first = await runReaper(context, { nowMs: Date.now() + 2 * HOUR_MS, everyStream: false, max });
  expect(first).toMatchObject({ complete: false, backlog: 1, errors: [] });
  expect(first.streams).toContainEqual({ stream: "other", promoted: 0, trimmed: 7, deadLettered: 0, dropped: 0 });
  expect(first.groups).toContainEqual(expect.objectContaining({ stream: "other", group: "g", deadLettered: 3 }));
  const runs = [first];
  while (!runs.at(-1)?.complete && runs.length < 10) {
    runs.push(await runReaper(context, { nowMs: Date.now() + 2 * HOUR_MS + runs.length, everyStream: false, max }));
  }
  const swept = runs.flatMap(({ groups }) => groups.filter(({ stream }) => stream === big.name));
  expect(swept.reduce((sum, { expired }) => sum + expired, 0)).toBe(120_000);
  expect(runs.length).toBeLessThanOrEqual(3);
});

test("300 streams with work all have their turn, those first that have waited longest, however short the budget", async () => {
  const prefix = uniquePrefix();
  const stream = await makeStream();
  const native = nativeClient();
  const pipeline = native.pipeline();
  for (let s = 0; s < 300; s++) {
    const { keys } = openStream(stream.redis, prefix, `s${s}`);
    pipeline.xadd(keys.stream, "1-0", "data", "1");
    pipeline.hset(keys.config, "maxAgeMs", 1_000);
    pipeline.zadd(registryKey(prefix), s, `s${s}`);
  }
  await pipeline.exec();
  const context = { redis: stream.redis, keyPrefix: prefix, consumerIdleMs: 10 ** 9 };
  const trimmed = new Set<string>();
  const nowMs = Date.now();
  for (let run = 0; run < 2; run++) {
    const max = { roundTrips: 3, durationMs: 60_000 };
    const report = await runReaper(context, { nowMs: nowMs + run, everyStream: false, max });
    for (const { stream: name } of report.streams) trimmed.add(name);
  }
  expect(trimmed.size).toBe(300);
});

test("at least 5,000 messages a second are moved to dead letters before they are trimmed, 20 ms away from Redis", async () => {
  const own = await ownRedis();
  const stream = openStream(own.open("rest"), "weir:", "s");
  await configureStream(stream, { maxLength: 10, unfinished: "dead-letter" }, Date.now());
  for (const group of ["a", "b"]) await configureGroup(stream, group, { kind: "first" }, {});
  await append(own.native, stream, 30_000);
  own.upstash.latencyMs = 20;
  const context = { redis: stream.redis, keyPrefix: "weir:", consumerIdleMs: 10 ** 9 };
  const report = await runReaper(context, { nowMs: Date.now(), everyStream: true });
  expect(report).toMatchObject({ complete: true, errors: [], streams: [{ trimmed: 29_990, deadLettered: 59_980 }] });
  console.log(`${Math.round((29_990 / report.durationMs) * 1_000)} messages a second for two groups`);
  expect((29_990 / report.durationMs) * 1_000).toBeGreaterThan(5_000);
  expect(await own.native.xlen(stream.keys.dead("a"))).toBe(29_990);
});

test("one step copies about 4 MiB at the most, whatever messages weigh", async () => {
  const stream = await makeStream(["g"], { settings: { maxMessageBytes: 4 * 1024 * 1024, unfinished: "dead-letter" } });
  for (let i = 0; i < 6; i++) await produce(stream, [{ data: JSON.stringify("x".repeat(1024 * 1024)) }]);
  await produceNumbers(stream, 100);
  const before = stream.redis.usage.roundTrips;
  expect(await trimNow(stream, { maxLength: 0, exact: true }, Date.now())).toMatchObject({ trimmed: 106 });
  // One to learn the groups' names, and at least two for 6 MiB.
  expect(stream.redis.usage.roundTrips - before).toBeGreaterThanOrEqual(3);
  expect((await listDeadLetters(stream, "g", { limit: 1_000 })).items.length).toBeGreaterThan(0);
});

describe.each([1, 10, 4_096])("with Redis' nodes of %i entries, so that ~ leaves little or much,", (nodeEntries) => {
  test("a trim by age, by length and by a full stream goes to the very message", async () => {
    const own = await ownRedis(["--stream-node-max-entries", String(nodeEntries)]);
    const stream = openStream(own.open("tcp"), "weir:", "s");
    await configureStream(stream, { maxMessageBytes: 1_024 }, Date.now());
    await append(own.native, stream, 9_000);
    const ids = (await own.native.xrange(stream.keys.stream, "-", "+")).map(([id]) => id);
    expect(await trimNow(stream, { minId: ids[3_333], exact: true }, Date.now())).toMatchObject({ trimmed: 3_333 });
    expect(await trimNow(stream, { maxLength: 1_234, exact: true }, Date.now())).toMatchObject({
      trimmed: 9_000 - 3_333 - 1_234,
    });
    expect(await own.native.xlen(stream.keys.stream)).toBe(1_234);
    await configureStream(stream, { maxLength: 1_000 }, Date.now());
    await configureGroup(stream, "g", { kind: "last" }, {});
    for (let i = 0; i < 8; i++) await produceNumbers(stream, 50).catch(() => undefined);
    const report = await runReaper(
      { redis: stream.redis, keyPrefix: "weir:", consumerIdleMs: 10 ** 9 },
      { nowMs: Date.now(), everyStream: true },
    );
    expect(report.errors).toEqual([]);
    expect(await own.native.xlen(stream.keys.stream)).toBeLessThanOrEqual(1_000);
  });
});

describe("a run does all that it can, and says what it could not, when another client has broken", () => {
  const FIELDS = [
    "deadSince:g",
    "pruned:g",
    "againDue:g",
    "gap:g",
    "swept:g",
    "held:g",
    "counted:g",
    "ackWaitMs:g",
    "alertLag:g",
    "maxAgeMs",
    "maxMessageBytes",
  ];

  test.each(FIELDS)("the field %s", async (field) => {
    const good = await makeStream(["g"], { settings: { maxAgeMs: 1_000 } });
    const bad = openStream(good.redis, good.prefix, "bad");
    await configureStream(bad, { maxAgeMs: HOUR_MS }, Date.now());
    await configureGroup(bad, "g", { kind: "first" }, { alertLag: 1 });
    for (const stream of [good, bad]) {
      await produceNumbers(stream, 5);
      await settleSome(stream, "g", { acks: leasesOf((await poll(stream, "g", { batchSize: 4 })).messages) });
    }
    await nativeClient().hset(bad.keys.config, field, "x y");
    const context = { redis: good.redis, keyPrefix: good.prefix, consumerIdleMs: 10 ** 9 };
    const report = await runReaper(context, { nowMs: Date.now() + HOUR_MS / 2, everyStream: true });
    expect(report.streams).toMatchObject([{ stream: good.name, trimmed: 4 }]);
    expect(report.errors.every(({ stream }) => stream === "bad")).toBe(true);
  });

  test.each([
    ["the config", (stream: EventStream) => stream.keys.config],
    ["the dead letters", (stream: EventStream) => stream.keys.dead("g")],
    ["the index of dead letters", (stream: EventStream) => stream.keys.deadIndex("g")],
    ["the schedule of the side store", (stream: EventStream) => stream.keys.againDue("g")],
    ["the clock", (stream: EventStream) => stream.keys.clock],
    ["the list of reports", (_: EventStream, prefix: string) => reaperRunsKey(prefix)],
    ["the alerts", (_: EventStream, prefix: string) => alertsKey(prefix)],
  ])("the key of %s", async (_, keyOf) => {
    const good = await makeStream(["g"], { settings: { maxAgeMs: 1_000 } });
    const bad = openStream(good.redis, good.prefix, "bad");
    await configureStream(bad, { maxAgeMs: HOUR_MS, unfinished: "dead-letter" }, Date.now());
    await configureGroup(bad, "g", { kind: "first" }, { maxDeliveries: 1, alertDeadLetters: 0 });
    for (const stream of [good, bad]) {
      await produceNumbers(stream, 5);
      await settleSome(stream, "g", { acks: leasesOf((await poll(stream, "g", { batchSize: 4 })).messages) });
      await poll(stream, "g");
    }
    const native = nativeClient();
    await age(native, bad, "g");
    const key = keyOf(bad, good.prefix);
    await native.del(key);
    await native.rpush(key, "not", "ours");
    if (key === reaperRunsKey(good.prefix)) {
      await native.del(key);
      await native.set(key, "not ours");
    }
    const context = { redis: good.redis, keyPrefix: good.prefix, consumerIdleMs: 10 ** 9 };
    const report = await runReaper(context, { nowMs: Date.now() + HOUR_MS / 2, everyStream: true });
    expect(report.streams).toContainEqual(expect.objectContaining({ stream: good.name, trimmed: 4 }));
    // Nothing of it is lost: still pending, or dead.
    expect(await native.xlen(bad.keys.stream)).toBeGreaterThan(0);
  });
});
