import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  FullError,
  type Message,
  OutcomeUnknownError,
  Producer,
  type ProducerOptions,
  WeirError,
} from "../../client/index.ts";
import { clientOf, type Fault, network, problem, type Sent } from "../support/client.ts";
import { eventually } from "../support/wait.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();

/** A stream of its own, a producer of it over a network that does as told, and what was stored. */
async function setUp(
  stream: string,
  options: Partial<ProducerOptions> = {},
  faultOf: (sent: Sent, posts: number) => Fault | undefined | Promise<Fault | undefined> = () => undefined,
) {
  let posts = 0;
  const { fetch, sent } = network((request) => (request.method === "POST" ? faultOf(request, ++posts) : undefined));
  const plain = clientOf(worker).stream(stream);
  await plain.put();
  const errors: unknown[] = [];
  const producer = new Producer(clientOf(worker, { fetch, retry: 3 }), {
    stream,
    onError: (error) => errors.push(error),
    ...options,
  });
  return {
    producer,
    errors,
    stream: plain,
    posts: () => sent.filter(({ method }) => method === "POST"),
    stored: () => plain.messages({ limit: 1_000 }).toArray(),
  };
}

function numbersOf(messages: readonly Message[]): unknown[] {
  return messages.map(({ data }) => data);
}

function numbers(count: number, from = 0): number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

/** How many messages a request holds. */
function countOf({ body }: Sent): number {
  const { messages }: { messages: unknown[] } = JSON.parse(String(body));
  return messages.length;
}

/** What became of each: its id, or the code of its error. */
async function outcomesOf(promises: readonly Promise<string>[]): Promise<{ id?: string; code?: string }[]> {
  const settled = await Promise.allSettled(promises);
  return settled.map((one) =>
    one.status === "fulfilled"
      ? { id: one.value }
      : { code: one.reason instanceof WeirError ? one.reason.code : String(one.reason) },
  );
}

const codesOf = async (promises: readonly Promise<string>[]) => (await outcomesOf(promises)).map(({ code }) => code);

/** Something that happens once, when the test says so. */
function gate() {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  return { opened: promise, open: () => resolve(undefined) };
}

test("the order of send() is kept, and nothing is doubled or lost, under lost and doubled answers and 503", async () => {
  const faults: readonly (Fault | undefined)[] = [
    undefined,
    "lost-answer",
    "doubled",
    problem(503, "redis-unavailable", { "retry-after": "0" }),
    "no-connection",
    { status: 502, body: "Bad Gateway" },
    "doubled",
  ];
  const { producer, errors, stored } = await setUp("order", { maxBatch: 400 }, (_, n) => faults[n % faults.length]);
  const ids = await Promise.all(numbers(5_000).map((data) => producer.send({ data })));
  const messages = await stored();
  expect(numbersOf(messages)).toEqual(numbers(5_000));
  expect(messages.map(({ id }) => id)).toEqual(ids);
  expect(errors).toEqual([]);
  expect(producer.queued).toBe(0);
});

test("10,000 quick messages go in 20 requests, one at a time", async () => {
  let underWay = 0;
  let most = 0;
  const { producer, posts, stored } = await setUp("full-batches");
  const client = clientOf(worker, {
    fetch: async (url, init) => {
      most = Math.max(most, ++underWay);
      try {
        return await fetch(url, init);
      } finally {
        underWay--;
      }
    },
  });
  const counting = new Producer(client, { stream: "full-batches" });
  for (const data of numbers(10_000)) void counting.send({ data });
  await counting.flush();
  expect(most).toBe(1);
  for (const data of numbers(10_000, 10_000)) void producer.send({ data });
  await producer.flush();
  expect(posts().map(countOf)).toEqual(Array.from({ length: 20 }, () => 500));
  expect(numbersOf(await stored())).toEqual(numbers(20_000));
});

test("a first message waits for company until lingerMs are over, and not in vain for more", async () => {
  const { producer, posts } = await setUp("linger", { lingerMs: 200 });
  const first = producer.send({ data: 1 });
  await sleep(20);
  const second = producer.send({ data: 2 });
  await Promise.all([first, second]);
  expect(posts().map(countOf)).toEqual([2]);
});

