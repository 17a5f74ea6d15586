import { describe, expect, test } from "vitest";
import { removeConsumer } from "../../shared/stream/consumers.ts";
import { configureGroup, configureStream } from "../../shared/stream/manage.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { ownRedis } from "../redis/support.ts";
import { expectStatus, idsOf, makeHttpGroup } from "../support/model-http.ts";
import { nativeClient } from "../support/redis.ts";
import { age, leasesOf, makeStream, poll, produceNumbers, settleSome } from "../support/streams.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();

test("removing one of Weir's own holders loses nothing", async () => {
  const g = await makeHttpGroup(worker, {}, 10);
  await g.consume({ consumer: "gone" });
  await worker.call("DELETE", `${g.group}/consumers/gone`);
  await worker.call("DELETE", `${g.group}/consumers/@held:0`);
  expect(idsOf((await g.consume()).messages)).toEqual(g.ids);
});

test("a request settles before it polls, also when Redis has lost its scripts", async () => {
  const { native, open } = await ownRedis();
  const stream = openStream(open("tcp"), "weir:", "s");
  await configureStream(stream, {}, Date.now());
  await configureGroup(stream, "g", { kind: "first" }, {});
  await produceNumbers(stream, 1);
  const { messages } = await poll(stream, "g");
  await age(native, stream, "g");
  await native.script("FLUSH");
  // Redis has the poll's script again, as after a poll of another consumer, but not yet the one that settles.
  await poll(stream, "g", { consumer: "other", batchSize: 1, recover: true });
  const rejects = leasesOf(messages).map((lease) => ({ lease }));
  const { settled } = await poll(stream, "g", { rejects });
  expect(settled).toMatchObject({ rejected: 1, stale: [] });
});

test("a last permitted delivery that came alone says that new messages wait", async () => {
  const g = await makeHttpGroup(worker, { maxDeliveries: 2 }, 1);
  await g.consume();
  await age(nativeClient(), g.stream, "g");
  await g.produce(5);
  const { messages, pollAfterMs } = await g.consume();
  expect([messages.length, pollAfterMs]).toEqual([1, 0]);
});

describe("claim", () => {
  test("hands out a last permitted delivery alone", async () => {
    const g = await makeHttpGroup(worker, { maxDeliveries: 2 }, 3);
    await g.consume();
    await age(nativeClient(), g.stream, "g");
    const { json } = await expectStatus(g.post("claim", { consumer: "b" }), 200);
    expect(json.messages).toHaveLength(1);
  });

  test("of an id that is named twice dead-letters it once", async () => {
    const g = await makeHttpGroup(worker, { maxDeliveries: 1 }, 1);
    await g.consume();
    await age(nativeClient(), g.stream, "g");
    await expectStatus(g.post("claim", { consumer: "b", ids: [g.ids[0], g.ids[0]] }), 200);
    expect(await g.info()).toMatchObject({ deadLetters: 1 });
  });
});

test("after a seek no batch has a message twice", async () => {
  const g = await makeHttpGroup(worker, {}, 3);
  await g.consume();
  await age(nativeClient(), g.stream, "g");
  await g.post("seek", { to: "earliest" });
  const { messages } = await g.consume();
  expect(idsOf(messages)).toEqual(g.ids);
});

test("what was handed over but never handed out still belongs to the last delivery that was made", async () => {
  const stream = await makeStream(["g"]);
  await produceNumbers(stream, 1);
  const [old = ""] = leasesOf((await poll(stream, "g", { consumer: "old" })).messages);
  await removeConsumer(stream, "g", "old", "heir");
  expect((await settleSome(stream, "g", { extends: [old] })).stale).toMatchObject([{ outcome: "superseded" }]);
  await removeConsumer(stream, "g", "heir");
  expect(await settleSome(stream, "g", { rejects: [{ lease: old }] })).toMatchObject({ rejected: 1 });
});
