import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { Consumer, consumeOnce, StoppedError } from "../../client/index.ts";
import { clientOf, network, problem, type Sent } from "../support/client.ts";
import { consuming, drained, filled, gate } from "../support/consumers.ts";
import { eventually } from "../support/wait.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();
/** For a machine on which other tests run. */
const SLACK_MS = 700;

const isPoll = ({ path }: Sent) => path.endsWith("/consume");

async function timed<Result>(work: Promise<Result>): Promise<[Result, number]> {
  const beganMs = performance.now();
  const result = await work;
  return [result, performance.now() - beganMs];
}

test("handlers may finish within the grace, and what they did is settled; a stop does not wait longer than they take", async () => {
  const place = await filled(worker, 5);
  const { consumer } = consuming(worker, place, () => sleep(150), { concurrency: 5 });
  await eventually("it works", () => consumer.counters.received === 5);
  const [stopped, ms] = await timed(consumer.stop({ graceMs: 20_000 }));
  expect(stopped).toEqual({ unsettled: 0 });
  expect(ms).toBeLessThan(150 + SLACK_MS);
  expect(consumer.counters).toMatchObject({ acked: 5, released: 0 });
  expect(await place.group.get()).toMatchObject({ lag: 0, pending: 0, consumers: 0 });
});

test("when the grace is over the signals abort: who looks at them gives back, who does not is given back, and settles nothing later", async () => {
  const place = await filled(worker, 2);
  const finish = gate();
  const ended = gate();
  const reasons: unknown[] = [];
  const { consumer } = consuming(worker, place, async (message, { signal }) => {
    signal.addEventListener("abort", () => reasons.push(signal.reason));
    if (message.data === 0) return sleep(60_000, undefined, { signal });
    await finish.opened;
    message.reject("too late");
    ended.open();
    return undefined;
  });
  await eventually("it works", () => consumer.counters.received === 2);
  expect(await consumer.stop({ graceMs: 10 })).toEqual({ unsettled: 0 });
  expect(reasons).toEqual([expect.any(StoppedError), expect.any(StoppedError)]);
  expect(consumer.counters).toMatchObject({ acked: 0, retried: 0, rejected: 0, released: 2 });
  finish.open();
  await ended.opened;
  const seen: unknown[] = [];
  const next = consuming(worker, place, ({ data, deliveries }) => seen.push([data, deliveries]));
  await drained(place.group);
  await next.consumer.stop();
  expect(seen.sort()).toEqual([
    [0, 1],
    [1, 1],
  ]);
  expect(await place.group.get()).toMatchObject({ deadLetters: 0 });
});

test("a grace longer than a timer can wait is no grace of none; a second call ends it, and both resolve the same", async () => {
  const place = await filled(worker, 1);
  const { consumer } = consuming(worker, place, (_, { signal }) => sleep(60_000, undefined, { signal }));
  await eventually("it works", () => consumer.counters.received === 1);
  const first = consumer.stop({ graceMs: Number.POSITIVE_INFINITY });
  const waits = await Promise.race([first, sleep(100, "still waiting")]);
  expect(waits).toBe("still waiting");
  const [second, ms] = await timed(consumer.stop());
  expect(ms).toBeLessThan(SLACK_MS);
  expect(second).toEqual({ unsettled: 0 });
  expect(await first).toBe(second);
});

test("a consumer lives once: it stops before it starts without a request, and starts no second time", async () => {
  const { fetch, sent } = network(() => undefined);
  const options = { stream: "s", group: "g", handler: () => undefined };
  const consumer = new Consumer(clientOf(worker, { fetch }), options);
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
  expect(() => consumer.start()).toThrow("make another one");
  const other = new Consumer(clientOf(worker, { fetch }), options).start();
  expect(() => other.start()).toThrow("make another one");
  expect(await other.stop()).toEqual({ unsettled: 0 });
  expect(sent).toEqual([]);
});

test("`await using` stops it", async () => {
  const place = await filled(worker, 3);
  {
    await using consumer = new Consumer(place.weir, { stream: place.name, group: "g", handler: () => undefined });
    consumer.start();
    await eventually("it works", () => consumer.counters.received === 3);
  }
  expect(await place.group.get()).toMatchObject({ pending: 0, consumers: 0 });
});

