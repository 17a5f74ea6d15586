import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { Consumer, type Span } from "../../client/index.ts";
import { type Fault, hurry, network, problem, type Sent } from "../support/client.ts";
import { consuming, drained, filled, gate } from "../support/consumers.ts";
import { eventually } from "../support/wait.ts";
import { ROOT_TOKEN, startWorker } from "../support/worker.ts";

const worker = startWorker();
const isPoll = ({ path }: Sent) => path.endsWith("/consume");

test("a token that was refused is asked for anew, and the loop goes on", async () => {
  const place = await filled(worker, 3);
  let token = "a-token-that-was-revoked";
  const { consumer, errors } = consuming(worker, place, () => undefined, { client: { token: () => token } });
  await eventually("it is refused", () => errors.length > 0);
  token = ROOT_TOKEN;
  await drained(place.group);
  expect(errors[0]).toMatchObject({ code: "unauthenticated" });
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
});

test("a stream that is made later is consumed then", async () => {
  const place = await filled(worker, 0);
  await place.stream.delete();
  const { consumer, errors } = consuming(worker, place, () => undefined);
  await eventually("it is not there", () => errors.length > 0);
  await place.stream.put();
  await place.group.put({ start: "earliest" });
  await place.stream.produce({ data: 1 });
  await drained(place.group);
  expect(consumer.counters.acked + consumer.counters.received).toBeGreaterThan(0);
  expect(errors[0]).toMatchObject({ code: "unknown-stream" });
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
});

/** The pauses between so many polls that all meet this fault. */
async function pausesAfter(fault: Fault, polls: number): Promise<number[]> {
  const enough = gate();
  const net = network(({ number }) => {
    if (number >= polls) enough.open();
    return fault;
  });
  await hurry(net, async () => {
    const { consumer } = consuming(worker, { name: "nothing" }, () => undefined, { client: { fetch: net.fetch } });
    await enough.opened;
    await consumer.stop();
  });
  const atMs = net.sent.filter(isPoll).map((one) => one.atMs);
  return atMs.slice(1, polls).map((ms, i) => ms - (atMs[i] ?? 0));
}

test.each([
  [401, "unauthenticated"],
  [403, "forbidden"],
  [404, "unknown-group"],
])("after %i polls come ever later, up to a minute", async (status, code) => {
  const pauses = await pausesAfter(problem(status, code), 12);
  expect(pauses[0]).toBeLessThan(1_100);
  expect(Math.max(...pauses)).toBeLessThanOrEqual(60_010);
  expect(Math.min(...pauses.slice(-3))).toBeGreaterThanOrEqual(29_990);
});

test("Retry-After is obeyed, also one longer than a timer can wait", async () => {
  const pauses = await pausesAfter(problem(503, "redis-unavailable", { "retry-after": "7" }), 4);
  for (const ms of pauses) expect(ms).toBeGreaterThanOrEqual(7_000);
  const years = await filled(worker, 1);
  const { fetch, sent } = network(() => problem(503, "redis-unavailable", { "retry-after": "100000000" }));
  const { consumer } = consuming(worker, years, () => undefined, { client: { fetch, timeoutMs: 200 } });
  await eventually("it was refused", () => sent.length > 0);
  await sleep(100);
  expect(sent.filter(isPoll)).toHaveLength(1);
  await consumer.stop();
});

test("a listener that throws, at once or later, stops nothing, and is told to those who listen for errors", async () => {
  const place = await filled(worker, 5);
  const consumer = new Consumer(place.weir, { stream: place.name, group: "g", handler: () => undefined });
  const errors: unknown[] = [];
  consumer.on("error", (error) => errors.push(error));
  consumer.on("error", () => {
    throw new Error("of an error listener");
  });
  consumer.on("batch", () => {
    throw new Error("at once");
  });
  consumer.on("settled", async () => {
    throw new Error("later");
  });
  const off = consumer.on("batch", () => errors.push("taken off"));
  off();
  consumer.start();
  await drained(place.group);
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
  const words = new Set(errors.map((error) => (error instanceof Error ? error.message : error)));
  expect(words).toEqual(new Set(["at once", "later"]));
});

test("nothing is thrown where nobody listens", async () => {
  const { fetch, sent } = network(() => "no-connection");
  const rejections: unknown[] = [];
  const note = (error: unknown) => rejections.push(error);
  process.on("unhandledRejection", note);
  const consumer = new Consumer((await filled(worker, 0)).weir, {
    stream: "nowhere",
    group: "g",
    handler: () => undefined,
  }).start();
  const other = consuming(worker, { name: "nowhere" }, () => undefined, { client: { fetch, timeoutMs: 300 } });
  await eventually("it was tried", () => sent.length > 1);
  await Promise.all([consumer.stop(), other.consumer.stop()]);
  await sleep(20);
  process.off("unhandledRejection", note);
  expect(rejections).toEqual([]);
});

