import { expect, test } from "vitest";
import { listDeadLetters } from "../../shared/stream/dead-letters.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureStream } from "../../shared/stream/manage.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { nativeClient, openRedis, uniquePrefix } from "../support/redis.ts";
import { age, leasesOf, makeStream, poll, produceNumbers, settleSome } from "../support/streams.ts";

/** What a go-redis, redis-py or redis-rs consumer does, by the same commands. */
async function readNatively(native: ReturnType<typeof nativeClient>, key: string, consumer: string, from = ">") {
  const reply = await native.call("XREADGROUP", "GROUP", "g", consumer, "COUNT", 10, "STREAMS", key, from);
  return entriesOf(Array.isArray(reply) ? reply[0]?.[1] : []);
}

function entriesOf(entries: unknown): { id: string; fields: string[] }[] {
  if (!Array.isArray(entries)) throw new Error("expected entries");
  return entries.map(([id, fields]) => ({ id: String(id), fields }));
}

test("native and HTTP consumers share a group: each message goes to one of them", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  const ids = await produceNumbers(stream, 30);
  const natively = await readNatively(native, stream.keys.stream, "go");
  const overHttp = await poll(stream, "g", { consumer: "http", batchSize: 30 });
  expect([...natively, ...overHttp.messages].map(({ id }) => id)).toEqual(ids);
  expect(natively[0]?.fields).toEqual(["data", "0"]);
});

test("what a native consumer dropped comes to an HTTP one, and the other way round", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  const ids = await produceNumbers(stream, 4);
  await readNatively(native, stream.keys.stream, "go");
  await age(native, stream, "g");
  const { messages } = await poll(stream, "g", { consumer: "http", batchSize: 2 });
  expect(messages.map(({ id, deliveries }) => [id, deliveries])).toEqual(ids.slice(0, 2).map((id) => [id, 2]));
  await age(native, stream, "g");
  const claimed = await native.call("XAUTOCLAIM", stream.keys.stream, "g", "go2", 30_000, "0-0", "COUNT", 10);
  expect(entriesOf(Array.isArray(claimed) ? claimed[1] : []).map(({ id }) => id)).toEqual(ids);
  expect(await native.xack(stream.keys.stream, "g", ...ids)).toBe(4);
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ pending: 0, lag: 0 });
});

test("a native consumer recovers its own pending entries by reading from 0 after a restart", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  const ids = await produceNumbers(stream, 3);
  await readNatively(native, stream.keys.stream, "go");
  await native.xack(stream.keys.stream, "g", ids[0] ?? "");
  await poll(stream, "g", { consumer: "http" });
  expect((await readNatively(native, stream.keys.stream, "go", "0")).map(({ id }) => id)).toEqual(ids.slice(1));
});

test("a stream and group made natively are adopted as they are, with what is in them", async () => {
  const prefix = uniquePrefix();
  const stream = openStream(openRedis(), prefix, "native");
  const native = nativeClient();
  await native.xadd(stream.keys.stream, "*", "temperature", "21.5", "unit", "C");
  await native.call("XGROUP", "CREATE", stream.keys.stream, "g", "0");
  expect(await configureStream(stream, {}, Date.now())).toMatchObject({ created: false, info: { length: 1 } });
  const { messages } = await poll(stream, "g");
  expect(messages).toMatchObject([{ type: null, key: null, attributes: { temperature: "21.5", unit: "C" } }]);
  expect(messages[0]).not.toHaveProperty("data");
  const done = await poll(stream, "g", { acks: leasesOf(messages) });
  expect(done.settled).toMatchObject({ acked: 1 });
});

test("entries that no HTTP producer could write break neither the batch nor the move to the dead letters", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  const { stream: key } = stream.keys;
  const fields = Array.from({ length: 10_000 }, (_, i) => [`f${i}`, String(i)]).flat();
  await native.call("XADD", key, "*", ...fields);
  await native.xadd(key, "*", "data", "{broken", "weir-id", "1-1", "weir-reason", "made up");
  await native.xadd(key, "*", "data", Buffer.from([0xff, 0xfe]), "type", Buffer.from([0xc0]));
  await native.xadd(key, "*", "a", "first", "a", "last");
  const { messages } = await poll(stream, "g");
  expect(messages).toMatchObject([
    { attributes: { f0: "0", f9999: "9999" } },
    { data: "{broken", datacontenttype: "text/plain" },
    { dataBase64: "//4=", type: null, attributesBase64: { type: "wA==" } },
    { attributes: { a: "last" } },
  ]);
  for (let i = 0; i < 20; i++) {
    await age(native, stream, "g");
    await poll(stream, "g", { consumer: `c${i}` });
  }
  const letters = (await listDeadLetters(stream, "g", { limit: 10 })).items;
  const originals = letters.map(({ message }) => JSON.parse(message)).sort((a, b) => (a.id < b.id ? -1 : 1));
  expect(originals).toMatchObject(messages.map(({ lease: _, deliveries: __, ...message }) => message));
  expect(letters.every(({ reason, deliveries }) => reason === "max-deliveries" && deliveries === 5)).toBe(true);
});

test("fields that another client named like Weir's own pass for nothing in the dead letters", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  await native.xadd(stream.keys.stream, "*", "weir-fields", "x", "weir-detail", "made up", "data", "1");
  const { messages } = await poll(stream, "g");
  await settleSome(stream, "g", { rejects: leasesOf(messages).map((lease) => ({ lease })) });
  await native.xadd(stream.keys.dead("g"), "*", "weir-id", 'x"', "weir-fields", "{", "data", "2");
  const { items } = await listDeadLetters(stream, "g", { limit: 10 });
  expect(items.map(({ message, detail }) => [JSON.parse(message).data, detail])).toEqual([
    [1, null],
    [2, null],
  ]);
});

test("an entry with very many fields keeps bytes that are not UTF-8 on its way through the dead letters", async () => {
  const stream = await makeStream(["g"]);
  const fields = Array.from({ length: 1_500 }, (_, i) => [`f${i}`, Buffer.from([0xff, i % 256])]).flat();
  await nativeClient().call("XADD", stream.keys.stream, "*", ...fields);
  const { messages } = await poll(stream, "g");
  await settleSome(stream, "g", { rejects: leasesOf(messages).map((lease) => ({ lease })) });
  const [letter] = (await listDeadLetters(stream, "g", { limit: 10 })).items;
  expect(JSON.parse(letter?.message ?? "").attributesBase64).toMatchObject({ f0: "/wA=", f1499: "/9s=" });
});