test("stopped while a poll is under way, what that brings is given back uncharged", async () => {
  const place = await filled(worker, 3);
  const polled = gate();
  const go = gate();
  const { fetch } = network(async (one) => {
    if (!isPoll(one)) return undefined;
    polled.open();
    await go.opened;
    return undefined;
  });
  const seen: unknown[] = [];
  const { consumer } = consuming(worker, place, ({ data }) => seen.push(data), { client: { fetch } });
  await polled.opened;
  const stopping = consumer.stop();
  go.open();
  expect(await stopping).toEqual({ unsettled: 0 });
  expect(seen).toEqual([]);
  const next = consuming(worker, place, ({ deliveries }) => seen.push(deliveries));
  await drained(place.group);
  await next.consumer.stop();
  expect(seen).toEqual([1, 1, 1]);
});

test("a poll that does not end takes only half of the time: what rides with it is settled by the other half", async () => {
  const place = await filled(worker, 3);
  let polls = 0;
  const stalled = gate();
  const { fetch } = network(async (one) => {
    if (!isPoll(one) || ++polls === 1) return undefined;
    stalled.open();
    await sleep(60_000, undefined, { ref: false });
    return undefined;
  });
  const { consumer } = consuming(worker, place, () => undefined, {
    concurrency: 3,
    prefetch: 0,
    client: { fetch, timeoutMs: 2_000 },
  });
  await stalled.opened;
  const [stopped, ms] = await timed(consumer.stop());
  expect(ms).toBeLessThan(2_000 + SLACK_MS);
  expect(stopped).toEqual({ unsettled: 0 });
  expect(await place.group.get()).toMatchObject({ lag: 0, pending: 0, consumers: 0 });
});

test.each(["no-connection", "no-end"] as const)(
  "with the server away (%s) a stop ends in time, and says how many come again",
  async (fault) => {
    const place = await filled(worker, 4);
    let isAway = false;
    const { fetch, sent } = network(() => (isAway ? fault : undefined));
    const finish = gate();
    const { consumer } = consuming(
      worker,
      place,
      async ({ data }) => {
        if (data === 0) await finish.opened;
        else await new Promise(() => undefined);
      },
      { concurrency: 2, prefetch: 2, client: { fetch, timeoutMs: 600 } },
    );
    await eventually("it holds all", () => consumer.counters.received === 4);
    isAway = true;
    finish.open();
    const [{ unsettled }, ms] = await timed(consumer.stop({ graceMs: 100 }));
    expect(ms).toBeLessThan(100 + 600 + SLACK_MS);
    expect(unsettled).toBe(4);
    const requests = sent.length;
    await sleep(500);
    // Whoever has stopped is silent.
    expect(sent.length).toBe(requests);
  },
);

test("an extension that does not end holds no stop up", async () => {
  const place = await filled(worker, 2, { ackWaitMs: 1_500 });
  const extending = gate();
  const { fetch } = network((one) => {
    if (!String(one.body).includes('"extends"')) return undefined;
    extending.open();
    return "no-end";
  });
  const handler = (_: unknown, { signal }: { signal: AbortSignal }) => sleep(60_000, undefined, { signal });
  const { consumer, errors } = consuming(worker, place, handler, { client: { fetch } });
  await extending.opened;
  const [stopped, ms] = await timed(consumer.stop({ graceMs: 0 }));
  expect(stopped).toEqual({ unsettled: 0 });
  expect(ms).toBeLessThan(SLACK_MS);
  expect(errors).toEqual([]);
  expect(consumer.counters.released).toBe(2);
});

test("a name that was given stays while something is held under it, and goes when nothing is", async () => {
  const place = await filled(worker, 3);
  const [held] = (await place.group.consume({ consumer: "mine", batchSize: 1 })).messages;
  expect(held).toBeDefined();
  let polls = 0;
  // The first poll, which would recover it, fails for good.
  const { fetch } = network((one) => (isPoll(one) && polls++ >= 0 ? problem(403, "forbidden") : undefined));
  const first = consuming(worker, place, () => undefined, { name: "mine", client: { fetch } });
  await eventually("it was refused", () => first.errors.length > 0);
  await first.consumer.stop();
  expect(await place.group.consumers().first()).toMatchObject({ consumers: [{ name: "mine", pending: 1 }] });
  const deliveries: number[] = [];
  const second = consuming(worker, place, (message) => deliveries.push(message.deliveries), { name: "mine" });
  await drained(place.group);
  await second.consumer.stop();
  expect(deliveries.sort()).toEqual([1, 1, 2]);
  expect(await place.group.get()).toMatchObject({ consumers: 0 });
});

