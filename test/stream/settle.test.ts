import { expect, test } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { listDeadLetters } from "../../shared/stream/dead-letters.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, configureStream } from "../../shared/stream/manage.ts";
import { listPending } from "../../shared/stream/pending.ts";
import { produce } from "../../shared/stream/produce.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { ownRedis } from "../support/own-redis.ts";
import { nativeClient } from "../support/redis.ts";
import {
  age,
  type Delivery,
  leasesOf,
  makeStream,
  passTimeOfSideStore,
  poll,
  produceNumbers,
  settleSome,
  type TestStream,
} from "../support/streams.ts";

const NONE = { acked: 0, retried: 0, rejected: 0, released: 0, extended: 0, stale: [] };

function only(messages: readonly Delivery[]): Delivery {
  const [message] = messages;
  if (message === undefined || messages.length > 1) throw new Error(`expected one message, got ${messages.length}`);
  return message;
}

async function deadLettersOf(stream: TestStream, group = "g") {
  return (await listDeadLetters(stream, group, { limit: 100 })).items;
}

test("a retry comes back to its group alone: same id and payload, the next delivery, not before it is due", async () => {
  const stream = await makeStream(["g", "other"]);
  const { ids } = await produce(stream, [{ type: "t", key: "k", attributes: { a: "b" }, data: "1.0" }]);
  const { lease } = only((await poll(stream, "g")).messages);
  const settled = await settleSome(stream, "g", { retries: [{ lease, delayMs: 60_000 }] });
  expect(settled).toEqual({ ...NONE, retried: 1 });
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ pending: 0, delayed: 1 });
  expect((await poll(stream, "g")).messages).toEqual([]);
  expect(only((await poll(stream, "other")).messages).deliveries).toBe(1);

  const native = nativeClient();
  await native.xtrim(stream.keys.stream, "MAXLEN", 0);
  await passTimeOfSideStore(native, stream, "g");
  const again = only((await poll(stream, "g", { consumer: "d" })).messages);
  expect(again).toMatchObject({ id: ids[0], type: "t", key: "k", attributes: { a: "b" }, data: 1, deliveries: 2 });
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ pending: 1, delayed: 0 });
  expect(await settleSome(stream, "g", { acks: [again.lease] })).toEqual({ ...NONE, acked: 1 });
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ pending: 0, delayed: 0 });
  expect(await native.exists(stream.keys.again("g"), stream.keys.againDue("g"))).toBe(0);
});

test("a retry without a delay waits by the group's backoff, longer with each delivery and never above its limit", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  await configureGroup(stream, "g", undefined, { maxDeliveries: 100, backoffMinMs: 1_000, backoffMaxMs: 20_000 });
  await produceNumbers(stream, 1);
  for (const most of [2_000, 4_000, 8_000, 16_000, 20_000, 20_000]) {
    const { lease } = only((await poll(stream, "g")).messages);
    await settleSome(stream, "g", { retries: [{ lease }] });
    const [, score] = await native.zrange(stream.keys.againDue("g"), "0", "0", "WITHSCORES");
    const [seconds] = await native.time();
    const delayMs = Number(score) - Number(seconds) * 1000;
    expect(delayMs).toBeGreaterThan(0);
    expect(delayMs).toBeLessThanOrEqual(most + 1_000);
    await passTimeOfSideStore(native, stream, "g");
  }
});

test("a retry of the last permitted delivery is a dead letter with the consumer's words", async () => {
  const stream = await makeStream(["g"]);
  await configureGroup(stream, "g", undefined, { maxDeliveries: 1 });
  await produceNumbers(stream, 1);
  const { lease } = only((await poll(stream, "g", { consumer: "x" })).messages);
  expect(await settleSome(stream, "g", { retries: [{ lease, delayMs: 0, reason: "no luck" }] })).toMatchObject({
    retried: 1,
  });
  expect(await deadLettersOf(stream)).toMatchObject([
    { reason: "max-deliveries", detail: "no luck", deliveries: 1, consumer: "x" },
  ]);
});

test("a reject is a dead letter at once, with the consumer's words", async () => {
  const stream = await makeStream(["g"]);
  const ids = await produceNumbers(stream, 3);
  const { messages } = await poll(stream, "g");
  const [first, second] = leasesOf(messages);
  const rejects = [{ lease: first ?? "", reason: "bad \u0000 “sum”" }, { lease: second ?? "" }];
  expect(await settleSome(stream, "g", { rejects })).toEqual({ ...NONE, rejected: 2 });
  const letters = await deadLettersOf(stream);
  expect(letters.map(({ reason, detail, message }) => [reason, detail, JSON.parse(message).id])).toEqual([
    ["rejected", "bad \u0000 “sum”", ids[0]],
    ["rejected", null, ids[1]],
  ]);
  expect((await listPending(stream, "g", { limit: 10 })).items.map(({ id }) => id)).toEqual([ids[2]]);
});

