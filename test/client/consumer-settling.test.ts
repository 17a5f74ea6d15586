import { expect, test } from "vitest";
import { type ErrorDecision, RejectError, RetryError, type Schemas } from "../../client/index.ts";
import { network, problem, type Sent } from "../support/client.ts";
import { consuming, drained, filled, gate } from "../support/consumers.ts";
import { eventually } from "../support/wait.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();

interface Settling {
  readonly acks?: readonly string[];
  readonly retries?: readonly { readonly lease: string }[];
  readonly releases?: readonly string[];
}

function settlingIn({ body }: Sent): Settling {
  const settling: Settling = typeof body === "string" ? JSON.parse(body) : {};
  return settling;
}

const isSettle = ({ path }: Sent) => path.endsWith("/settle");
const isPoll = ({ path }: Sent) => path.endsWith("/consume");

test("at full speed acknowledgements ride with the polls: one round trip a batch", async () => {
  const place = await filled(worker, 400);
  const { fetch, sent } = network(() => undefined);
  const { consumer } = consuming(worker, place, () => undefined, { concurrency: 10, client: { fetch } });
  await eventually("all are received", () => consumer.counters.received === 400);
  expect(sent.filter(isSettle)).toHaveLength(0);
  expect(sent.filter(isPoll).length).toBeLessThan(60);
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
});

test("where no poll is due, an acknowledgement goes by itself within ackDelayMs", async () => {
  const place = await filled(worker, 2);
  const rest = gate();
  const finish = gate();
  const { fetch, sent } = network(() => undefined);
  const handler = ({ data }: { data: unknown }) => (data === 0 ? finish.opened : rest.opened);
  const { consumer } = consuming(worker, place, handler, { ackDelayMs: 40, client: { fetch } });
  // The next one is due a quarter of a second after one that has brought nothing.
  await eventually("a poll brings nothing", () => consumer.counters.emptyPolls > 0);
  const doneAtMs = performance.now();
  finish.open();
  const one = await eventually("it is acknowledged", () => sent.find((sent) => settlingIn(sent).acks !== undefined));
  expect(isSettle(one)).toBe(true);
  expect(settlingIn(one).acks).toHaveLength(1);
  expect(one.atMs - doneAtMs).toBeGreaterThan(35);
  expect(one.atMs - doneAtMs).toBeLessThan(150);
  rest.open();
  await consumer.stop();
});

test("a settlement whose answer was lost is sent again, and does nothing twice", async () => {
  const place = await filled(worker, 6, { backoff: { minMs: 600_000, maxMs: 600_000 } });
  let losses = 0;
  const { fetch, sent } = network((one) => {
    const { acks, retries } = settlingIn(one);
    return (acks !== undefined || retries !== undefined) && losses++ < 2 ? "lost-answer" : undefined;
  });
  const handler = ({ data }: { data: unknown }) => {
    if (Number(data) % 2 === 1) throw new Error("odd");
  };
  const { consumer } = consuming(worker, place, handler, { client: { fetch } });
  await eventually("all is settled", () => sent.filter((one) => settlingIn(one).acks !== undefined).length >= 3);
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
  expect(await place.group.get()).toMatchObject({ lag: 0, pending: 0, delayed: 3, deadLetters: 0 });
});

test.each(["lost-answer", "no-connection"] as const)("a release is never sent twice: %s", async (fault) => {
  const place = await filled(worker, 3);
  const { fetch, sent } = network((one) => (settlingIn(one).releases === undefined ? undefined : fault));
  const { consumer, errors } = consuming(worker, place, (message) => message.release(), {
    concurrency: 3,
    ackDelayMs: 0,
    client: { fetch },
  });
  await eventually("it was tried", () => errors.length > 0);
  const stopped = await consumer.stop();
  const leases = sent.flatMap((one) => settlingIn(one).releases ?? []);
  expect(new Set(leases).size).toBe(leases.length);
  // The name is gone, and what it may have held is given back by that.
  const { consumers } = await place.group.consumers().first();
  expect(consumers.map(({ name }) => name)).not.toContain(consumer.name);
  expect(stopped).toEqual({ unsettled: 0 });
});

