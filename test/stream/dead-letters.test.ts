import { expect, test } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { deleteDeadLetters, getDeadLetter, listDeadLetters, redrive } from "../../shared/stream/dead-letters.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureStream } from "../../shared/stream/manage.ts";
import { produce } from "../../shared/stream/produce.ts";
import { nativeClient } from "../support/redis.ts";
import { leasesOf, makeStream, poll, settleSome, type TestStream } from "../support/streams.ts";

const DAY_MS = 24 * 3_600_000;

/** A stream whose group `g` has rejected messages, of types a and b in turn. */
async function makeRejected(count: number): Promise<{ stream: TestStream; ids: readonly string[] }> {
  const stream = await makeStream(["g", "other"]);
  const types = Array.from({ length: count }, (_, i) => ({ type: i % 2 === 0 ? "a" : "b", data: `{"n":${i}.0}` }));
  const { ids } = await produce(stream, types);
  const { messages } = await poll(stream, "g", { batchSize: 1_000 });
  await settleSome(stream, "g", { rejects: leasesOf(messages).map((lease) => ({ lease, reason: "no" })) });
  return { stream, ids };
}

async function lettersOf(stream: TestStream) {
  return (await listDeadLetters(stream, "g", { limit: 1_000 })).items;
}

test("dead letters are listed in pages, by reason and type, and got one by one", async () => {
  const { stream, ids } = await makeRejected(5);
  const first = await listDeadLetters(stream, "g", { limit: 3 });
  const second = await listDeadLetters(stream, "g", { limit: 3, cursor: first.next ?? "" });
  expect([...first.items, ...second.items].map(({ message }) => JSON.parse(message).id)).toEqual(ids);
  expect(second.next).toBeNull();
  expect((await listDeadLetters(stream, "g", { limit: 9, type: "b" })).items).toHaveLength(2);
  expect((await listDeadLetters(stream, "g", { limit: 9, reason: "trimmed" })).items).toEqual([]);
  const one = second.items[0];
  expect(await getDeadLetter(stream, "g", one?.id ?? "")).toEqual(one);
  await expect(getDeadLetter(stream, "g", "1-1")).rejects.toMatchObject({ code: "unknown-dead-letter" });
  await expect(getDeadLetter(stream, "none", "1-1")).rejects.toMatchObject({ code: "unknown-group" });
});

test("a redrive hands them to that group alone, from delivery 1, also when the stream has lost the original", async () => {
  const { stream, ids } = await makeRejected(4);
  await nativeClient().xtrim(stream.keys.stream, "MAXLEN", 0);
  const [first, second] = await lettersOf(stream);
  const chosen = [first?.id ?? "", second?.id ?? "", first?.id ?? "", "1-1"];
  expect(await redrive(stream, "g", { ids: chosen, limit: 10 })).toMatchObject({ count: 2 });
  expect(await redrive(stream, "g", { ids: chosen, limit: 10 })).toMatchObject({ count: 0 });
  expect(await groupInfo(stream, "g", 0)).toMatchObject({ delayed: 2, deadLetters: 2 });
  const { messages } = await poll(stream, "g");
  expect(messages).toMatchObject([
    { id: ids[0], type: "a", data: { n: 0 }, deliveries: 1 },
    { id: ids[1], type: "b", data: { n: 1 }, deliveries: 1 },
  ]);
  expect((await poll(stream, "other")).messages).toEqual([]);
  expect(await settleSome(stream, "g", { acks: leasesOf(messages) })).toMatchObject({ acked: 2 });
});

test("a redrive by type and limit takes those, oldest first, however many there are", async () => {
  const { stream } = await makeRejected(500);
  expect(await redrive(stream, "g", { type: "b", limit: 200 })).toMatchObject({ count: 200 });
  expect(await redrive(stream, "g", { type: "b", limit: 200 })).toMatchObject({ count: 50 });
  expect(await redrive(stream, "g", { reason: "max-deliveries", limit: 200 })).toMatchObject({ count: 0 });
  expect(await groupInfo(stream, "g", 0)).toMatchObject({ delayed: 250, deadLetters: 250 });
});

test("a message that is redriven and rejected again is dead again, once, whatever the number of rounds", async () => {
  const { stream, ids } = await makeRejected(1);
  for (let round = 0; round < 4; round++) {
    expect(await redrive(stream, "g", { limit: 10 })).toMatchObject({ count: 1 });
    const { messages } = await poll(stream, "g");
    await settleSome(stream, "g", { rejects: leasesOf(messages).map((lease) => ({ lease })) });
  }
  const letters = await lettersOf(stream);
  expect(letters.map(({ message, deliveries }) => [JSON.parse(message).id, deliveries])).toEqual([[ids[0], 1]]);
});

test("a dead letter without payload cannot be redriven and stays", async () => {
  const stream = await makeStream(["g"]);
  const { ids } = await produce(stream, [{ data: "1" }]);
  const { messages } = await poll(stream, "g");
  await nativeClient().xdel(stream.keys.stream, ...ids);
  await settleSome(stream, "g", { rejects: leasesOf(messages).map((lease) => ({ lease })) });
  expect(await redrive(stream, "g", { limit: 10 })).toMatchObject({ count: 0 });
  expect(await lettersOf(stream)).toMatchObject([{ reason: "payload-missing" }]);
});

test("a redrive at the same time as another one redrives each once", async () => {
  const { stream } = await makeRejected(300);
  const counts = await Promise.all([1, 2, 3].map(() => redrive(stream, "g", { limit: 1_000 })));
  expect(counts.reduce((sum, { count }) => sum + count, 0)).toBe(300);
  expect(await groupInfo(stream, "g", 0)).toMatchObject({ delayed: 300, deadLetters: 0 });
});

test("dead letters are deleted by ids and by age, and nothing else is", async () => {
  const { stream } = await makeRejected(250);
  const letters = await lettersOf(stream);
  expect(await deleteDeadLetters(stream, "g", { ids: [letters[0]?.id ?? "", "1-1"] })).toMatchObject({ count: 1 });
  expect(await deleteDeadLetters(stream, "g", { belowId: letters[240]?.id ?? "" })).toMatchObject({ count: 239 });
  expect(await lettersOf(stream)).toEqual(letters.slice(240));
  expect(await deleteDeadLetters(stream, "g", { belowId: `${Date.now() + DAY_MS}-0` })).toMatchObject({ count: 10 });
  expect(await nativeClient().exists(stream.keys.dead("g"))).toBe(0);
});

test("the reaper deletes dead letters that are past their age, and costs nothing for those that are not", async () => {
  const { stream } = await makeRejected(3);
  const context = { redis: stream.redis, keyPrefix: stream.prefix, consumerIdleMs: 10 ** 12 };
  const run = (nowMs: number) => runReaper(context, { nowMs, everyStream: true });
  expect((await run(Date.now() + 13 * DAY_MS)).groups).toEqual([]);
  expect((await run(Date.now() + 15 * DAY_MS)).groups).toMatchObject([{ group: "g", deadLettersExpired: 3 }]);
  expect(await lettersOf(stream)).toEqual([]);
  await configureStream(stream, { deadLetterMaxAgeMs: 60_000 }, 0);
  expect((await run(Date.now() + 16 * DAY_MS)).groups).toEqual([]);
});
