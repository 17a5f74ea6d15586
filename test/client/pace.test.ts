import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { Consumer } from "../../client/index.ts";
import { clientOf, network } from "../support/client.ts";
import { eventually } from "../support/wait.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();

test.each([
  [10, 16],
  [30, 16],
  [10, 0],
])(
  "at 20 ms to the server and 16 slots busy for %i ms, prefetch %i: one round trip a batch",
  async (handlerMs, prefetch) => {
    const { fetch, sent } = network(async () => {
      await sleep(20);
      return undefined;
    });
    const name = `pace-${handlerMs}-${prefetch}`;
    const stream = clientOf(worker).stream(name);
    await stream.put();
    await stream.group("g").put({ start: "earliest" });
    await stream.produce(Array.from({ length: 800 }, (_, data) => ({ data })));
    let handled = 0;
    const handler = async () => {
      await sleep(handlerMs);
      handled++;
    };
    const consumer = new Consumer(clientOf(worker, { fetch }), {
      stream: name,
      group: "g",
      handler,
      concurrency: 16,
      prefetch,
    });
    consumer.start();
    await eventually("all are handled", () => handled === 800);
    const requests = sent.length;
    await consumer.stop();
    expect(requests).toBeLessThanOrEqual(800 / 16 + 10);
  },
);