test("a release that was not let in is sent again", async () => {
  const place = await filled(worker, 1);
  let refusals = 0;
  const { fetch, sent } = network((one) =>
    settlingIn(one).releases !== undefined && refusals++ === 0
      ? problem(429, "rate-limited", { "retry-after": "0" })
      : undefined,
  );
  const seen: number[] = [];
  const handler = (message: { deliveries: number; release(): void }) => {
    seen.push(message.deliveries);
    if (seen.length === 1) message.release();
  };
  const { consumer } = consuming(worker, place, handler, { ackDelayMs: 0, client: { fetch } });
  await drained(place.group);
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
  expect(seen).toEqual([1, 1]);
  expect(sent.filter((one) => settlingIn(one).releases !== undefined)).toHaveLength(2);
});

test("what too-many-pending says it has settled is not sent again; where it does not say, it is", async () => {
  for (const says of [true, false]) {
    const place = await filled(worker, 2);
    const none = { acked: 0, retried: 0, rejected: 0, released: 0, extended: 0, stale: [] };
    const code = "too-many-pending";
    const body = { type: "about:blank", title: code, status: 429, detail: code, code };
    const text = JSON.stringify(says ? { ...body, settled: { ...none, acked: 2 } } : body);
    const headers = { "content-type": "application/problem+json", "retry-after": "0" };
    let refusals = 0;
    const { fetch, sent } = network((one) =>
      settlingIn(one).acks !== undefined && refusals++ === 0 ? { status: 429, headers, body: text } : undefined,
    );
    const { consumer } = consuming(worker, place, () => undefined, { client: { fetch } });
    await eventually("it was refused", () => refusals > 0);
    await eventually("it goes on", () => consumer.counters.polls > 2);
    await consumer.stop();
    const acks = sent.flatMap((one) => settlingIn(one).acks ?? []);
    expect(acks).toHaveLength(says ? 2 : 4);
    expect(consumer.counters.acked).toBe(2);
  }
});

test("reasons that Weir would refuse are cut and mended", async () => {
  const reasons = ["x".repeat(5_000), `${"x".repeat(1_023)}😀`, "a lone \ud800 one", "", "tab\tand\nline"];
  const place = await filled(worker, reasons.length * 2);
  const handler = (message: { data: unknown; reject(reason: string): void }) => {
    const reason = reasons[Math.floor(Number(message.data) / 2)] ?? "";
    if (Number(message.data) % 2 === 0) return message.reject(reason);
    throw new RejectError(reason);
  };
  const { consumer, errors } = consuming(worker, place, handler);
  await drained(place.group);
  await consumer.stop();
  expect(errors).toEqual([]);
  const words = new Set<string | null>();
  for await (const { detail } of place.group.deadLetters()) words.add(detail);
  expect(words).toContain("x".repeat(1_024));
  expect(words).toContain("a lone \ufffd one");
  expect(words).toContain(`${"x".repeat(1_023)}\ufffd`);
  expect(words.size).toBeGreaterThanOrEqual(reasons.length - 1);
});

test("a pause that is no number is the group's backoff, one below none is none, one too long is the longest", async () => {
  const afters = [Number.NaN, 1e12, Number.POSITIVE_INFINITY, undefined];
  const place = await filled(worker, afters.length, { backoff: { minMs: 100_000, maxMs: 100_000 } });
  const { consumer, errors } = consuming(worker, place, ({ data }) => {
    throw new RetryError({ afterMs: afters[Number(data)] });
  });
  await eventually("all wait", async () => (await place.group.get()).delayed === afters.length);
  await consumer.stop();
  const pauses: number[] = [];
  for await (const { dueAt } of place.group.delayed()) pauses.push(dueAt - Date.now());
  const hours12 = 12 * 3_600_000;
  expect(pauses.filter((ms) => ms <= 100_000)).toHaveLength(2);
  expect(pauses.filter((ms) => ms > hours12 - 60_000 && ms <= hours12)).toHaveLength(2);
  expect(errors).toEqual([]);

  const negative = await filled(worker, 1, { backoff: { minMs: 100_000, maxMs: 100_000 } });
  const deliveries: number[] = [];
  const again = consuming(worker, negative, (message) => {
    deliveries.push(message.deliveries);
    if (deliveries.length === 1) throw new RetryError({ afterMs: -1 });
  });
  await drained(negative.group);
  await again.consumer.stop();
  expect(deliveries).toEqual([1, 2]);
});