test("recover goes with the first poll that succeeds, and only under a name that was given", async () => {
  const place = await filled(worker, 3);
  for (const name of ["mine", undefined]) {
    let polls = 0;
    const { fetch, sent } = network((one) => (isPoll(one) && polls++ === 0 ? "no-connection" : undefined));
    const { consumer } = consuming(worker, place, () => undefined, { ...(name && { name }), client: { fetch } });
    await eventually("it has polled", () => consumer.counters.polls > 3);
    await consumer.stop();
    const recovers = sent.filter(isPoll).map(({ body }) => String(body).includes('"recover":true'));
    expect(recovers.slice(0, 3)).toEqual(name === undefined ? [false, false, false] : [true, true, false]);
  }
});

test("messages of one key are handled one after the other, those of others meanwhile", async () => {
  const keys = ["a", "a", "a", "b", "b", null, null];
  const place = await filled(
    worker,
    keys.map((key, i) => ({ data: i, ...(key === null ? {} : { key }) })),
  );
  const running = new Map<string | null, number>();
  const order: unknown[] = [];
  let most = 0;
  const handler = async ({ key, data }: { key: string | null; data: unknown }) => {
    running.set(key, (running.get(key) ?? 0) + 1);
    most = Math.max(
      most,
      [...running.values()].reduce((sum, n) => sum + n, 0),
    );
    if (key !== null) expect(running.get(key)).toBe(1);
    order.push([key, data]);
    await sleep(30);
    running.set(key, (running.get(key) ?? 0) - 1);
  };
  const { consumer } = consuming(worker, place, handler, { orderBy: "key" });
  await drained(place.group);
  await consumer.stop();
  expect(consumer.counters).toMatchObject({ acked: 7, retried: 0 });
  expect(most).toBeGreaterThanOrEqual(4);
  expect(order.filter((one) => Array.isArray(one) && one[0] === "a")).toEqual([
    ["a", 0],
    ["a", 1],
    ["a", 2],
  ]);
});

test("a batch is acknowledged as a whole, or retried but for what it settled itself", async () => {
  const place = await filled(worker, 6, { backoff: { minMs: 100_000, maxMs: 100_000 } });
  const sizes: number[] = [];
  const consumer = new Consumer(place.weir, {
    stream: place.name,
    group: "g",
    concurrency: 3,
    prefetch: 0,
    batchHandler: (messages) => {
      sizes.push(messages.length);
      if (sizes.length === 1) messages[1]?.retry({ afterMs: 100_000 });
      if (sizes.length === 2) {
        messages[0]?.ack();
        throw new Error("the batch failed");
      }
    },
  }).start();
  await eventually("all is settled", () => consumer.counters.acked + consumer.counters.retried === 6);
  await consumer.stop();
  expect(sizes).toEqual([3, 3]);
  expect(consumer.counters).toMatchObject({ acked: 3, retried: 3 });
});

test("telemetry wraps each call, and the trace context comes from the producer", async () => {
  const place = await filled(worker, 0);
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  await place.stream.produce({ data: 1 }, { traceparent });
  const spans: Span[] = [];
  const contexts: (string | undefined)[] = [];
  const { consumer } = consuming(worker, place, (_, context) => contexts.push(context.traceparent), {
    telemetry: (span, run) => {
      spans.push(span);
      return run();
    },
  });
  await drained(place.group);
  await consumer.stop();
  expect(contexts).toEqual([traceparent]);
  expect(spans).toMatchObject([{ name: `process ${place.name}`, kind: "consumer", traceparent }]);
});

test("what trimming took is told once", async () => {
  const place = await filled(worker, 5);
  await place.stream.put({ retention: { unfinished: "drop" } });
  const { consumer } = consuming(worker, place, () => sleep(10), { concurrency: 1, prefetch: 0 });
  const gaps: unknown[] = [];
  consumer.on("gap", (gap) => gaps.push(gap));
  await place.stream.trim({ maxLength: 0, exact: true });
  await eventually("it is told, and polled on", () => gaps.length > 0 && consumer.counters.emptyPolls > 2);
  await consumer.stop();
  expect(gaps).toHaveLength(1);
});

test("a consumer is named for its group and process, and no two alike", async () => {
  const place = await filled(worker, 0);
  const names = Array.from({ length: 100 }, () => {
    return new Consumer(place.weir, { stream: "s", group: "mail", handler: () => undefined }).name;
  });
  expect(new Set(names).size).toBe(100);
  for (const name of names)
    expect(name).toMatch(new RegExp(`^mail\\.[A-Za-z0-9._:-]+\\.${process.pid}\\.[a-z0-9]{6}$`));
  const long = new Consumer(place.weir, { stream: "s", group: "g".repeat(128), handler: () => undefined });
  expect(long.name.length).toBeLessThanOrEqual(128);
});

test("an option out of its bounds is refused when the consumer is made", async () => {
  const { weir } = await filled(worker, 0);
  const base = { stream: "s", group: "g", handler: () => undefined };
  for (const wrong of [
    { concurrency: 0 },
    { concurrency: 1.5 },
    { prefetch: -1 },
    { concurrency: 600, prefetch: 600 },
    { ackDelayMs: Number.NaN },
    { maxProcessingMs: 0 },
  ]) {
    expect(() => new Consumer(weir, { ...base, ...wrong }), JSON.stringify(wrong)).toThrow(RangeError);
  }
  const both: object = { batchHandler: () => undefined };
  expect(() => new Consumer(weir, { ...base, ...both })).toThrow(TypeError);
});
