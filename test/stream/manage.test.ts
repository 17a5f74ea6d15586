import { expect, test } from "vitest";
import { registryKey } from "../../shared/keys.ts";
import { groupInfo, streamInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, configureStream, deleteGroup, deleteStream } from "../../shared/stream/manage.ts";
import { listPending } from "../../shared/stream/pending.ts";
import { produce } from "../../shared/stream/produce.ts";
import { listStreams } from "../../shared/stream/registry.ts";
import { replayToGroup } from "../../shared/stream/reread.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { nativeClient, openRedis, uniquePrefix } from "../support/redis.ts";
import { makeStream, poll, produceNumbers } from "../support/streams.ts";

function unmade(name = "s") {
  const prefix = uniquePrefix();
  return { prefix, stream: openStream(openRedis(), prefix, name), native: nativeClient() };
}

test("a key of another client's is not deleted, and a name that is no stream is not listed", async () => {
  const { prefix, stream, native } = unmade();
  await native.set(stream.keys.config, "another's");
  await expect(configureStream(stream, {}, 0)).rejects.toMatchObject({ code: "conflict" });
  await expect(deleteStream(stream)).rejects.toMatchObject({ code: "conflict" });
  expect(await native.get(stream.keys.config)).toBe("another's");
  expect(await listStreams(stream.redis, prefix, { limit: 10 })).toEqual({ items: [], next: null });
  await native.del(stream.keys.config);
  await native.set(stream.keys.stream, "another's");
  await expect(configureStream(stream, {}, 0)).rejects.toMatchObject({ code: "conflict" });
  expect(await native.zcard(registryKey(prefix))).toBe(0);
});

test("a stream is not created when it cannot be registered", async () => {
  const { prefix, stream, native } = unmade();
  await native.set(registryKey(prefix), "another's");
  await expect(configureStream(stream, {}, 0)).rejects.toMatchObject({ code: "conflict" });
  expect(await native.exists(stream.keys.stream)).toBe(0);
});

test("a group's dead letters of another type are not deleted with it", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  await native.set(stream.keys.dead("g"), "another's");
  await expect(deleteGroup(stream, "g")).rejects.toMatchObject({ code: "conflict" });
  expect(await native.get(stream.keys.dead("g"))).toBe("another's");
});

test("an unknown group of a known stream is told as such", async () => {
  const stream = await makeStream();
  const unknown = { code: "unknown-group" };
  await expect(listPending(stream, "none", { limit: 1 })).rejects.toMatchObject(unknown);
  await expect(groupInfo(stream, "none", 0)).rejects.toMatchObject(unknown);
  await expect(deleteGroup(stream, "none")).rejects.toMatchObject(unknown);
});

test("producing is all or nothing, also at the very end of the id space", async () => {
  const stream = await makeStream();
  const last = "18446744073709551615";
  await nativeClient().xadd(stream.keys.stream, `${last}-18446744073709551614`, "data", "1");
  await expect(produce(stream, [{ data: "1" }, { data: "2" }])).rejects.toMatchObject({ code: "conflict" });
  expect(await streamInfo(stream)).toMatchObject({ length: 1 });
});

test("settings that are absent stay, null goes back to the default, and a start is remembered", async () => {
  const stream = await makeStream();
  await configureStream(stream, { maxAgeMs: 5, dedupeWindowMs: 9_000 }, 0);
  const { info } = await configureStream(stream, { dedupeWindowMs: null }, 0);
  expect(info.config).toMatchObject({ retention: { maxAgeMs: 5 }, dedupeWindowMs: 300_000 });
  await configureGroup(stream, "g", { kind: "first" }, { ackWaitMs: 2_000 });
  expect(await configureGroup(stream, "g", { kind: "first" }, {})).toEqual({ created: false });
  await expect(configureGroup(stream, "g", { kind: "last" }, {})).rejects.toMatchObject({ code: "conflict" });
  expect((await groupInfo(stream, "g", 0)).config).toMatchObject({ ackWaitMs: 2_000, maxDeliveries: 5 });
});

test.each([
  ["earliest", { kind: "first" } as const, 7],
  ["latest", { kind: "last" } as const, 0],
])("a group created at %s knows its lag at once", async (_, start, lag) => {
  const stream = await makeStream();
  await produceNumbers(stream, 10);
  await nativeClient().xtrim(stream.keys.stream, "MAXLEN", 7);
  await configureGroup(stream, "g", start, {});
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ lag, lagIs: "exact" });
});

test("a stream that is deleted and put at once is never there without the reaper knowing it", async () => {
  for (let round = 0; round < 50; round++) {
    const { prefix, stream, native } = unmade();
    await configureStream(stream, {}, 1);
    await Promise.allSettled([
      deleteStream({ ...stream, redis: openRedis() }),
      configureStream({ ...stream, redis: openRedis() }, {}, 2 + round),
    ]);
    const [exists, score] = [await native.exists(stream.keys.stream), await native.zscore(registryKey(prefix), "s")];
    expect(exists === 0 || score !== null, `round ${round}`).toBe(true);
  }
});

test("an adopted stream that is deleted and adopted anew does not answer what its predecessor was asked", async () => {
  const { stream, native } = unmade();
  const adopt = async () => {
    await native.xadd(stream.keys.stream, "*", "data", "1");
    await configureStream(stream, {}, 0);
    return produce(stream, [{ data: "2" }], "key");
  };
  const first = await adopt();
  await deleteStream(stream);
  expect(await adopt()).not.toEqual({ ids: first.ids, repeated: true });
  expect(await streamInfo(stream)).toMatchObject({ length: 2 });
});

test("batches stay bounded by messages that were allowed before the limit was lowered", async () => {
  const megabyte = JSON.stringify("x".repeat(1024 * 1024));
  const stream = await makeStream(["g"], { settings: { maxMessageBytes: 2 * 1024 * 1024 } });
  for (let i = 0; i < 12; i++) await produce(stream, [{ data: megabyte }]);
  await configureStream(stream, { maxMessageBytes: 1_024 }, 0);
  expect((await poll(stream, "g")).messages.length).toBeLessThanOrEqual(4);
});

test("a group gets nothing of one of its name that another client destroyed", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  await configureGroup(stream, "g", undefined, { maxDeliveries: 1 });
  const ids = await produceNumbers(stream, 1);
  await replayToGroup(stream, "g", { ids, limit: 1 });
  await native.xgroup("DESTROY", stream.keys.stream, "g");
  expect(await configureGroup(stream, "g", { kind: "last" }, {})).toEqual({ created: true });
  expect(await groupInfo(stream, "g", 0)).toMatchObject({ delayed: 0, config: { maxDeliveries: 5 } });
  expect((await poll(stream, "g")).messages).toEqual([]);
});
