import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type DeliveryMemory, deliveryOf, forgetDeliveriesCalls } from "../../shared/stream/delivery-ids.ts";
import { configureStream } from "../../shared/stream/manage.ts";
import { produceDelivery } from "../../shared/stream/produce.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { type EventStream, openStream } from "../../shared/stream/stream.ts";
import { ownRedis } from "../support/own-redis.ts";
import { BOTH_TRANSPORTS, nativeClient, openRedis, uniquePrefix } from "../support/redis.ts";
import { makeStream } from "../support/streams.ts";

const DAY_MS = 24 * 3_600_000;
const DAILY: DeliveryMemory = { source: "github", windowMs: DAY_MS };
const NOW_MS = 1_800_000_000_000;

/** Takes one delivery, as the ingress does. */
async function take(
  stream: EventStream,
  id: string,
  { nowMs = NOW_MS, memory = DAILY, cache = new SettingsCache(), data = "{}" } = {},
) {
  return produceDelivery(stream, { data }, await deliveryOf(stream, memory, id, nowMs), cache);
}

/** How many entries there are, by another client. */
async function lengthOf({ keys }: EventStream): Promise<number> {
  return nativeClient().xlen(keys.stream);
}

describe.each(BOTH_TRANSPORTS)("a delivery over %s", (transport) => {
  test("is appended once, whatever the provider sends again under its id", async () => {
    const stream = await makeStream([], { transport });
    expect(await take(stream, "a")).toMatchObject({ repeated: false, ids: [expect.any(String)] });
    expect(await take(stream, "a")).toEqual({ repeated: true, ids: [] });
    expect(await take(stream, "a", { data: '{"other":1}' })).toEqual({ repeated: true, ids: [] });
    expect(await take(stream, "b")).toMatchObject({ repeated: false });
    expect(await lengthOf(stream)).toBe(2);
  });

  test("is appended once when it comes twenty times at once", async () => {
    const stream = await makeStream([], { transport });
    const all = await Promise.all(Array.from({ length: 20 }, () => take(stream, "a")));
    expect(all.filter(({ repeated }) => !repeated)).toHaveLength(1);
    expect(await lengthOf(stream)).toBe(1);
  });

  test("costs one round trip and three commands more than a plain message", async () => {
    const stream = await makeStream([], { transport });
    const cache = new SettingsCache();
    await take(stream, "first", { cache });
    const plain = { ...stream.redis.usage };
    await produceDelivery(stream, { data: "{}" }, undefined, cache);
    const withId = { ...stream.redis.usage };
    await take(stream, "second", { cache });
    const after = { ...stream.redis.usage };
    expect(withId.commands - plain.commands).toBe(2);
    expect(after.commands - withId.commands).toBe(5);
    expect(after.roundTrips - withId.roundTrips).toBe(1);
  });
});

describe("the memory of delivery ids", () => {
  const stream = (): EventStream => openStream(openRedis(), uniquePrefix(), "s");

  test("knows a repeat at any time within the window, also when two clocks are a minute apart", async () => {
    const s = stream();
    const windowsMs = fc.constantFrom(1, 1_000, 60_000, 3_600_000, DAY_MS, 7 * DAY_MS);
    const parts = fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true }));
    const skewsMs = fc.oneof(fc.constantFrom(-60_000, 0, 60_000), fc.integer({ min: -60_000, max: 60_000 }));
    await fc.assert(
      fc.asyncProperty(windowsMs, fc.nat(30 * DAY_MS), parts, skewsMs, async (windowMs, at, part, skewMs) => {
        const memory = { source: "s", windowMs };
        const [firstMs, afterMs] = [NOW_MS + at, Math.floor(windowMs * part)];
        const first = await deliveryOf(s, memory, "a", firstMs);
        const second = await deliveryOf(s, memory, "a", firstMs + afterMs + skewMs);
        expect(second.keys).toContain(first.keys[0]);
        expect(second.digest).toBe(first.digest);
        expect(first.lifeMs).toBeGreaterThan(afterMs);
        expect(first.lifeMs).toBeLessThanOrEqual(2 * (windowMs + 120_000));
      }),
      { numRuns: 2_000 },
    );
  });

  test("forgets within two windows, set by set, by itself", async () => {
    const s = await makeStream();
    await take(s, "a");
    const [key = ""] = (await deliveryOf(s, DAILY, "a", NOW_MS)).keys;
    const lifeMs = await nativeClient().pttl(key);
    expect(lifeMs).toBeGreaterThan(DAY_MS);
    expect(lifeMs).toBeLessThanOrEqual(2 * (DAY_MS + 120_000));
    expect(await take(s, "a", { nowMs: NOW_MS + 2 * (DAY_MS + 120_000) })).toMatchObject({ repeated: false });
  });

  test("is each source's own, and each stream's", async () => {
    const [s, other] = [await makeStream(), await makeStream()];
    await take(s, "a");
    expect(await take(s, "a", { memory: { ...DAILY, source: "git:hub" } })).toMatchObject({ repeated: false });
    expect(await take(other, "a")).toMatchObject({ repeated: false });
  });

  test("takes at most 20 bytes an id, from 10,000 on", async () => {
    const s = await makeStream();
    const native = nativeClient();
    const deliveries = await Promise.all(
      Array.from({ length: 10_000 }, (_, i) => deliveryOf(s, DAILY, `id-${i}`, NOW_MS)),
    );
    const pipeline = native.pipeline();
    for (const { keys, digest, lifeMs } of deliveries) pipeline.sadd(keys[0], digest).pexpire(keys[0], lifeMs);
    await pipeline.exec();
    const keys = [...new Set(deliveries.map(({ keys: [current] }) => current))];
    const sizes = await Promise.all(keys.map((key) => native.memory("USAGE", key)));
    const bytes = sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
    expect(await Promise.all(keys.slice(0, 20).map((key) => native.object("ENCODING", key)))).toEqual(
      Array.from({ length: 20 }, () => "intset"),
    );
    expect(bytes / deliveries.length).toBeLessThanOrEqual(20);
  });

  test("is emptied at once when the source is deleted, in whichever generation an id lies", async () => {
    const s = await makeStream();
    const lengthMs = DAY_MS + 120_000;
    const startMs = Math.ceil(NOW_MS / lengthMs) * lengthMs;
    await take(s, "before", { nowMs: startMs - 1 });
    await take(s, "now", { nowMs: startMs });
    await s.redis.pipeline(forgetDeliveriesCalls(s, DAILY, startMs));
    expect(await nativeClient().keys(`${s.prefix}*:ids:*`)).toEqual([]);
  });
});