test("a request that is full waits for no company, by its messages or its bytes", async () => {
  const { producer, posts } = await setUp("full-request", { lingerMs: 60_000, maxBatch: 3, maxBytes: 100 });
  await Promise.all(numbers(3).map((data) => producer.send({ data })));
  await producer.send({ data: "x".repeat(100) });
  expect(posts().map(countOf)).toEqual([3, 1]);
});

test("without a linger what is sent in the same turn goes together", async () => {
  const { producer, posts } = await setUp("no-linger", { lingerMs: 0 });
  await Promise.all(numbers(7).map((data) => producer.send({ data })));
  expect(posts().map(countOf)).toEqual([7]);
});

test("no request has more messages than maxBatch or more bytes than maxBytes, counted in UTF-8", async () => {
  const { producer, posts, stored } = await setUp("bounds", { maxBatch: 10, maxBytes: 1_000 });
  const words = numbers(300).map((i) => (i % 50 < 10 ? "short" : "aé€😀".repeat(i % 41)));
  await Promise.all(words.map((data) => producer.send({ data })));
  const bodies = posts().map((sent) => ({ count: countOf(sent), bytes: Buffer.byteLength(String(sent.body)) }));
  expect(bodies.filter(({ count, bytes }) => count > 10 || bytes > 1_000)).toEqual([]);
  expect(numbersOf(await stored())).toEqual(words);
  // They are as full as they can be: the first of the next one would not have fitted.
  bodies.slice(0, -1).forEach(({ count, bytes }, i) => {
    const { messages }: { messages: unknown[] } = JSON.parse(String(posts()[i + 1]?.body));
    const next = Buffer.byteLength(`,${JSON.stringify(messages[0])}`);
    expect(count === 10 || bytes + next > 1_000).toBe(true);
  });
});

test("a message above maxBytes goes alone; one above 8 MiB is rejected and never sent", async () => {
  const { producer, posts, errors } = await setUp("long", { maxBytes: 100 });
  const promises = ["a", "b".repeat(200), "c", "é".repeat(4 * 1024 * 1024)].map((data) => producer.send({ data }));
  expect(await codesOf(promises)).toEqual([undefined, undefined, undefined, "payload-too-large"]);
  expect(posts().map(countOf)).toEqual([1, 1, 1]);
  expect(errors).toHaveLength(1);
});

test("ready() holds a caller to maxQueued messages, and lets it go on when there is room", async () => {
  const { opened, open } = gate();
  const { producer, stored } = await setUp("back-pressure", { maxBatch: 10, maxQueued: 50 }, () => opened);
  let taken = 0;
  let most = 0;
  const all = (async () => {
    for (const data of numbers(500)) {
      await producer.ready();
      void producer.send({ data });
      taken++;
      most = Math.max(most, producer.queued);
    }
  })();
  await eventually("the queue to be full", () => taken === 50);
  await sleep(30);
  expect(taken).toBe(50);
  open();
  await all;
  await producer.flush();
  expect(most).toBe(50);
  expect(numbersOf(await stored())).toEqual(numbers(500));
});

test("ready() holds a caller to maxQueuedBytes, one message more at most", async () => {
  const { producer } = await setUp("back-pressure-bytes", { maxBatch: 10, maxQueuedBytes: 2_000 });
  let most = 0;
  for (const data of numbers(200)) {
    await producer.ready();
    void producer.send({ data: "x".repeat(data) });
    most = Math.max(most, producer.queuedBytes);
  }
  expect(most).toBeGreaterThanOrEqual(2_000);
  expect(most).toBeLessThan(2_000 + 300);
  await producer.flush();
  expect(producer.queuedBytes).toBe(0);
});

test("a queue that is full waits for no company: it would not come", async () => {
  const { producer, posts } = await setUp("full-early", { maxQueued: 3, lingerMs: 60_000 });
  for (const data of numbers(4)) {
    await producer.ready();
    void producer.send({ data });
  }
  expect(posts().map(countOf)).toEqual([3]);
  await producer.close();
  expect(posts().map(countOf)).toEqual([3, 1]);
});

