import { expect, test } from "vitest";
import { Consumer, type ConsumerOptions } from "../../client/index.ts";
import { clientOf } from "../support/client.ts";
import { eventually } from "../support/wait.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();
let made = 0;

/** A stream with a group `g` that holds so many messages, their numbers as data. */
async function filled(count: number, settings: object = {}) {
  const weir = clientOf(worker);
  const name = `c${made++}`;
  const stream = weir.stream(name);
  await stream.put();
  const group = stream.group("g");
  await group.put({ start: "earliest", ...settings });
  for (let from = 0; from < count; from += 1_000) {
    const size = Math.min(1_000, count - from);
    await stream.produce(Array.from({ length: size }, (_, i) => ({ type: "n", data: from + i })));
  }
  return { weir, name, stream, group };
}

test("every message is handled once and acknowledged, and a clean stop leaves nothing behind", async () => {
  const { weir, name, group } = await filled(1_000);
  const seen: unknown[] = [];
  const consumer = new Consumer(weir, { stream: name, group: "g", handler: ({ data }) => void seen.push(data) });
  const errors: unknown[] = [];
  consumer.on("error", (error) => errors.push(error));
  consumer.start();
  await eventually("the handler saw them", () => seen.length === 1_000);
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
  expect(errors).toEqual([]);
  expect(seen).toEqual(Array.from({ length: 1_000 }, (_, i) => i));
  expect(consumer.counters).toMatchObject({ acked: 1_000, redelivered: 0, errors: 0 });
  expect(await group.get()).toMatchObject({ lag: 0, pending: 0, delayed: 0, consumers: 0 });
});

test("stopped in the middle, what was not handled comes again uncharged", async () => {
  const { weir, name, group } = await filled(100);
  const seen: unknown[] = [];
  const options: Omit<ConsumerOptions, "handler" | "batchHandler"> = { stream: name, group: "g", concurrency: 5 };
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  const consumer = new Consumer(weir, {
    ...options,
    handler: async ({ data }) => {
      if (seen.length > 20) await gate;
      seen.push(data);
    },
  });
  consumer.start();
  await eventually("the handler saw them", () => seen.length > 20);
  const stopped = consumer.stop();
  open();
  expect(await stopped).toEqual({ unsettled: 0 });
  expect(await group.get()).toMatchObject({ pending: 0, consumers: 0 });
  const next = new Consumer(weir, { ...options, handler: ({ data }) => void seen.push(data) });
  next.start();
  await eventually("the handler saw them", () => seen.length === 100);
  expect(await next.stop()).toEqual({ unsettled: 0 });
  expect(next.counters.redelivered).toBe(0);
  expect(new Set(seen).size).toBe(100);
});