test.each(["break", "throw", "return"])(
  "a loop over messages that ends by %s gives back what it holds",
  async (how) => {
    const place = await filled(worker, 10);
    const loop = async () => {
      for await (const message of place.group.messages({ concurrency: 2, prefetch: 3 })) {
        if (message.data === 0) {
          message.ack();
          continue;
        }
        if (how === "break") break;
        if (how === "return") return;
        throw new Error("thrown in the loop");
      }
    };
    await (how === "throw" ? expect(loop()).rejects.toThrow("thrown in the loop") : loop());
    expect(await place.group.get()).toMatchObject({ pending: 0, consumers: 0 });
    const deliveries: unknown[] = [];
    const next = consuming(worker, place, (message) => deliveries.push([message.data, message.deliveries]));
    await drained(place.group);
    await next.consumer.stop();
    expect(deliveries.sort()).toEqual(Array.from({ length: 9 }, (_, i) => [i + 1, 1]));
  },
);

test("a loop over messages feeds a pool: never more than concurrency at once, and its signal ends it", async () => {
  const place = await filled(worker, 40);
  const ending = new AbortController();
  let running = 0;
  let most = 0;
  let done = 0;
  const work = async (message: { ack(): void }) => {
    most = Math.max(most, ++running);
    await sleep(5);
    running--;
    message.ack();
    if (++done === 40) ending.abort();
  };
  for await (const message of place.group.messages({ concurrency: 4, signal: ending.signal })) void work(message);
  expect(most).toBe(4);
  expect(done).toBe(40);
  expect(await place.group.get()).toMatchObject({ lag: 0, pending: 0, consumers: 0 });
});

test("a loop whose signal is aborted already asks for nothing", async () => {
  const place = await filled(worker, 1);
  const { fetch, sent } = network(() => undefined);
  const group = clientOf(worker, { fetch }).stream(place.name).group("g");
  for await (const _ of group.messages({ signal: AbortSignal.abort() })) throw new Error("there is none");
  expect(sent).toEqual([]);
});

test("a loop that waits for a message ends by return() from elsewhere", async () => {
  const place = await filled(worker, 0);
  const messages = place.group.messages();
  const next = messages.next();
  await sleep(50);
  await messages.return();
  expect(await next).toMatchObject({ done: true });
});

test("consumeOnce drains the group, settles all and leaves, and returns soon where there is nothing", async () => {
  const place = await filled(worker, 150);
  const options = { stream: place.name, group: "g", handler: () => sleep(1) };
  const [first, tookMs] = await timed(consumeOnce(place.weir, options));
  expect(first).toMatchObject({ drained: true, unsettled: 0, received: 150, acked: 150 });
  expect(tookMs).toBeLessThan(8_000);
  const [second, ms] = await timed(consumeOnce(place.weir, options));
  expect(second).toMatchObject({ drained: true, unsettled: 0, received: 0 });
  expect(ms).toBeLessThan(SLACK_MS);
  expect(await place.group.get()).toMatchObject({ lag: 0, pending: 0, consumers: 0 });
});

test("consumeOnce ends within its budget, whatever handlers or the network do, and gives the rest back", async () => {
  const place = await filled(worker, 50);
  const slow = { stream: place.name, group: "g", concurrency: 1, budgetMs: 800 };
  const [result, ms] = await timed(consumeOnce(place.weir, { ...slow, handler: () => sleep(60) }));
  expect(result).toMatchObject({ drained: false, unsettled: 0 });
  expect(result.acked).toBeGreaterThan(2);
  expect(ms).toBeLessThan(800 + SLACK_MS);
  const { fetch } = network((one) => (one.number > 1 ? "no-end" : undefined));
  const [stalled, stalledMs] = await timed(
    consumeOnce(clientOf(worker, { fetch }), { ...slow, handler: () => undefined }),
  );
  expect(stalled.unsettled).toBeGreaterThan(0);
  expect(stalledMs).toBeLessThan(800 + SLACK_MS);
});

test.each([
  ["no-connection" as const, "no-answer"],
  [problem(404, "unknown-stream"), "unknown-stream"],
])("consumeOnce throws where nothing works at all", async (fault, code) => {
  const { fetch } = network(() => fault);
  const weir = clientOf(worker, { fetch });
  const options = { stream: "s", group: "g", handler: () => undefined, budgetMs: 400 };
  await expect(consumeOnce(weir, options)).rejects.toMatchObject({ code });
});