test("of 100 messages that one is rejected which is too large, and the rest is stored in order under another key", async () => {
  const { producer, posts, stored, stream } = await setUp("one-too-large");
  await stream.put({ maxMessageBytes: 1_024 });
  const dataOf = (i: number) => (i === 37 ? "x".repeat(2_000) : i);
  const outcomes = await outcomesOf(numbers(100).map((i) => producer.send({ data: dataOf(i) })));
  expect(outcomes.flatMap(({ code }, i) => (code === undefined ? [] : [[i, code]]))).toEqual([
    [37, "payload-too-large"],
  ]);
  const messages = await stored();
  expect(numbersOf(messages)).toEqual(numbers(100).filter((i) => i !== 37));
  expect(messages.map(({ id }) => id)).toEqual(outcomes.flatMap(({ id }) => id ?? []));
  const keys = posts().map(({ headers }) => headers["idempotency-key"]);
  expect(keys).toHaveLength(2);
  expect(new Set(keys).size).toBe(2);
});

test("several that are too large are rejected with one request more; all of them with none", async () => {
  const { producer, posts, stored, stream } = await setUp("many-too-large");
  await stream.put({ maxMessageBytes: 1_024 });
  const large = { data: "x".repeat(2_000) };
  const some = await codesOf([large, { data: 1 }, large, { data: 2 }, large].map((one) => producer.send(one)));
  expect(some.map((code) => code ?? "stored")).toEqual([
    "payload-too-large",
    "stored",
    "payload-too-large",
    "stored",
    "payload-too-large",
  ]);
  expect(posts()).toHaveLength(2);
  expect(await codesOf([producer.send(large), producer.send(large)])).toEqual([
    "payload-too-large",
    "payload-too-large",
  ]);
  expect(posts()).toHaveLength(3);
  expect(numbersOf(await stored())).toEqual([1, 2]);
});

test("messages that are not valid are rejected by themselves", async () => {
  const { producer, stored } = await setUp("not-valid");
  // biome-ignore lint/suspicious/noExplicitAny: what a caller in plain JavaScript may hand in
  const wrong: any[] = [
    { typo: 1 },
    5,
    null,
    { type: "" },
    { attributes: { data: "reserved" } },
    { data: "\ud800", type: "\ud800" },
  ];
  const codes = await codesOf([{ data: 1 }, ...wrong, { data: 2 }].map((one) => producer.send(one)));
  expect(codes).toEqual([undefined, ...wrong.map(() => "invalid-request"), undefined]);
  expect(numbersOf(await stored())).toEqual([1, 2]);
});

test("a payload that is nested too deeply takes no other message down", async () => {
  const { producer, stored } = await setUp("too-deep");
  const deep: unknown = JSON.parse("[".repeat(5_000) + "]".repeat(5_000));
  expect(await codesOf([{ data: 1 }, { data: deep }, { data: 2 }].map((one) => producer.send(one)))).toEqual([
    undefined,
    "invalid-request",
    undefined,
  ]);
  expect(numbersOf(await stored())).toEqual([1, 2]);
});

test("a 400 that names no message rejects its request, and the next one is stored", async () => {
  const { producer, stored } = await setUp("nobody-named", { maxBatch: 2 }, (_, n) =>
    n === 1 ? problem(400, "invalid-request") : undefined,
  );
  expect(await codesOf(numbers(4).map((data) => producer.send({ data })))).toEqual([
    "invalid-request",
    "invalid-request",
    undefined,
    undefined,
  ]);
  expect(numbersOf(await stored())).toEqual([2, 3]);
});

test("a body that is too large for a proxy goes in halves, in order; a message that is too large alone is rejected", async () => {
  const { producer, stored } = await setUp("proxy", {}, ({ body }) =>
    String(body).length > 300 ? { status: 413, body: "<h1>413 Request Entity Too Large</h1>" } : undefined,
  );
  const data = numbers(50).map((i) => (i === 20 ? "x".repeat(300) : i));
  const codes = await codesOf(data.map((one) => producer.send({ data: one })));
  expect(codes.flatMap((code, i) => (code === undefined ? [] : [i]))).toEqual([20]);
  expect(numbersOf(await stored())).toEqual(numbers(50).filter((i) => i !== 20));
});

test("a problem that is none of Weir's rejects its request, and the next one is stored", async () => {
  const body = JSON.stringify({ status: 400, errors: { data: ["is odd"] } });
  const foreign = { status: 400, headers: { "content-type": "application/problem+json" }, body };
  const { producer, stored } = await setUp("foreign", { maxBatch: 1 }, (_, n) => (n === 1 ? foreign : undefined));
  expect(await codesOf(numbers(2).map((data) => producer.send({ data })))).toEqual(["unexpected-answer", undefined]);
  expect(numbersOf(await stored())).toEqual([1]);
});

