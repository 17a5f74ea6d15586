import fc from "fast-check";
import { describe, expect, inject, onTestFinished, test } from "vitest";
import { startUpstash } from "../../local/upstash.ts";
import { runReaper } from "../../scheduled/reaper.ts";
import { compareIds } from "../../shared/ids.ts";
import { listAlerts } from "../../shared/reaper/alerts.ts";
import { readAllFigures } from "../../shared/stream/figures.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, type configureStream } from "../../shared/stream/manage.ts";
import { seek } from "../../shared/stream/reread.ts";
import { trimNow } from "../../shared/stream/retention.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { openAt } from "../support/own-redis.ts";
import { BOTH_TRANSPORTS, nativeClient, type TransportName } from "../support/redis.ts";
import {
  leasesOf,
  makeStream,
  passTimeOfSideStore,
  poll,
  produceNumbers,
  settleSome,
  type TestStream,
} from "../support/streams.ts";

const native = () => nativeClient();

/** How many entries a group really has not read. */
async function trueLag(stream: TestStream, group: string): Promise<number> {
  const { lastDeliveredId } = await groupInfo(stream, group, Date.now());
  return (await nativeClient().xrange(stream.keys.stream, `(${lastDeliveredId}`, "+")).length;
}

function reap(stream: TestStream, nowMs = Date.now()) {
  return runReaper(
    { redis: stream.redis, keyPrefix: stream.prefix, consumerIdleMs: 10 ** 9 },
    { nowMs, everyStream: true },
  );
}

/** A group that has read and acknowledged 10 of 200 messages, with batches of 10 to come. */
async function makeBehind(settings: Parameters<typeof configureStream>[1] = {}, transport: TransportName = "tcp") {
  const stream = await makeStream(["g"], { settings, transport });
  for (let i = 0; i < 4; i++) await produceNumbers(stream, 50);
  await read(stream, 10);
  return stream;
}

async function read(stream: TestStream, count: number): Promise<void> {
  const { messages } = await poll(stream, "g", { batchSize: count });
  await settleSome(stream, "g", { acks: leasesOf(messages) });
}

describe.each(BOTH_TRANSPORTS)("lag, over %s,", (transport) => {
  test("after a native trim of unread messages is never told as exact when it is not", async () => {
    const stream = await makeBehind({}, transport);
    await native().call("XTRIM", stream.keys.stream, "MAXLEN", 100);
    expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ lag: 100, lagIs: "exact" });
    await read(stream, 10);
    // Redis itself says 180 here.
    const { lag, lagIs } = await groupInfo(stream, "g", Date.now());
    expect(lagIs).not.toBe("exact");
    expect(lag ?? 0).toBeLessThan(100);
    const { streams } = await readAllFigures(stream.redis, stream.prefix);
    expect(streams[0]?.groups).toMatchObject([{ lag, lagIs }]);
    // Once it has read all, it is right again.
    for (let i = 0; i < 9; i++) await read(stream, 10);
    expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ lag: 0, lagIs: "exact" });
  });

  test("after a trim by Weir that dropped unread messages is right", async () => {
    const stream = await makeBehind({ unfinished: "drop" }, transport);
    await trimNow(stream, { maxLength: 100, exact: true }, Date.now());
    expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ lag: 100, lagIs: "exact", dropped: 90 });
    await read(stream, 10);
    const { lag, lagIs } = await groupInfo(stream, "g", Date.now());
    // Without the counts of XINFO, as Upstash may be, it is estimated by time.
    if (transport === "tcp") expect([lag, lagIs]).toEqual([90, "exact"]);
    else expect(lagIs === "exact" ? lag === 90 : (lag ?? 100) < 100).toBe(true);
    expect(await reap(stream)).toMatchObject({ errors: [] });
    expect((await groupInfo(stream, "g", Date.now())).dropped).toBe(90);
  });

  test("after a delete is not above what was added and not read", async () => {
    const stream = await makeStream(["g"], { transport });
    const ids = await produceNumbers(stream, 10);
    await read(stream, 6);
    await native().xdel(stream.keys.stream, ids[7] ?? "");
    const { lag } = await groupInfo(stream, "g", Date.now());
    expect(lag).not.toBeNull();
    expect(lag ?? 99).toBeLessThanOrEqual(4);
  });
});