test("an extended lease runs anew under the same string, and is no delivery", async () => {
  const stream = await makeStream(["g"]);
  await produceNumbers(stream, 2);
  const { messages } = await poll(stream, "g");
  await age(nativeClient(), stream, "g");
  const [lease = ""] = leasesOf(messages);
  expect(await settleSome(stream, "g", { extends: [lease] })).toEqual({ ...NONE, extended: 1 });
  const others = (await poll(stream, "g", { consumer: "other" })).messages;
  expect(others.map(({ id }) => id)).toEqual([messages[1]?.id]);
  expect(await settleSome(stream, "g", { extends: [lease] })).toMatchObject({ extended: 1 });
  expect(await settleSome(stream, "g", { rejects: [{ lease }] })).toMatchObject({ rejected: 1 });
});

test("a consumer whose lease was handed on cannot retry, reject or extend its successor's delivery", async () => {
  const stream = await makeStream(["g"]);
  await produceNumbers(stream, 3);
  const old = leasesOf((await poll(stream, "g", { consumer: "slow" })).messages);
  await age(nativeClient(), stream, "g");
  const held = (await poll(stream, "g", { consumer: "successor" })).messages;
  const [a = "", b = "", c = ""] = old;
  const settled = await settleSome(stream, "g", { retries: [{ lease: a }], rejects: [{ lease: b }], extends: [c] });
  expect(settled).toMatchObject({ retried: 0, rejected: 0, released: 0, extended: 0 });
  expect(settled.stale.map(({ outcome }) => outcome)).toEqual(["superseded", "superseded", "superseded"]);
  expect(await settleSome(stream, "g", { acks: leasesOf(held) })).toMatchObject({ acked: 3 });
  expect((await settleSome(stream, "g", { extends: [c] })).stale).toEqual([{ lease: c, outcome: "settled" }]);
});

test("the same holds for what was handed out of the side store", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  await produceNumbers(stream, 1);
  const first = only((await poll(stream, "g")).messages).lease;
  await settleSome(stream, "g", { retries: [{ lease: first, delayMs: 0 }] });
  await passTimeOfSideStore(native, stream, "g");
  expect((await settleSome(stream, "g", { extends: [first] })).stale).toEqual([{ lease: first, outcome: "settled" }]);

  const slow = only((await poll(stream, "g", { consumer: "slow" })).messages).lease;
  expect((await poll(stream, "g")).messages).toEqual([]);
  expect(await settleSome(stream, "g", { extends: [slow] })).toMatchObject({ extended: 1 });
  await passTimeOfSideStore(native, stream, "g");
  const next = only((await poll(stream, "g", { consumer: "next" })).messages);
  expect(next.deliveries).toBe(3);
  expect((await settleSome(stream, "g", { rejects: [{ lease: slow }] })).stale).toEqual([
    { lease: slow, outcome: "superseded" },
  ]);
  expect(await settleSome(stream, "g", { rejects: [{ lease: next.lease, reason: "r" }] })).toMatchObject({
    rejected: 1,
  });
  expect(await deadLettersOf(stream)).toMatchObject([
    { reason: "rejected", detail: "r", deliveries: 3, consumer: "next" },
  ]);
  expect(await native.exists(stream.keys.again("g"), stream.keys.againDue("g"))).toBe(0);
});

test("a late acknowledgement counts for the side store too, whoever holds the message by then", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  await produceNumbers(stream, 1);
  await settleSome(stream, "g", { retries: [{ lease: only((await poll(stream, "g")).messages).lease, delayMs: 0 }] });
  await passTimeOfSideStore(native, stream, "g");
  const late = only((await poll(stream, "g", { consumer: "late" })).messages).lease;
  await passTimeOfSideStore(native, stream, "g");
  const next = only((await poll(stream, "g", { consumer: "next" })).messages).lease;
  expect(await settleSome(stream, "g", { acks: [late] })).toMatchObject({ acked: 1 });
  expect(await settleSome(stream, "g", { acks: [next] })).toMatchObject({ acked: 0, stale: [] });
  await passTimeOfSideStore(native, stream, "g");
  expect((await poll(stream, "g")).messages).toEqual([]);
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ pending: 0, delayed: 0, deadLetters: 0 });
});

test("what the sweep holds still belongs to the delivery that expired, until it is handed on", async () => {
  const stream = await makeStream(["g"]);
  await produceNumbers(stream, 3);
  const [a = "", b = "", c = ""] = leasesOf((await poll(stream, "g")).messages);
  await age(nativeClient(), stream, "g");
  await runReaper(
    { redis: stream.redis, keyPrefix: stream.prefix, consumerIdleMs: 10 ** 9 },
    { nowMs: Date.now(), everyStream: true },
  );
  const settled = await settleSome(stream, "g", {
    extends: [a],
    rejects: [{ lease: b }],
    retries: [{ lease: c, delayMs: 9 }],
  });
  expect(settled).toEqual({ ...NONE, extended: 1, rejected: 1, retried: 1 });
  expect((await listPending(stream, "g", { limit: 9 })).items).toMatchObject([{ consumer: "c", deliveries: 1 }]);
});