test("an answer without the ids is unexpected, and settles its messages", async () => {
  const odd = (body: string) => ({ status: 201, headers: { "content-type": "application/json" }, body });
  const answers = [odd("{}"), odd('{"ids":["1-1"]}'), odd("null")];
  const { producer } = await setUp("odd-ids", { maxBatch: 2 }, (_, n) => answers[n - 1]);
  const codes = await codesOf(numbers(8).map((data) => producer.send({ data })));
  expect(codes.slice(0, 4)).toEqual(Array.from({ length: 4 }, () => "unexpected-answer"));
  expect(codes.slice(4, 6)).not.toContain(undefined);
  expect(codes.slice(6)).toEqual([undefined, undefined]);
});

test("a request that failed for good leaves a gap; what comes behind it is stored", async () => {
  const { producer, stored, errors } = await setUp("gap", { maxBatch: 2 }, (_, n) =>
    n === 1 ? problem(403, "forbidden") : undefined,
  );
  expect(await codesOf(numbers(4).map((data) => producer.send({ data })))).toEqual([
    "forbidden",
    "forbidden",
    undefined,
    undefined,
  ]);
  expect(numbersOf(await stored())).toEqual([2, 3]);
  expect(errors).toHaveLength(2);
});

test("a stream that is full holds its producer up until there is room", async () => {
  const { producer, stored, stream, posts } = await setUp("full", { maxBatch: 2 }, async (_, n) => {
    if (n === 3) await stream.group("all").delete();
    return n === 2 ? problem(507, "stream-full", { "retry-after": "0" }) : undefined;
  });
  await stream.group("all").put({ start: "earliest" });
  await stream.put({ retention: { maxLength: 2, unfinished: "keep" } });
  const first = numbers(2).map((data) => producer.send({ data }));
  const rest = numbers(4, 2).map((data) => producer.send({ data }));
  expect(await codesOf([...first, ...rest])).toEqual(Array.from({ length: 6 }, () => undefined));
  expect(posts()).toHaveLength(4);
  expect((await stored()).at(-1)?.data).toBe(5);
});

test("a token that asks too often is held up too", async () => {
  const limited = problem(429, "rate-limited", { "retry-after": "0" });
  const { producer, stored } = await setUp("rate-limited", {}, (_, n) => (n <= 6 ? limited : undefined));
  await producer.send({ data: 1 });
  expect(numbersOf(await stored())).toEqual([1]);
});

test("a stream that stays full rejects after roomTimeoutMs", async () => {
  const full = problem(507, "stream-full", { "retry-after": "0" });
  const { producer, posts } = await setUp("stays-full", { roomTimeoutMs: 1_000 }, () => full);
  await expect(producer.send({ data: 1 })).rejects.toBeInstanceOf(FullError);
  expect(posts().length).toBeGreaterThan(1);
});

test("that Redis is full says nothing of an attempt before it whose answer was lost", async () => {
  const { producer, stored } = await setUp("lost-then-full", {}, (_, n) =>
    n === 1 ? "lost-answer" : problem(507, "redis-full", { "retry-after": "0" }),
  );
  await expect(producer.send({ data: 1 })).rejects.toBeInstanceOf(OutcomeUnknownError);
  expect(numbersOf(await stored())).toEqual([1]);
});

test("what is no JSON is rejected by itself, as an error of Weir's", async () => {
  const { producer, stored, errors } = await setUp("no-json");
  const circular: Record<string, unknown> = {};
  circular.self = circular;
  // biome-ignore lint/suspicious/noExplicitAny: what a caller in plain JavaScript may hand in
  const wrong: any[] = [{ data: 1n }, { data: circular }, undefined, () => 1];
  const codes = await codesOf([{ data: 1 }, ...wrong, { data: 2 }].map((one) => producer.send(one)));
  expect(codes).toEqual([undefined, ...wrong.map(() => "invalid-request"), undefined]);
  expect(errors).toHaveLength(wrong.length);
  expect(numbersOf(await stored())).toEqual([1, 2]);
});

test("a message is stored as it was when it was sent", async () => {
  const { producer, stored } = await setUp("mutated");
  const data = { total: 1 };
  const sent = producer.send({ data });
  data.total = 2;
  await sent;
  expect(numbersOf(await stored())).toEqual([{ total: 1 }]);
});