test("a native XADD MAXLEN that takes unread messages is told as a gap, counted once and exactly", async () => {
  const stream = await makeBehind();
  const before = await groupInfo(stream, "g", Date.now());
  for (let i = 0; i < 10; i++) await native().call("XADD", stream.keys.stream, "MAXLEN", 50, "*", "data", "1");
  // 200 + 10 were added, 50 are left: 160 went, of which the group had read 10.
  expect(await reap(stream)).toMatchObject({ errors: [], groups: [{ dropped: 150 }] });
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({
    dropped: 150,
    gap: { messages: 150 },
    lag: 50,
    lagIs: "exact",
  });
  await reap(stream);
  const [first] = await nativeClient().xrange(stream.keys.stream, "-", "+", "COUNT", 1);
  const batch = await poll(stream, "g", { batchSize: 10 });
  expect(batch.gap?.messages).toBe(150);
  expect(compareIds(batch.gap?.fromId ?? "0-0", before.lastDeliveredId)).toBeGreaterThan(0);
  expect(compareIds(batch.gap?.toId ?? "9-9", String(first?.[0]))).toBeLessThan(0);
  // Told until something after it is acknowledged.
  await poll(stream, "g", { acks: leasesOf(batch.messages) });
  expect((await poll(stream, "g")).gap).toBeUndefined();
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ dropped: 150, gap: null });
  await reap(stream);
  expect((await groupInfo(stream, "g", Date.now())).dropped).toBe(150);
});

test.each(["drop", "dead-letter"] as const)(
  "what a native trim took is told too when Weir's own trim (%s) takes more in the same run, each counted once",
  async (unfinished) => {
    const stream = await makeBehind({ unfinished, maxLength: 30 });
    await native().call("XTRIM", stream.keys.stream, "MAXLEN", 100);
    // 100 went natively, of which the group had read 10; Weir takes 70 more.
    await reap(stream);
    const { dropped, lag, lagIs } = await groupInfo(stream, "g", Date.now());
    expect({ dropped, lag, lagIs }).toEqual({ dropped: unfinished === "drop" ? 160 : 90, lag: 30, lagIs: "exact" });
    await reap(stream);
    expect((await groupInfo(stream, "g", Date.now())).dropped).toBe(dropped);
  },
);

test("a trim by hand tells what a native trim took before it", async () => {
  const stream = await makeBehind({ unfinished: "drop" });
  await native().call("XTRIM", stream.keys.stream, "MAXLEN", 100);
  await trimNow(stream, { maxLength: 30, exact: true }, Date.now());
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ dropped: 160, gap: { messages: 160 }, lag: 30 });
});

test("what a group lost between two looks of the reaper is found once it has read all", async () => {
  const stream = await makeBehind();
  await native().call("XTRIM", stream.keys.stream, "MAXLEN", 40);
  for (let i = 0; i < 4; i++) await read(stream, 10);
  expect(await reap(stream)).toMatchObject({ groups: [{ dropped: 150 }] });
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ dropped: 150, lag: 0, lagIs: "exact" });
  await reap(stream);
  expect((await groupInfo(stream, "g", Date.now())).dropped).toBe(150);
});

test("what was deleted by name is no loss", async () => {
  const stream = await makeStream(["g"]);
  const ids = await produceNumbers(stream, 10);
  await native().xdel(stream.keys.stream, ...ids.slice(0, 3));
  await reap(stream);
  await read(stream, 10);
  await reap(stream);
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ dropped: 0, gap: null, lag: 0 });
});

test("where ENTRIESREAD is refused, a lag in the middle says that it is estimated, and is exact once all was read", async () => {
  const endpoint = await startUpstash({
    redisUrl: inject("redisUrl"),
    token: "own-token",
    liberties: new Set(["xinfo-counts"]),
  });
  onTestFinished(() => endpoint.close());
  const own = await makeStream();
  const stream = { ...openStream(openAt("rest", endpoint.port), own.prefix, own.name), prefix: own.prefix };
  const ids = await produceNumbers(stream, 20);
  await configureGroup(stream, "g", { kind: "id", id: ids[9] ?? "" }, {});
  const { lag, lagIs } = await groupInfo(stream, "g", Date.now());
  expect(lagIs).toBe("estimated");
  expect(lag ?? 99).toBeLessThan(20);
  await read(stream, 10);
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ lag: 0, lagIs: "exact" });
  await seek(stream, "g", { kind: "first" });
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ lag: 20, lagIs: "exact" });
  await native().call("XTRIM", stream.keys.stream, "MAXLEN", 5);
  expect(await reap(stream)).toMatchObject({ errors: [] });
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ lag: 5, lagIs: "exact" });
});

