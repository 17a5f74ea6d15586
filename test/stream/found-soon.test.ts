import { describe, expect, test } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { claim } from "../../shared/stream/claim.ts";
import { removeConsumer } from "../../shared/stream/consumers.ts";
import { listDeadLetters } from "../../shared/stream/dead-letters.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup } from "../../shared/stream/manage.ts";
import { listPending } from "../../shared/stream/pending.ts";
import { replayToGroup } from "../../shared/stream/reread.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { nativeClient } from "../support/redis.ts";
import {
  age,
  type Delivery,
  leasesOf,
  makeStream,
  passTimeOfSideStore,
  poll,
  produceNumbers,
  settleSome,
  type TestStream,
  WAITING,
} from "../support/streams.ts";

/** Messages, each of which a native client has in hand and works on. */
async function makeBusy(thousands: number, extra: number): Promise<{ stream: TestStream; ids: readonly string[] }> {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  const ids: string[] = [];
  for (let i = 0; i < thousands; i++) ids.push(...(await produceNumbers(stream, 1_000)));
  if (extra > 0) ids.push(...(await produceNumbers(stream, extra)));
  const { stream: key } = stream.keys;
  await native.xreadgroup("GROUP", "g", "native", "COUNT", ids.length, "STREAMS", key, ">");
  return { stream, ids };
}

async function expire(stream: TestStream, ids: readonly string[], deliveries = 1): Promise<void> {
  const native = nativeClient();
  const options = ["IDLE", 10 ** 8, "RETRYCOUNT", deliveries, "JUSTID"];
  await native.call("XCLAIM", stream.keys.stream, "g", "native", 0, ...ids, ...options);
}

function reap(stream: TestStream) {
  return runReaper(
    { redis: stream.redis, keyPrefix: stream.prefix, consumerIdleMs: 10 ** 9 },
    { nowMs: Date.now(), everyStream: true },
  );
}

test("an expired message behind 50,000 busy ones is handed out within eleven polls, without a pause between", async () => {
  const { stream, ids } = await makeBusy(50, 1);
  await expire(stream, ids.slice(-1));
  const cache = new SettingsCache();
  let batch = await poll(stream, "g", { batchSize: 10 }, cache);
  for (let polls = 1; batch.messages.length === 0; polls++) {
    expect(polls).toBeLessThan(11);
    expect(batch.pollAfterMs).toBe(0);
    batch = await poll(stream, "g", { batchSize: 10, pollState: batch.pollState }, cache);
  }
  expect(batch.messages).toMatchObject([{ id: ids.at(-1), deliveries: 2 }]);
});

test("a consumer that is always busy finds an expired message behind 20,000 others within four seconds of polls", async () => {
  const { stream, ids } = await makeBusy(20, 1);
  await expire(stream, ids.slice(-1));
  for (let i = 0; i < 3; i++) await produceNumbers(stream, 1_000);
  const cache = new SettingsCache();
  const found: string[] = [];
  let pollState: string | undefined;
  const start = Date.now();
  for (let atMs = 0; atMs <= 6_000; atMs += 50) {
    const batch = await poll(stream, "g", { batchSize: 5, pollState }, cache, start + atMs);
    pollState = batch.pollState;
    found.push(...batch.messages.map(({ id }) => id));
    if (found.includes(ids.at(-1) ?? "")) break;
    expect(batch.messages).toHaveLength(5);
  }
  expect(found).toContain(ids.at(-1));
});

test("a look at 5,000 pending messages costs a poll no more commands than one at few", async () => {
  const { stream } = await makeBusy(6, 0);
  await poll(stream, "g", { batchSize: 1 });
  const before = { ...stream.redis.usage };
  await poll(stream, "g", { batchSize: 1, acks: [] });
  // Reading where to look, the time, and looking; noting how far that was.
  expect(stream.redis.usage.commands - before.commands).toBeLessThanOrEqual(6);
});

test("after a look at all that is busy a consumer with nothing to do pauses", async () => {
  const { stream } = await makeBusy(12, 0);
  const cache = new SettingsCache();
  const pauses: number[] = [];
  let pollState: string | undefined;
  for (let i = 0; i < 40 && !pauses.some((ms) => ms > 0); i++) {
    const batch = await poll(stream, "g", { batchSize: 1, pollState }, cache);
    pollState = batch.pollState;
    pauses.push(batch.pollAfterMs);
  }
  expect(pauses.length).toBeLessThanOrEqual(4);
});