test("a traceparent goes along as an attribute, unless the message has one", async () => {
  const { producer, stored } = await setUp("traced");
  void producer.send({ attributes: { tenant: "t" } }, { traceparent: "00-a" });
  void producer.send({ attributes: { traceparent: "00-own" } }, { traceparent: "00-a" });
  await producer.send({ data: 1 });
  expect((await stored()).map(({ attributes }) => attributes)).toEqual([
    { tenant: "t", traceparent: "00-a" },
    { traceparent: "00-own" },
    {},
  ]);
});

test("a message for later resolves with its scheduled id, among others", async () => {
  const { producer, stream } = await setUp("later");
  const [now, later] = await Promise.all([producer.send({ data: 1 }), producer.send({ data: 2, delayMs: 60_000 })]);
  expect(now).toMatch(/^\d+-\d+$/);
  expect(later).toMatch(/^later~/);
  expect(await stream.scheduledMessage(later)).toMatchObject({ message: { data: 2 } });
});

test("flush() sends at once what waits for company, and resolves when that is settled, whatever comes after", async () => {
  const { opened, open } = gate();
  const { producer, stored } = await setUp("flush", { lingerMs: 60_000 }, (_, n) => (n === 2 ? opened : undefined));
  void producer.send({ data: 1 });
  const flushed = producer.flush();
  await flushed;
  expect(numbersOf(await stored())).toEqual([1]);
  void producer.send({ data: 2 });
  const second = producer.flush();
  let isSettled = false;
  void second.then(() => {
    isSettled = true;
  });
  await sleep(20);
  expect(isSettled).toBe(false);
  open();
  await second;
  expect(numbersOf(await stored())).toEqual([1, 2]);
  await producer.close();
});

test("flush() of a failing batch resolves", async () => {
  const { producer, errors } = await setUp("flush-failed", {}, () => problem(403, "forbidden"));
  void producer.send({ data: 1 });
  await producer.flush();
  expect(errors).toHaveLength(1);
});

test("close() stores all that was sent, takes nothing more, and may be called again", async () => {
  const { producer, stored, errors } = await setUp("close", { lingerMs: 60_000, maxBatch: 7 });
  const promises = numbers(100).map((data) => producer.send({ data }));
  const closing = [producer.close(), producer.close()];
  expect(await codesOf([producer.send({ data: "late" })])).toEqual(["closed"]);
  expect(await Promise.all(closing)).toEqual([{ unsent: 0 }, { unsent: 0 }]);
  expect(await codesOf(promises)).toEqual(numbers(100).map(() => undefined));
  expect(numbersOf(await stored())).toEqual(numbers(100));
  expect(errors).toHaveLength(1);
  expect(await producer.close()).toEqual({ unsent: 0 });
});

test("close() of a producer that has nothing to do resolves at once, and sends nothing", async () => {
  const { producer, posts } = await setUp("close-empty");
  expect(await producer.close()).toEqual({ unsent: 0 });
  expect(posts()).toEqual([]);
});

test("await using closes", async () => {
  const { producer, stored } = await setUp("await-using", { lingerMs: 60_000 });
  {
    await using closing = producer;
    void closing.send({ data: 1 });
  }
  expect(numbersOf(await stored())).toEqual([1]);
});

test("close() lets a caller that waits for room go on", async () => {
  const { opened, open } = gate();
  const { producer } = await setUp("close-waiting", { maxQueued: 1 }, () => opened);
  void producer.send({ data: 1 });
  await eventually("the queue to be full", () => producer.queued === 1);
  const ready = producer.ready();
  const closing = producer.close();
  await ready;
  expect(await codesOf([producer.send({ data: 2 })])).toEqual(["closed"]);
  open();
  await closing;
});

test("close() gives up when its time is over: what was under way is unknown, what was not sent is told so", async () => {
  const { producer, posts } = await setUp("close-in-vain", { maxBatch: 3 }, () => "no-end");
  const promises = numbers(10).map((data) => producer.send({ data }));
  await eventually("a request", () => posts().length === 1);
  const patient = producer.close({ timeoutMs: Number.POSITIVE_INFINITY });
  await sleep(20);
  expect(producer.queued).toBe(10);
  expect(await producer.close({ timeoutMs: 50 })).toEqual({ unsent: 10 });
  expect(await patient).toEqual({ unsent: 10 });
  expect(await codesOf(promises)).toEqual([
    ...numbers(3).map(() => "outcome-unknown"),
    ...numbers(7).map(() => "closed"),
  ]);
  expect(posts()).toHaveLength(1);
});