test("1,000 leases are settled in one round trip and few commands", async () => {
  const stream = await makeStream(["g"]);
  await produceNumbers(stream, 1_000);
  const leases = leasesOf((await poll(stream, "g", { batchSize: 1_000 })).messages);
  const { usage } = stream.redis;
  const before = { ...usage };
  expect(await settleSome(stream, "g", { extends: leases })).toMatchObject({ extended: 1_000 });
  expect(usage.commands - before.commands).toBeLessThanOrEqual(8);
  const retries = leases.map((lease) => ({ lease, delayMs: 0 }));
  expect(await settleSome(stream, "g", { retries })).toMatchObject({ retried: 1_000 });
  expect(usage.commands - before.commands).toBeLessThanOrEqual(25);
  expect(usage.roundTrips - before.roundTrips).toBeLessThanOrEqual(3);
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ pending: 0, delayed: 1_000 });
});

test("a consume settles all five lists and hands out the next batch, in one round trip", async () => {
  const stream = await makeStream(["g"]);
  await produceNumbers(stream, 8);
  const leases = leasesOf((await poll(stream, "g", { batchSize: 5 })).messages);
  const [a = "", b = "", c = "", d = "", e = ""] = leases;
  await settleSome(stream, "g", { extends: [d] });
  const before = stream.redis.usage.roundTrips;
  const retries = [{ lease: b, delayMs: 1_000 }];
  const lists = { acks: [a], retries, rejects: [{ lease: c }], extends: [d], releases: [e] };
  const next = await poll(stream, "g", { batchSize: 10, ...lists });
  expect(stream.redis.usage.roundTrips - before).toBe(1);
  expect(next.settled).toEqual({ acked: 1, retried: 1, rejected: 1, released: 1, extended: 1, stale: [] });
  // Of what is due in the side store and what is new the former comes first.
  expect(next.messages.map(({ deliveries }) => deliveries)).toEqual([1]);
});

test("a message whose payload is gone when it is retried is recorded as dead", async () => {
  const stream = await makeStream(["g"]);
  const ids = await produceNumbers(stream, 2);
  const leases = leasesOf((await poll(stream, "g")).messages);
  await nativeClient().xdel(stream.keys.stream, ids[0] ?? "");
  const settled = await settleSome(stream, "g", { retries: leases.map((lease) => ({ lease, delayMs: 0 })) });
  expect(settled).toMatchObject({ retried: 1, stale: [{ lease: leases[0], outcome: "settled" }] });
  expect(await deadLettersOf(stream)).toMatchObject([{ reason: "payload-missing" }]);
});

test("a poll costs at most 6 commands while something is delayed, and 11 when it hands out expired ones and of the side store", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  await produceNumbers(stream, 10);
  const leases = leasesOf((await poll(stream, "g", { batchSize: 6 })).messages);
  await settleSome(stream, "g", { retries: leases.slice(0, 3).map((lease) => ({ lease, delayMs: 3_600_000 })) });
  const { usage } = stream.redis;
  let before = usage.commands;
  const none = await poll(stream, "g", { acks: leases.slice(3, 4), batchSize: 1 });
  expect(none.messages).toHaveLength(1);
  expect(usage.commands - before).toBeLessThanOrEqual(6);
  await age(native, stream, "g");
  await passTimeOfSideStore(native, stream, "g");
  before = usage.commands;
  const all = await poll(stream, "g", { acks: leasesOf(none.messages) });
  expect(all.messages.length).toBeGreaterThanOrEqual(5);
  expect(usage.commands - before).toBeLessThanOrEqual(11);
});

test("a request settles before it polls, also when Redis has lost its scripts", async () => {
  const { native, open } = await ownRedis();
  const stream = openStream(open("tcp"), "weir:", "s");
  await configureStream(stream, {}, Date.now());
  for (const group of ["g", "other"]) await configureGroup(stream, group, { kind: "first" }, {});
  await produceNumbers(stream, 1);
  const { messages } = await poll(stream, "g");
  await age(native, stream, "g");
  await native.script("FLUSH");
  // Redis has the poll's script again, as after a poll of another group, but not yet the one that settles.
  await poll(stream, "other");
  const rejects = leasesOf(messages).map((lease) => ({ lease }));
  const { settled } = await poll(stream, "g", { rejects });
  expect(settled).toMatchObject({ rejected: 1, stale: [] });
});
