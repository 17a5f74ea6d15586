import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { consuming, drained, filled } from "../support/consumers.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker({ vars: { TOKEN_SECRET: "secret-of-the-tests-that-is-long-enough" } });

/** How many messages were held at once, of a group whose messages all come for the last time but for some. */
async function mostAtOnce(maxDeliveries: number) {
  const place = await filled(worker, 3, { maxDeliveries });
  const { messages } = await place.group.consume({ consumer: "before", batchSize: 3 });
  await place.group.settle({ retries: messages.map(({ lease }) => ({ lease, delayMs: 0 })) });
  let [held, most] = [0, 0];
  const handler = async () => {
    held++;
    most = Math.max(most, held);
    // Longer than a consumer waits between two polls when it is not idle.
    await sleep(700);
    held--;
  };
  // What a consumer's token permits is enough to know the group's settings.
  const scope = [`consume:${place.name}/g`];
  const { token } = await place.weir.issueToken({ subject: "consumer", scope, expiresInMs: 60_000 });
  const client = { token };
  const { consumer, errors } = consuming(worker, place, handler, { concurrency: 6, prefetch: 6, client });
  await drained(place.group);
  const { received, redelivered } = consumer.counters;
  await consumer.stop();
  expect(errors).toEqual([]);
  return { most, received, redelivered };
}

test("a last permitted delivery is held alone: a crash takes no other to the dead letters", async () => {
  expect(await mostAtOnce(2)).toEqual({ most: 1, received: 3, redelivered: 3 });
});

test("what may come again after this is held together", async () => {
  expect(await mostAtOnce(5)).toEqual({ most: 3, received: 3, redelivered: 3 });
});
