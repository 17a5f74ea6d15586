import { describe, expect, test } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, configureStream, deleteGroup, deleteStream } from "../../shared/stream/manage.ts";
import { listPending } from "../../shared/stream/pending.ts";
import { produce } from "../../shared/stream/produce.ts";
import { replayToGroup } from "../../shared/stream/reread.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { settle } from "../../shared/stream/settle.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { failure } from "../support/failure.ts";
import { nativeClient, openRedis, uniquePrefix } from "../support/redis.ts";
import {
  leasesOf,
  makeStream,
  NOTHING_SETTLED,
  poll,
  produceNumbers,
  settleSome,
  type TestStream,
} from "../support/streams.ts";

const FIRST = { kind: "first" } as const;

async function keysUnder(prefix: string): Promise<string[]> {
  return (await nativeClient().keys(`${prefix}*`)).sort();
}

/** A stream whose groups have dead letters, retries and something in hand of them. */
async function makeUsed(groups: readonly string[]): Promise<TestStream> {
  const stream = await makeStream(groups);
  await produceNumbers(stream, 4);
  for (const group of groups) {
    const [a = "", b = "", c = ""] = leasesOf((await poll(stream, group)).messages);
    await settleSome(stream, group, { rejects: [{ lease: a }], retries: [{ lease: b, delayMs: 3_600_000 }] });
    await settleSome(stream, group, { retries: [{ lease: c, delayMs: 0 }] });
    await poll(stream, group, { consumer: "other" });
  }
  return stream;
}

describe("deleting a stream leaves no key behind", () => {
  test.each([
    ["after a native DEL of it", async ({ keys }: TestStream) => nativeClient().del(keys.stream)],
    ["after a native RENAME of it", async ({ keys }: TestStream) => nativeClient().rename(keys.stream, "elsewhere")],
    [
      "after a native XGROUP DESTROY of its groups",
      async ({ keys }: TestStream) => {
        for (const group of ["g", "a:b"]) await nativeClient().xgroup("DESTROY", keys.stream, group);
      },
    ],
    ["as it is", async () => undefined],
  ])("%s", async (_, change) => {
    const stream = await makeUsed(["g", "a:b"]);
    await change(stream);
    await deleteStream(stream);
    expect(await keysUnder(stream.prefix)).toEqual([]);
    expect((await failure(deleteStream(stream))).code).toBe("unknown-stream");
  });
});

test("a stream made anew after another client deleted it inherits nothing", async () => {
  const stream = await makeUsed(["g"]);
  await configureStream(stream, { maxLength: 7 }, 0);
  await nativeClient().del(stream.keys.stream);
  const { created, info } = await configureStream(stream, {}, 0);
  expect([created, info.config.retention.maxLength]).toEqual([true, null]);
  await configureGroup(stream, "g", FIRST, {});
  expect(await groupInfo(stream, "g", 0)).toMatchObject({ pending: 0, delayed: 0, deadLetters: 0, dropped: 0 });
  expect((await poll(stream, "g", { recover: true })).messages).toEqual([]);
});

describe("a group of the same name inherits nothing:", () => {
  test.each([
    ["deleted", (stream: TestStream) => deleteGroup(stream, "g")],
    ["destroyed by another client", ({ keys }: TestStream) => nativeClient().xgroup("DESTROY", keys.stream, "g")],
  ])("%s, and put again", async (_, remove) => {
    const stream = await makeUsed(["g"]);
    const old = (await poll(stream, "g", { consumer: "other", recover: true })).messages;
    expect(old.length).toBeGreaterThan(0);
    await remove(stream);
    await configureGroup(stream, "g", FIRST, {});
    expect(await groupInfo(stream, "g", 0)).toMatchObject({ pending: 0, delayed: 0, deadLetters: 0 });
  });

  test("leases of the one before are foreign to it, whatever is done with them, also where nobody remembers it", async () => {
    const stream = await makeStream(["g"]);
    await produceNumbers(stream, 5);
    const cache = new SettingsCache();
    const old = leasesOf((await poll(stream, "g", {}, cache)).messages);
    await deleteGroup(stream, "g");
    cache.forgetGroup(stream, "g");
    await configureGroup(stream, "g", FIRST, {});
    // The same consumer, messages and counts.
    const fresh = leasesOf((await poll(stream, "g", {}, cache)).messages);
    expect(fresh).toHaveLength(5);
    const [a = "", b = "", c = "", d = "", e = ""] = old;
    const lists = { acks: [a], retries: [{ lease: b }], rejects: [{ lease: c }], releases: [d], extends: [e] };
    const stale = expect.arrayContaining(old.map((lease) => ({ lease, outcome: "foreign" })));
    for (const known of [cache, new SettingsCache()]) {
      const settled = await settle(stream, "g", { ...NOTHING_SETTLED, ...lists }, known);
      expect(settled).toEqual({ acked: 0, retried: 0, rejected: 0, released: 0, extended: 0, stale });
      const consumed = await poll(stream, "g", { ...lists, batchSize: 1 }, known);
      expect(consumed.settled).toEqual({ acked: 0, retried: 0, rejected: 0, released: 0, extended: 0, stale });
    }
    expect((await listPending(stream, "g", { limit: 9 })).items.map(({ lease }) => lease)).toEqual(fresh);
    expect(await settleSome(stream, "g", { acks: fresh })).toMatchObject({ acked: 5, stale: [] });
  });

  test("leases that an earlier version handed out are settled all the same", async () => {
    const stream = await makeStream(["g"]);
    const native = nativeClient();
    await produceNumbers(stream, 2);
    // As a group of an earlier version is: without an incarnation.
    await native.hdel(stream.keys.config, "incarnation:g");
    const { leaseFormat } = await import("../../shared/lease.ts");
    const read = await native.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", stream.keys.stream, ">");
    const ids = [...JSON.stringify(read).matchAll(/\d{13}-\d+/g)].map(([id]) => id);
    const leases = ids.map((id) => leaseFormat(stream.name, "g").write({ id, consumer: "c", deliveries: 1 }));
    await produceNumbers(stream, 1);
    await poll(stream, "g");
    expect(await native.hget(stream.keys.config, "incarnation:g")).toMatch(/^[0-9a-f]{8}$/);
    const [a = "", b = ""] = leases;
    expect(await settleSome(stream, "g", { acks: [a], retries: [{ lease: b }] })).toMatchObject({
      acked: 1,
      retried: 1,
    });
  });
});