describe("a delivery that could not be appended is no repeat when it comes again", () => {
  test("since the stream was not there", async () => {
    const redis = openRedis();
    const s = openStream(redis, uniquePrefix(), "s");
    await expect(take(s, "a")).rejects.toMatchObject({ code: "unknown-stream" });
    await configureStream(s, {}, 0);
    expect(await take(s, "a")).toMatchObject({ repeated: false });
  });

  test("since the stream was deleted while its settings were remembered", async () => {
    const s = await makeStream();
    const cache = new SettingsCache();
    await take(s, "first", { cache });
    await nativeClient().del(s.keys.stream);
    await expect(take(s, "a", { cache })).rejects.toMatchObject({ code: "unknown-stream" });
    await nativeClient().xadd(s.keys.stream, "*", "a", "b");
    expect(await take(s, "a", { cache })).toMatchObject({ repeated: false });
  });

  test("since it was too large, or the stream full", async () => {
    const s = await makeStream(["g"], { settings: { maxLength: 1 } });
    await expect(take(s, "a", { data: `"${"x".repeat(2_000)}"` })).rejects.toMatchObject({ code: "payload-too-large" });
    expect(await take(s, "a")).toMatchObject({ repeated: false });
    await expect(take(s, "b")).rejects.toMatchObject({ code: "stream-full" });
    await nativeClient().xgroup("DESTROY", s.keys.stream, "g");
    expect(await take(s, "b")).toMatchObject({ repeated: false });
  });

  test("since no id was left", async () => {
    const s = await makeStream();
    await nativeClient().xadd(s.keys.stream, "18446744073709551615-18446744073709551615", "a", "b");
    await expect(take(s, "a")).rejects.toMatchObject({ code: "conflict" });
    expect(await nativeClient().keys(`${s.prefix}*:ids:*`)).toEqual([]);
  });

  test("since a key holds another type of value", async () => {
    const s = await makeStream();
    const [current, other] = (await deliveryOf(s, DAILY, "a", NOW_MS)).keys;
    for (const key of [current, other]) {
      await nativeClient().set(key, "x");
      await expect(take(s, "a")).rejects.toMatchObject({ code: "conflict" });
      await nativeClient().del(key);
      expect(await lengthOf(s)).toBe(0);
    }
    expect(await take(s, "a")).toMatchObject({ repeated: false });
  });

  test.each(BOTH_TRANSPORTS)("since Redis was full, over %s", async (transport) => {
    const own = await ownRedis();
    const s = openStream(own.open(transport), "weir:", "s");
    await configureStream(s, {}, 0);
    await take(s, "before");
    await own.native.config("SET", "maxmemory", "1");
    await expect(take(s, "a")).rejects.toMatchObject({ code: "redis-full" });
    await own.native.config("SET", "maxmemory", "0");
    expect(await take(s, "a")).toMatchObject({ repeated: false });
    expect(await take(s, "before")).toMatchObject({ repeated: true });
  });
});
