import { Buffer } from "node:buffer";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type DeliveryMemory, deliveryOf } from "../../shared/stream/delivery-ids.ts";
import { configureStream, deleteStream } from "../../shared/stream/manage.ts";
import { produceDelivery } from "../../shared/stream/produce.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { type EventStream, openStream } from "../../shared/stream/stream.ts";
import { ownRedis } from "../support/own-redis.ts";
import { BOTH_TRANSPORTS, nativeClient, openRedis, uniquePrefix } from "../support/redis.ts";
import { makeStream } from "../support/streams.ts";

const DAY_MS = 24 * 3_600_000;
const DAILY: DeliveryMemory = { epoch: "0123abcd", windowMs: DAY_MS };
const LIFE_MS = 2 * (DAY_MS + 120_000);
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

  /** Whether what came first counts for what comes second. */
  async function isRepeat(memory: DeliveryMemory, firstMs: number, secondMs: number): Promise<boolean> {
    const s = stream();
    const [first, second] = [await deliveryOf(s, memory, "a", firstMs), await deliveryOf(s, memory, "a", secondMs)];
    expect(second.digest).toBe(first.digest);
    expect(first.moment).toBeLessThan(256);
    const at = second.keys.indexOf(first.keys[0]);
    return at !== -1 && first.moment >= (second.oldest[at] ?? 0);
  }

  const windowsMs = fc.constantFrom(1_000, 60_000, 3_600_000, DAY_MS, 7 * DAY_MS);

  test("knows a repeat at any time within the window, also when two clocks are apart", async () => {
    const parts = fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true }));
    const skews = fc.oneof(fc.constantFrom(-1, 0, 1), fc.double({ min: -1, max: 1, noNaN: true }));
    await fc.assert(
      fc.asyncProperty(windowsMs, fc.nat(30 * DAY_MS), parts, skews, async (windowMs, at, part, skew) => {
        // A minute, or a twentieth of a short window.
        const skewMs = Math.trunc(skew * Math.min(60_000, windowMs / 20));
        const firstMs = NOW_MS + at;
        const afterMs = Math.floor(windowMs * part);
        expect(await isRepeat({ epoch: "e", windowMs }, firstMs, firstMs + afterMs + skewMs)).toBe(true);
        const { lifeMs } = await deliveryOf(stream(), { epoch: "e", windowMs }, "a", firstMs);
        expect(lifeMs).toBeGreaterThan(afterMs);
        expect(lifeMs).toBeLessThanOrEqual(2 * (windowMs + 120_000));
      }),
      { numRuns: 2_000 },
    );
  });

  test("takes what comes again after the window for new, a little later at most", async () => {
    const more = fc.double({ min: 0, max: 3, noNaN: true });
    await fc.assert(
      fc.asyncProperty(windowsMs, fc.nat(30 * DAY_MS), more, async (windowMs, at, windows) => {
        // What clocks may be apart, and a moment.
        const laterMs = Math.min(60_000, windowMs / 20) + (1.1 * windowMs) / 256 + 2;
        const secondMs = NOW_MS + at + Math.ceil(windowMs * (1 + windows) + laterMs);
        expect(await isRepeat({ epoch: "e", windowMs }, NOW_MS + at, secondMs)).toBe(false);
      }),
      { numRuns: 2_000 },
    );
  });

  test("forgets by itself, string by string", async () => {
    const s = await makeStream();
    await take(s, "a");
    const [key = ""] = (await deliveryOf(s, DAILY, "a", NOW_MS)).keys;
    const lifeMs = await nativeClient().pttl(key);
    expect(lifeMs).toBeGreaterThan(DAY_MS);
    expect(lifeMs).toBeLessThanOrEqual(LIFE_MS);
    expect(await take(s, "a", { nowMs: NOW_MS + DAY_MS + 10 * 60_000 })).toMatchObject({ repeated: false });
    expect(await take(s, "a", { nowMs: NOW_MS + DAY_MS + 20 * 60_000 })).toMatchObject({ repeated: true });
  });

  test("is each source's own, and each stream's", async () => {
    const [s, other] = [await makeStream(), await makeStream()];
    await take(s, "a");
    expect(await take(s, "a", { memory: { ...DAILY, epoch: "89abcdef" } })).toMatchObject({ repeated: false });
    expect(await take(other, "a")).toMatchObject({ repeated: false });
  });

  test("of a stream that was deleted and made anew knows nothing, also where Weir was not asked", async () => {
    const s = await makeStream();
    const cache = new SettingsCache();
    await take(s, "a", { cache });
    await deleteStream(s);
    await configureStream(s, {}, 0);
    expect(await take(s, "a")).toMatchObject({ repeated: false });
    expect(await take(s, "a")).toMatchObject({ repeated: true });
    await nativeClient().del(s.keys.stream);
    await configureStream(s, {}, 0);
    expect(await take(s, "a")).toMatchObject({ repeated: false });
    expect(await lengthOf(s)).toBe(1);
    // Who still knows the first one may forget what came since, and loses nothing.
    expect(await take(s, "b", { cache })).toMatchObject({ repeated: false });
  });

  test("forgets the older half of more ids than a script may look through, and no more", async () => {
    const s = await makeStream();
    await take(s, "first");
    const [key = ""] = (await deliveryOf(s, DAILY, "first", NOW_MS)).keys;
    const native = nativeClient();
    const [tag] = [await native.getrange(key, 0, 7)];
    const entry = await native.getBuffer(key);
    const many = Buffer.alloc(512 * 1024, "12345678");
    await native.set(key, Buffer.concat([Buffer.from(tag), entry?.subarray(8) ?? Buffer.alloc(0), many]), "PX", 60_000);
    expect(await take(s, "first")).toMatchObject({ repeated: true });
    const near = Array.from({ length: 1_000 }, (_, i) => `id-${i}`);
    const deliveries = await Promise.all(near.map((id) => deliveryOf(s, DAILY, id, NOW_MS)));
    const [same] = deliveries.flatMap(({ keys: [current] }, i) => (current === key ? (near[i] ?? []) : []));
    expect(await take(s, same ?? "")).toMatchObject({ repeated: false });
    expect(await native.strlen(key)).toBe(8 + 256 * 1024 + 8);
    expect(await take(s, same ?? "")).toMatchObject({ repeated: true });
    expect(await take(s, "first")).toMatchObject({ repeated: false });
  });

  test.each([1_000, 10_000])("takes at most 20 bytes an id, with %i of them", async (count) => {
    const s = await makeStream();
    const native = nativeClient();
    const memory = { ...DAILY, epoch: `of-${count}` };
    const taken = await Promise.all(Array.from({ length: count }, (_, i) => deliveryOf(s, memory, `id-${i}`, NOW_MS)));
    const keys = [...new Set(taken.map(({ keys: [current] }) => current))];
    // As the script does: the first of a string sets its life.
    const pipeline = native.pipeline();
    for (const key of keys) pipeline.set(key, "8 bytes!", "PX", 10 ** 9);
    for (const {
      keys: [current],
      digest,
    } of taken)
      pipeline.append(current, Buffer.from(`${digest}00`, "hex"));
    await pipeline.exec();
    const sizes = await Promise.all(keys.map((key) => native.memory("USAGE", key)));
    const bytes = sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
    expect(bytes / count).toBeLessThanOrEqual(20);
  });

  test("knows each of very many again, and takes no other one for one of them", async () => {
    const s = await makeStream();
    const cache = new SettingsCache();
    const ids = Array.from({ length: 500 }, (_, i) => `id-${i}`);
    for (const id of ids) expect(await take(s, id, { cache })).toMatchObject({ repeated: false });
    for (const id of ids) expect(await take(s, id, { cache })).toMatchObject({ repeated: true });
    expect(await lengthOf(s)).toBe(500);
  });

  test("takes bytes that lie across two ids for neither", async () => {
    const s = await makeStream();
    await take(s, "other");
    const { keys, digest } = await deliveryOf(s, DAILY, "a", NOW_MS);
    const [tag] = [await nativeClient().hget(s.keys.config, "incarnation")];
    const bytes = Buffer.from(`${digest}ff`, "hex");
    const across = Buffer.concat([Buffer.from((tag ?? "").slice(0, 8)), Buffer.alloc(3), bytes, Buffer.alloc(5)]);
    await nativeClient().set(keys[0], across, "PX", 60_000);
    expect(await take(s, "a")).toMatchObject({ repeated: false });
    expect(await take(s, "a")).toMatchObject({ repeated: true });
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

  test("but one that was there is a repeat however full the stream is, and trims nothing", async () => {
    const s = await makeStream(["g"], { settings: { maxLength: 2 } });
    for (const id of ["a", "b"]) await take(s, id);
    await expect(take(s, "c")).rejects.toMatchObject({ code: "stream-full" });
    expect(await take(s, "a")).toMatchObject({ repeated: true });
    await nativeClient().xgroup("DESTROY", s.keys.stream, "g");
    expect(await take(s, "b")).toMatchObject({ repeated: true });
    expect(await lengthOf(s)).toBe(2);
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
      await nativeClient().lpush(key, "x");
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