test("no field and no key stays of a group that is deleted, and its deletion says what it did", async () => {
  const stream = await makeUsed(["g"]);
  const native = nativeClient();
  await deleteGroup(stream, "g");
  const fields = await native.hkeys(stream.keys.config);
  expect(fields.filter((field) => field.endsWith(":g"))).toEqual([]);
  expect(await keysUnder(stream.prefix)).toEqual(
    [stream.keys.stream, stream.keys.config, stream.keys.clock, stream.registry].sort(),
  );
  expect((await failure(deleteGroup(stream, "g"))).code).toBe("unknown-group");
  const other = await makeUsed(["g"]);
  await native.xgroup("DESTROY", other.keys.stream, "g");
  await deleteGroup(other, "g");
  expect((await failure(deleteGroup(other, "g"))).code).toBe("unknown-group");
});

describe("a repeat is answered", () => {
  test("with the same ids after the limit was lowered, and after the messages were trimmed or deleted", async () => {
    const stream = await makeStream([], { settings: { maxMessageBytes: 4_000 } });
    const messages = [{ data: JSON.stringify("x".repeat(3_000)) }];
    const first = await produce(stream, messages, "key");
    await configureStream(stream, { maxMessageBytes: 1_024 }, 0);
    expect(await produce(stream, messages, "key")).toEqual({ ids: first.ids, repeated: true });
    await produceNumbers(stream, 1);
    await nativeClient().xdel(stream.keys.stream, first.ids[0] ?? "");
    expect(await produce(stream, messages, "key")).toEqual({ ids: first.ids, repeated: true });
    await nativeClient().xtrim(stream.keys.stream, "MAXLEN", 0);
    expect(await produce(stream, messages, "key")).toEqual({ ids: first.ids, repeated: true });
    expect((await failure(produce(stream, messages, "other"))).code).toBe("payload-too-large");
  });

  test("never from a stream that is gone, or that another client made anew", async () => {
    const stream = await makeStream([]);
    const native = nativeClient();
    const messages = [{ data: "1" }, { data: "2" }];
    const first = await produce(stream, messages, "key");
    await native.del(stream.keys.stream);
    expect((await failure(produce(stream, messages, "key"))).code).toBe("unknown-stream");
    await native.xadd(stream.keys.stream, "*", "data", "3");
    const again = await produce(stream, messages, "key");
    expect(again.repeated).toBe(false);
    expect(again.ids).not.toEqual(first.ids);
    expect(await produce(stream, messages, "key")).toEqual({ ids: again.ids, repeated: true });
  });
});

