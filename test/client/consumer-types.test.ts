import { expect, expectTypeOf, test } from "vitest";
import { z } from "zod";
import { Consumer, type ConsumerOptions, type ReceivedMessage, type WeirClient } from "../../client/index.ts";
import { filled } from "../support/consumers.ts";
import { eventually } from "../support/wait.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();
const schemas = {
  "order.paid": z.object({ total: z.number(), at: z.string().transform((text) => new Date(text)) }),
  "order.sent": z.object({ carrier: z.string() }),
};

/** Checked by the compiler alone: nothing of this is run. */
function compiled(weir: WeirClient): void {
  const place = { stream: "s", group: "g" };
  // @ts-expect-error one of handler and batchHandler is needed
  const none: ConsumerOptions = place;
  // @ts-expect-error not both of them
  const both: ConsumerOptions = { ...place, handler: () => undefined, batchHandler: () => undefined };
  // @ts-expect-error no such option: what is misspelt must not be left out
  new Consumer(weir, { ...place, handler: () => undefined, concurency: 3 });
  // @ts-expect-error no other order
  new Consumer(weir, { ...place, handler: () => undefined, orderBy: "type" });
  // @ts-expect-error a decision is one of three
  new Consumer(weir, { ...place, handler: () => undefined, onError: () => ({ skip: true }) });
  // @ts-expect-error without schemas nothing is known of data
  new Consumer(weir, { ...place, handler: ({ data }) => data.total });
  // @ts-expect-error a schema speaks Standard Schema
  new Consumer(weir, { ...place, handler: () => undefined, schemas: { a: { parse: () => 1 } } });
  // @ts-expect-error an event of that name there is none
  new Consumer(weir, { ...place, handler: () => undefined }).on("message", () => undefined);
  new Consumer(weir, {
    ...place,
    schemas,
    handler: (message) => {
      if (message.type === "order.paid") expectTypeOf(message.data).toEqualTypeOf<{ total: number; at: Date }>();
      else if (message.type === "order.sent") expectTypeOf(message.data).toEqualTypeOf<{ carrier: string }>();
      else expectTypeOf(message.data).toEqualTypeOf<unknown>();
      // @ts-expect-error a type that no schema has
      return message.type === "order.payed";
    },
  });
  new Consumer(weir, {
    ...place,
    schemas,
    batchHandler: ([message]) => {
      if (message?.type === "order.sent") expectTypeOf(message.data.carrier).toEqualTypeOf<string>();
    },
  });
  new Consumer(weir, { ...place, handler: (message) => expectTypeOf(message).toEqualTypeOf<ReceivedMessage>() });
  expectTypeOf(none).toEqualTypeOf(both);
}

test("with zod data is what the schema makes of it, and the compiler knows it by the type", async () => {
  expect(compiled).toBeTypeOf("function");
  const messages = [
    { type: "order.paid", data: { total: 12.5, at: "2026-01-01T00:00:00Z" } },
    { type: "order.sent", data: { carrier: "post" } },
    { type: "order.paid", data: { total: "12.5" } },
    { type: "else", data: 1 },
    { data: 2 },
  ];
  const place = await filled(worker, messages);
  const seen: unknown[] = [];
  const consumer = new Consumer(place.weir, {
    stream: place.name,
    group: "g",
    schemas,
    handler: (message) => {
      if (message.type === "order.paid") seen.push(message.data.total, message.data.at.getUTCFullYear());
      else if (message.type === "order.sent") seen.push(message.data.carrier);
      else seen.push(message.data);
    },
  }).start();
  await eventually("all is settled", () => consumer.counters.acked + consumer.counters.rejected === messages.length);
  await consumer.stop();
  expect(seen.sort()).toEqual([1, 12.5, 2, 2026, "post"]);
  const { deadLetters } = await place.group.deadLetters().first();
  expect(deadLetters).toMatchObject([{ reason: "rejected" }]);
  expect(deadLetters[0]?.detail).toMatch(/^total: .*; at: /);
});
