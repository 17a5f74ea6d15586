import { describe, expect, test } from "vitest";
import { expectStatus, idsOf, makeHttpGroup } from "../support/http-group.ts";
import { nativeClient } from "../support/redis.ts";
import { age } from "../support/streams.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();

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