describe("a stream that another client has made", () => {
  async function native() {
    const prefix = uniquePrefix();
    const stream = { ...openStream(openRedis(), prefix, "made-natively"), prefix };
    const client = nativeClient();
    await client.xadd(stream.keys.stream, "*", "data", "1");
    return { stream, client, isRegistered: async () => (await client.zscore(stream.registry, stream.name)) !== null };
  }

  test("is registered when it is produced to by name, and then knows repeats", async () => {
    const { stream, isRegistered } = await native();
    const first = await produce(stream, [{ data: "2" }], "key");
    expect(await isRegistered()).toBe(true);
    expect(await produce(stream, [{ data: "2" }], "key")).toEqual({ ids: first.ids, repeated: true });
  });

  test("is adopted again where its incarnation was emptied", async () => {
    const { stream, client } = await native();
    await client.hset(stream.keys.config, "incarnation", "");
    const first = await produce(stream, [{ data: "2" }], "key");
    expect(await produce(stream, [{ data: "2" }], "key")).toEqual({ ids: first.ids, repeated: true });
  });

  test("is registered when it is consumed from by name", async () => {
    const { stream, client, isRegistered } = await native();
    await client.xgroup("CREATE", stream.keys.stream, "g", "0");
    expect((await poll(stream, "g")).messages).toHaveLength(1);
    expect(await isRegistered()).toBe(true);
    const context = { redis: stream.redis, keyPrefix: stream.prefix, consumerIdleMs: 10 ** 12 };
    expect(await runReaper(context, { nowMs: Date.now(), everyStream: false })).toMatchObject({ complete: true });
  });

  test("that is not there leaves nothing when it is asked for", async () => {
    const prefix = uniquePrefix();
    const stream = openStream(openRedis(), prefix, "nowhere");
    const asked = [
      () => produce(stream, [{ data: "1" }]),
      () => produce(stream, [{ data: "1" }], "key"),
      () => poll(stream, "g"),
      () => settleSome(stream, "g", { acks: ["x"] }),
      () => listPending(stream, "g", { limit: 1 }),
      () => replayToGroup(stream, "g", { start: FIRST, limit: 1 }),
    ];
    for (const ask of asked) expect((await failure(ask())).code).toBe("unknown-stream");
    expect(await keysUnder(prefix)).toEqual([]);
  });
});

test("a PUT that meets a DELETE at any point leaves no stream that the registry does not know", async () => {
  const client = nativeClient();
  for (let round = 0; round < 60; round++) {
    const prefix = uniquePrefix();
    const name = `s${round}`;
    const [one, two] = [openStream(openRedis(), prefix, name), openStream(openRedis(), prefix, name)];
    await configureStream(one, {}, 5);
    // The same time, as two clients may have it.
    const put = configureStream(one, {}, 5);
    const remove = deleteStream(two).catch(() => undefined);
    const third = round % 2 === 0 ? configureStream(two, {}, 5) : undefined;
    // Of two at the same time one may be told of the other.
    const results = await Promise.allSettled([put, remove, third]);
    for (const result of results) {
      if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "conflict" });
    }
    const exists = (await client.exists(one.keys.stream)) === 1;
    expect(exists && (await client.zscore(one.registry, name)) === null, `round ${round}`).toBe(false);
  }
});

test("a stream goes back to its cheapest visits once all that came back is settled", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  await produceNumbers(stream, 3);
  const leases = leasesOf((await poll(stream, "g")).messages);
  await settleSome(stream, "g", { retries: leases.map((lease) => ({ lease, delayMs: 0 })) });
  await settleSome(stream, "g", { acks: leasesOf((await poll(stream, "g")).messages) });
  const context = { redis: stream.redis, keyPrefix: stream.prefix, consumerIdleMs: 10 ** 12 };
  const later = Date.now() + 24 * 3_600_000;
  await runReaper(context, { nowMs: later, everyStream: true });
  await runReaper(context, { nowMs: later, everyStream: true });
  expect(await native.hexists(stream.keys.config, "againDue:g")).toBe(0);
  expect(await native.exists(stream.keys.againDue("g"), stream.keys.again("g"))).toBe(0);
  expect(Number(await native.zscore(stream.registry, stream.name))).toBe(later + 15 * 60_000);
});

test("what a late acknowledgement leaves in the side store's index is pruned, wherever it stands", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  const ids = await produceNumbers(stream, 400);
  await replayToGroup(stream, "g", { ids, limit: 1_000 });
  const first = (await poll(stream, "g", { batchSize: 400 })).messages;
  const due = stream.keys.againDue("g");
  // Handed on to another consumer, then acknowledged by the lease of the one before.
  const members = (await native.zrangebyscore(due, "-inf", "(0")).sort();
  for (const member of members) await native.zadd(due, -1, member);
  await native.hset(stream.keys.config, "againDue:g", 1);
  const second = (await poll(stream, "g", { consumer: "next", batchSize: 400 })).messages;
  expect(second).toHaveLength(400);
  await settleSome(stream, "g", { acks: leasesOf(first.slice(300)) });
  const left = async () => (await native.zrange(due, "0", "-1")).filter((member) => member.startsWith("h ")).length;
  expect(await left()).toBe(400);
  const context = { redis: stream.redis, keyPrefix: stream.prefix, consumerIdleMs: 10 ** 12 };
  await runReaper(context, { nowMs: Date.now(), everyStream: true });
  expect(await left()).toBe(300);
});