test("an alert on lag does not fire for what was trimmed", async () => {
  const stream = await makeBehind({ unfinished: "drop", maxLength: 40 });
  await configureGroup(stream, "g", undefined, { alertLag: 60 });
  await reap(stream);
  await native().call("XTRIM", stream.keys.stream, "MAXLEN", 30);
  await read(stream, 5);
  await reap(stream);
  expect(await listAlerts(stream.redis, stream.prefix, { nowMs: Date.now(), reaperLateMs: 10 ** 9 })).toEqual([]);
});

test("the oldest pending message may be one that was handed out of the side store", async () => {
  const stream = await makeStream(["g"]);
  const ids = await produceNumbers(stream, 2);
  const all = leasesOf((await poll(stream, "g")).messages);
  await settleSome(stream, "g", {
    retries: all.slice(0, 1).map((lease) => ({ lease, delayMs: 0 })),
    acks: all.slice(1),
  });
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ oldestPendingMs: null });
  await passTimeOfSideStore(nativeClient(), stream, "g");
  await poll(stream, "g", { consumer: "again" });
  const madeMs = Number(ids[0]?.split("-")[0]);
  const nowMs = madeMs + 3_600_000;
  const info = await groupInfo(stream, "g", nowMs);
  expect(info).toMatchObject({ pending: 1, oldestPendingMs: 3_600_000 });
  const { streams } = await readAllFigures(stream.redis, stream.prefix);
  expect(streams[0]?.groups).toMatchObject([{ pending: 0, inHand: 1, oldestPendingId: ids[0] }]);
  await configureGroup(stream, "g", undefined, { alertOldestPendingMs: 60_000 });
  await reap(stream, nowMs);
  expect(await listAlerts(stream.redis, stream.prefix, { nowMs, reaperLateMs: 10 ** 12 })).toMatchObject([
    { metric: "oldestPendingMs", value: 3_600_000 },
  ]);
});

type Op =
  | { op: "produce"; count: number }
  | { op: "read"; count: number }
  | { op: "nativeTrim"; length: number }
  | { op: "trim"; length: number }
  | { op: "delete"; at: number }
  | { op: "seek"; at: number }
  | { op: "reap" };

const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant("produce" as const), count: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant("read" as const), count: fc.integer({ min: 1, max: 9 }) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("nativeTrim" as const), length: fc.nat(25) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("trim" as const), length: fc.nat(25) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("delete" as const), at: fc.nat(99) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("seek" as const), at: fc.nat(99) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("reap" as const) }) },
);

test.each(["keep", "drop", "dead-letter"] as const)(
  "whatever is added, read, trimmed, deleted and sought (unfinished: %s), an exact lag is right and none is above the length",
  async (unfinished) => {
    const client = nativeClient();
    await fc.assert(
      fc.asyncProperty(fc.array(op, { minLength: 3, maxLength: 25 }), fc.boolean(), async (ops, isNative) => {
        const stream = await makeStream(isNative ? [] : ["g"], { settings: { unfinished } });
        if (isNative) await client.xgroup("CREATE", stream.keys.stream, "g", "0");
        const idsThere = async () => (await client.xrange(stream.keys.stream, "-", "+")).map(([id]) => id);
        for (const one of ops) {
          const ids = await idsThere();
          if (one.op === "produce") await produceNumbers(stream, one.count);
          else if (one.op === "read") await read(stream, one.count);
          else if (one.op === "nativeTrim") await client.call("XTRIM", stream.keys.stream, "MAXLEN", one.length);
          else if (one.op === "trim") await trimNow(stream, { maxLength: one.length, exact: true }, Date.now());
          else if (one.op === "reap") await reap(stream);
          else {
            const id = ids[one.at % Math.max(1, ids.length)];
            if (id !== undefined && one.op === "delete") await client.xdel(stream.keys.stream, id);
            if (id !== undefined && one.op === "seek") await seek(stream, "g", { kind: "id", id });
          }
          const { lag, lagIs } = await groupInfo(stream, "g", Date.now());
          const [actual, length] = [await trueLag(stream, "g"), (await idsThere()).length];
          if (lagIs === "exact") expect([one.op, lag]).toEqual([one.op, actual]);
          if (lag !== null) expect(lag).toBeLessThanOrEqual(length);
        }
      }),
      { numRuns: 60 },
    );
  },
);