test("close() gives up waiting for room, and says that nothing was stored", async () => {
  const full = problem(507, "stream-full", { "retry-after": "30" });
  const { producer, posts } = await setUp("close-full", { maxBatch: 3 }, () => full);
  const promises = numbers(5).map((data) => producer.send({ data }));
  await eventually("a request", () => posts().length === 1);
  expect(await producer.close({ timeoutMs: 50 })).toEqual({ unsent: 5 });
  expect(await codesOf(promises)).toEqual(["stream-full", "stream-full", "stream-full", "closed", "closed"]);
});

test("nothing is thrown where nobody listens, and an onError that throws harms nothing", async () => {
  const unhandled: unknown[] = [];
  const listen = (error: unknown) => unhandled.push(error);
  process.on("unhandledRejection", listen);
  const { producer, stored } = await setUp(
    "nobody-listens",
    {
      maxBatch: 1,
      onError: () => {
        throw new Error("by the test");
      },
    },
    (_, n) => (n === 1 ? problem(403, "forbidden") : undefined),
  );
  void producer.send({ data: 1 });
  void producer.send({ data: 1n });
  void producer.send({ data: 2 });
  await producer.close();
  void producer.send({ data: 3 });
  await sleep(0);
  process.off("unhandledRejection", listen);
  expect(unhandled).toEqual([]);
  expect(numbersOf(await stored())).toEqual([2]);
});

test("options out of their bounds are refused", () => {
  const wrong: Partial<ProducerOptions>[] = [
    { maxBatch: 0 },
    { maxBatch: 1_001 },
    { maxBytes: 8 * 1024 * 1024 + 1 },
    { lingerMs: -1 },
    { lingerMs: Number.NaN },
    { maxQueued: 0 },
    { maxQueuedBytes: 0 },
    { roomTimeoutMs: -1 },
  ];
  for (const options of wrong) {
    expect(() => new Producer(clientOf(worker), { stream: "s", ...options }), JSON.stringify(options)).toThrow(
      RangeError,
    );
  }
});

/** Runs a program that has `weir`, whose server stores all at once, and `Producer`. */
async function run(
  program: string,
): Promise<{ readonly code: number; readonly output: string; readonly durationMs: number }> {
  const index = new URL("../../client/index.ts", import.meta.url);
  const source = `
    import { Producer, WeirClient } from ${JSON.stringify(index.href)};
    let id = 0;
    const fetch = async (url, { body }) => {
      await new Promise((resolve) => setImmediate(resolve));
      const ids = JSON.parse(body).messages.map(() => ++id + "-0");
      return new Response(JSON.stringify({ ids }), { status: 201, headers: { "content-type": "application/json" } });
    };
    const weir = new WeirClient({ url: "http://127.0.0.1:9", token: "t", fetch });
    ${program}`;
  const startedAt = performance.now();
  const child = spawn(process.execPath, ["--expose-gc", "--input-type=module", "--eval", source], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, "exit")]);
  return { code, output, durationMs: performance.now() - startedAt };
}

test("neither an idle producer nor a closed one keeps a process alive", async () => {
  const { code, output, durationMs } = await run(`
    const idle = new Producer(weir, { stream: "s", lingerMs: 20_000 });
    await Promise.all([idle.send({ data: 1 }), idle.flush()]);
    const closed = new Producer(weir, { stream: "s", lingerMs: 20_000 });
    closed.send({ data: 1 });
    console.log(await closed.close({ timeoutMs: 20_000 }));`);
  expect({ code, output }).toEqual({ code: 0, output: "{ unsent: 0 }\n" });
  expect(durationMs).toBeLessThan(15_000);
});

test("a message that waits for company keeps the process alive until it is stored", async () => {
  const { output } = await run(`
    new Producer(weir, { stream: "s", lingerMs: 50 }).send({ data: 1 }).then((id) => console.log(id));`);
  expect(output).toBe("1-0\n");
});