test("of several settlements of a message the first one counts, and how the handler ends does not", async () => {
  const place = await filled(worker, 4, { backoff: { minMs: 100_000, maxMs: 100_000 } });
  const { consumer, errors } = consuming(worker, place, async (message) => {
    if (message.data === 0) message.ack();
    if (message.data === 1) message.reject("first");
    if (message.data === 2) message.retry({ afterMs: 100_000 });
    if (message.data === 3) {
      message.ack();
      throw new Error("after it");
    }
    message.reject("second");
    message.ack();
    message.release();
    expect(await message.extend()).toBe(false);
  });
  await eventually(
    "all is settled",
    async () => (await place.group.get()).pending === 0 && consumer.counters.retried > 0,
  );
  await consumer.stop();
  expect(consumer.counters).toMatchObject({ acked: 2, rejected: 1, retried: 1, released: 0, extended: 0 });
  expect(await place.group.deadLetters().first()).toMatchObject({ deadLetters: [{ detail: "first" }] });
  expect(errors).toEqual([]);
});

const DECISIONS: Readonly<Record<string, () => ErrorDecision | Promise<ErrorDecision>>> = {
  ack: () => ({ ack: true }),
  reject: () => ({ reject: "decided" }),
  "reject with the error's words": async () => ({ reject: true }),
  retry: () => ({ retryAfterMs: 100_000 }),
  nothing: () => undefined,
  throw: () => {
    throw new Error("onError failed");
  },
  "what is no decision": () => JSON.parse("null"),
};

test("onError decides; where it fails or decides nothing, the message is retried, and the failure told", async () => {
  const kinds = Object.keys(DECISIONS);
  const place = await filled(worker, kinds.length, { backoff: { minMs: 100_000, maxMs: 100_000 } });
  const { consumer, errors } = consuming(
    worker,
    place,
    () => {
      throw new Error("thrown");
    },
    { onError: (_, { data }) => DECISIONS[kinds[Number(data)] ?? ""]?.() },
  );
  await eventually(
    "all is settled",
    () => consumer.counters.acked + consumer.counters.rejected + consumer.counters.retried === 7,
  );
  await consumer.stop();
  expect(consumer.counters).toMatchObject({ acked: 1, rejected: 2, retried: 4 });
  const words: (string | null)[] = [];
  for await (const { detail } of place.group.deadLetters()) words.push(detail);
  expect(words.sort()).toEqual(["decided", "thrown"]);
  expect(errors).toEqual([expect.objectContaining({ message: "onError failed" }), expect.any(TypeError)]);
});

test("whatever is thrown, the message is retried", async () => {
  const thrown: unknown[] = [
    undefined,
    null,
    Symbol("s"),
    Object.create(null),
    { message: 1 },
    Object.assign(new Error("x"), { message: { no: "text" } }),
    Object.defineProperty(new Error("x"), "message", {
      get() {
        throw new Error("from the getter");
      },
    }),
  ];
  const place = await filled(worker, thrown.length, { backoff: { minMs: 100_000, maxMs: 100_000 } });
  const { consumer, errors } = consuming(worker, place, ({ data }) => {
    throw thrown[Number(data)];
  });
  await eventually("all is settled", () => consumer.counters.retried === thrown.length);
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
  expect(errors).toEqual([]);
});

test("what does not fit its schema is rejected with what is wrong, or as onInvalid says; a schema that throws is an error", async () => {
  const only = (issues: readonly { message: string; path?: readonly PropertyKey[] }[]): Schemas[string] => ({
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value) => (value === "good" ? { value: "better" } : { issues }),
    },
  });
  const schemas = {
    a: only([
      { message: "expected number", path: ["total"] },
      { message: "required", path: ["customer", "id"] },
    ]),
    b: only([{ message: "no" }]),
    c: {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: () => {
          throw new Error("the schema failed");
        },
      },
    } satisfies Schemas[string],
  };
  const types = ["a", "b", "c", "toString", "good"];
  const messages = types.map((type) => ({
    type: type === "good" ? "a" : type,
    data: type === "good" ? "good" : "bad",
  }));
  const place = await filled(worker, messages, { backoff: { minMs: 100_000, maxMs: 100_000 } });
  const seen: unknown[] = [];
  const { consumer } = consuming(worker, place, ({ type, data }) => seen.push([type, data]), {
    schemas,
    onInvalid: (_, { type }) => (type === "b" ? { ack: true } : undefined),
  });
  await eventually(
    "all is settled",
    () => consumer.counters.acked + consumer.counters.rejected + consumer.counters.retried === 5,
  );
  await consumer.stop();
  expect(seen).toEqual([
    ["toString", "bad"],
    ["a", "better"],
  ]);
  expect(consumer.counters).toMatchObject({ acked: 3, rejected: 1, retried: 1 });
  const words = "total: expected number; customer.id: required";
  expect(await place.group.deadLetters().first()).toMatchObject({ deadLetters: [{ detail: words }] });
});