test("of what is due in the side store the longest due comes first: ten retried in batches of five, and none starves", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  await configureGroup(stream, "g", undefined, { maxDeliveries: 100 });
  const ids = await produceNumbers(stream, 10);
  const all = (await poll(stream, "g", { batchSize: 10 })).messages;
  await settleSome(stream, "g", { retries: leasesOf(all).map((lease) => ({ lease, delayMs: 0 })) });
  const seen = new Map<string, number>(ids.map((id) => [id, 0]));
  for (let i = 0; i < 8; i++) {
    // What falls due in one millisecond is equally long due.
    for (const now = Date.now(); Date.now() === now; ) await native.ping();
    const { messages } = await poll(stream, "g", { batchSize: 5 });
    expect(messages).toHaveLength(5);
    for (const { id } of messages) seen.set(id, (seen.get(id) ?? 0) + 1);
    await settleSome(stream, "g", { retries: leasesOf(messages).map((lease) => ({ lease, delayMs: 0 })) });
  }
  expect([...seen.values()]).toEqual(Array(10).fill(4));
  // Those whose leases have ended take their turn among those that wait.
  const [crashed = { id: "" }] = (await poll(stream, "g", { batchSize: 1, consumer: "crashes" })).messages;
  await passTimeOfSideStore(native, stream, "g");
  const next = (await poll(stream, "g", { batchSize: 10 })).messages.map(({ id }) => id);
  expect(next).toHaveLength(10);
  expect(next).toContain(crashed.id);
});

test("equally long due messages of the side store come in the order in which they came there", async () => {
  const stream = await makeStream(["g"]);
  const ids = await produceNumbers(stream, 30);
  await nativeClient().xgroup("SETID", stream.keys.stream, "g", "$");
  await replayToGroup(stream, "g", { ids, limit: 100 });
  expect((await poll(stream, "g", { batchSize: 12 })).messages.map(({ id }) => id)).toEqual(ids.slice(0, 12));
});

describe("claim without ids", () => {
  test("finds an expired message behind 12,000 busy ones", async () => {
    const { stream, ids } = await makeBusy(12, 1);
    await expire(stream, ids.slice(-1));
    const claimed = await claim(stream, "g", { consumer: "ops", force: false, limit: 10 }, WAITING);
    expect(claimed.map((text): Delivery => JSON.parse(text))).toMatchObject([{ id: ids.at(-1), deliveries: 2 }]);
  });

  test("takes all that a listing of pending messages shows: Redis' own, held ones, and those of the side store", async () => {
    const stream = await makeStream(["g"]);
    const native = nativeClient();
    const ids = await produceNumbers(stream, 9);
    const [a = "", b = "", c = ""] = leasesOf((await poll(stream, "g", { consumer: "dead" })).messages);
    await settleSome(stream, "g", { retries: [a, b, c].map((lease) => ({ lease, delayMs: 0 })) });
    await age(native, stream, "g");
    await reap(stream);
    await poll(stream, "g", { consumer: "dead", batchSize: 4 });
    await settleSome(stream, "g", {
      acks: leasesOf((await poll(stream, "g", { consumer: "dead", batchSize: 2 })).messages),
    });
    await age(native, stream, "g");
    await passTimeOfSideStore(native, stream, "g");
    const shown = (await listPending(stream, "g", { limit: 100 })).items.map(({ id }) => id);
    const claimed = await claim(stream, "g", { consumer: "ops", force: false, limit: 100 }, WAITING);
    expect(claimed.map((text): Delivery => JSON.parse(text).id).sort()).toEqual([...shown].sort());
    expect(shown.length).toBeGreaterThanOrEqual(4);
    expect(ids).toEqual(expect.arrayContaining(shown));
    const mine = (await listPending(stream, "g", { limit: 100, consumer: "ops" })).items.map(({ id }) => id);
    expect(mine.sort()).toEqual([...shown].sort());
  });

  test("leaves to its consumer what was handed out of the side store and is in hand, unless it is forced", async () => {
    const stream = await makeStream(["g"]);
    const ids = await produceNumbers(stream, 2);
    await nativeClient().xgroup("SETID", stream.keys.stream, "g", "$");
    await replayToGroup(stream, "g", { ids, limit: 10 });
    const old = leasesOf((await poll(stream, "g", { consumer: "works" })).messages);
    const request = { consumer: "ops", force: false, limit: 10 };
    expect(await claim(stream, "g", request, WAITING)).toEqual([]);
    expect(await claim(stream, "g", { ...request, ids }, WAITING)).toEqual([]);
    const one = { ...request, ids: ids.slice(0, 1), force: true, minIdleMs: 0 };
    const [text = "{}"] = await claim(stream, "g", one, WAITING);
    expect(JSON.parse(text)).toMatchObject({ id: ids[0], deliveries: 2 });
    const settled = await settleSome(stream, "g", { extends: old });
    expect(settled).toMatchObject({ extended: 1, stale: [{ lease: old[0], outcome: "superseded" }] });
    expect(await settleSome(stream, "g", { acks: [JSON.parse(text).lease] })).toMatchObject({ acked: 1 });
  });
});