test("memory stays flat over 200,000 messages", async () => {
  const { code, output } = await run(`
    const producer = new Producer(weir, { stream: "s" });
    const heaps = [];
    for (let i = 1; i <= 200_000; i++) {
      await producer.ready();
      producer.send({ key: "k" + i, data: { text: "x".repeat(100), i } });
      if (i % 50_000 !== 0) continue;
      await producer.flush();
      gc();
      heaps.push(process.memoryUsage().heapUsed);
    }
    await producer.close();
    console.log(JSON.stringify({ id, heaps }));`);
  expect(code).toBe(0);
  const { id, heaps }: { id: number; heaps: number[] } = JSON.parse(output);
  expect(id).toBe(200_000);
  const [, second = 0, , last = 0] = heaps;
  // 100,000 messages lie between them: 5 bytes of each would show.
  expect(last - second).toBeLessThan(500_000);
});

/** These say for sure that nothing was stored. */
const DEFINITE = [
  "invalid-request",
  "payload-too-large",
  "forbidden",
  "stream-full",
  "rate-limited",
  "redis-unavailable",
  "closed",
];

const anyFault: fc.Arbitrary<Fault | undefined> = fc.oneof(
  { weight: 4, arbitrary: fc.constant(undefined) },
  fc.constantFrom<Fault>(
    "lost-answer",
    "no-connection",
    "doubled",
    "no-end",
    { status: 502, body: "Bad Gateway" },
    problem(503, "redis-unavailable", { "retry-after": "0" }),
    problem(429, "rate-limited", { "retry-after": "0" }),
    problem(507, "stream-full", { "retry-after": "0" }),
    problem(403, "forbidden"),
  ),
);

/** A number: a message with so many bytes. */
const anyStep = fc.oneof(
  { weight: 10, arbitrary: fc.constantFrom(0, 10, 300, 2_000) },
  fc.constantFrom("flush" as const, "wait" as const, "no-json" as const),
);

test("whatever happens each message is settled once, stored once if it resolved, in order, and not if its error says so", async () => {
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyStep, { minLength: 5, maxLength: 60 }),
      fc.array(anyFault, { maxLength: 30 }),
      fc.record({
        maxBatch: fc.integer({ min: 1, max: 8 }),
        maxBytes: fc.constantFrom(200, 1_000, 100_000),
        lingerMs: fc.constantFrom(0, 3),
      }),
      fc.constantFrom(0, 100, 20_000),
      async (steps, faults, options, timeoutMs) => {
        const name = `property-${++runs}`;
        const stream = clientOf(worker).stream(name);
        await stream.put({ maxMessageBytes: 1_024 });
        let posts = 0;
        const { fetch } = network(({ method }) => (method === "POST" ? faults[posts++] : undefined));
        const client = clientOf(worker, { fetch, retry: 1, timeoutMs: 100 });
        let told = 0;
        const producer = new Producer(client, { stream: name, roomTimeoutMs: 300, ...options, onError: () => told++ });
        const promises: Promise<string>[] = [];
        for (const step of steps) {
          if (step === "wait") await sleep(2);
          else if (step === "flush") void producer.flush();
          else if (step === "no-json") promises.push(producer.send({ data: 1n }));
          else promises.push(producer.send({ key: String(promises.length), data: "x".repeat(step) }));
        }
        await producer.close({ timeoutMs });
        const outcomes = await Promise.race([outcomesOf(promises), sleep(0)]);
        if (outcomes === undefined) throw new Error("a promise was not settled when close() resolved");
        expect({ queued: producer.queued, bytes: producer.queuedBytes }).toEqual({ queued: 0, bytes: 0 });
        expect(told).toBe(outcomes.filter(({ code }) => code !== undefined).length);

        const messages = await stream.messages({ limit: 1_000 }).toArray();
        const keys = messages.map(({ key }) => Number(key));
        expect(new Set(keys).size).toBe(keys.length);
        // Where the answer stayed out the request may have been served later than those behind it.
        const resolved = keys.filter((key) => outcomes[key]?.code === undefined);
        expect(resolved).toEqual(resolved.toSorted((a, b) => a - b));
        outcomes.forEach(({ id, code }, i) => {
          const found = messages.find(({ key }) => key === String(i));
          if (code === undefined) expect(found?.id).toBe(id);
          else if (DEFINITE.includes(code)) expect(found, `${i}: ${code}`).toBeUndefined();
        });
      },
    ),
    { numRuns: 40 },
  );
}, 120_000);