describe("recover", () => {
  test("gives a consumer all that it has in hand of the side store, though 10,500 others are in hand", async () => {
    const stream = await makeStream(["g"]);
    const ids: string[] = [];
    for (let i = 0; i < 11; i++) ids.push(...(await produceNumbers(stream, 1_000)));
    await nativeClient().xgroup("SETID", stream.keys.stream, "g", "$");
    for (let i = 0; i < 11; i++)
      await replayToGroup(stream, "g", { ids: ids.slice(1_000 * i, 1_000 * (i + 1)), limit: 1_000 });
    const first = await poll(stream, "g", { consumer: "restarts", batchSize: 100 });
    for (let i = 0; i < 11; i++) await poll(stream, "g", { consumer: "other", batchSize: 1_000 });
    expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ pending: 11_000, delayed: 0 });
    const again = await poll(stream, "g", { consumer: "restarts", batchSize: 100, recover: true });
    expect(again.messages.map(({ id }) => id).sort()).toEqual(first.messages.map(({ id }) => id).sort());
    expect(again.messages.every(({ deliveries }) => deliveries === 2)).toBe(true);
    expect(await removeConsumer(stream, "g", "other", "heir")).toBe(10_900);
  });

  test("gives a consumer what the sweep has taken into its hold, at once", async () => {
    const stream = await makeStream(["g"]);
    const ids = await produceNumbers(stream, 5);
    await poll(stream, "g", { consumer: "restarts" });
    await age(nativeClient(), stream, "g");
    await reap(stream);
    expect((await listPending(stream, "g", { limit: 9, consumer: "restarts" })).items).toEqual([]);
    const { messages } = await poll(stream, "g", { consumer: "restarts", recover: true });
    expect(messages.map(({ id, deliveries }) => [id, deliveries])).toEqual(ids.map((id) => [id, 2]));
  });
});

describe("what Weir holds", () => {
  test("is handed out first, however long it has been held and whatever is busy before it", async () => {
    const { stream, ids } = await makeBusy(6, 3);
    await expire(stream, ids.slice(-3));
    expect(await reap(stream)).toMatchObject({ groups: [{ expired: 3 }] });
    const { messages } = await poll(stream, "g", { batchSize: 10 });
    expect(messages.map(({ id, deliveries }) => [id, deliveries])).toEqual(ids.slice(-3).map((id) => [id, 2]));
  });

  test("goes to the dead letters, swept by nobody's poll, when its deliveries are used up or its payload is gone", async () => {
    const stream = await makeStream(["g"]);
    const native = nativeClient();
    const ids = await produceNumbers(stream, 3);
    await poll(stream, "g", { consumer: "dead" });
    await age(native, stream, "g");
    await reap(stream);
    // Held for a while. (To age what has no payload would drop it.)
    await age(native, stream, "g");
    await native.xdel(stream.keys.stream, ids[0] ?? "");
    expect(await reap(stream)).toMatchObject({ groups: [{ payloadMissing: 1, deadLettered: 0 }] });
    await configureGroup(stream, "g", undefined, { maxDeliveries: 1 });
    expect(await reap(stream)).toMatchObject({ groups: [{ deadLettered: 2 }] });
    const { items } = await listDeadLetters(stream, "g", { limit: 9 });
    expect(items.map(({ reason }) => reason)).toEqual(["payload-missing", "max-deliveries", "max-deliveries"]);
  });

  test("fills holders of at most 1,000 each, in runs and between busy messages, and is all handed out", async () => {
    const { stream, ids } = await makeBusy(3, 0);
    const expired = ids.filter((_, i) => i % 7 !== 3);
    for (let i = 0; i < expired.length; i += 500) await expire(stream, expired.slice(i, i + 500));
    while ((await reap(stream)).groups.length > 0);
    const native = nativeClient();
    const [, , , owners] = await native.xpending(stream.keys.stream, "g");
    const held = (Array.isArray(owners) ? owners : []).filter(([name]) => String(name).startsWith("@held:"));
    expect(held.map(([, count]) => Number(count)).reduce((a, b) => a + b, 0)).toBe(expired.length);
    expect(held.every(([, count]) => Number(count) <= 1_000)).toBe(true);
    const found = new Set<string>();
    for (let i = 0; i < 40 && found.size < expired.length; i++) {
      for (const { id } of (await poll(stream, "g", { batchSize: 1_000 })).messages) found.add(id);
    }
    expect([...found].sort()).toEqual([...expired].sort());
  });
});
