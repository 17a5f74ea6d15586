import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { claim } from "../../shared/stream/claim.ts";
import { removeConsumer } from "../../shared/stream/consumers.ts";
import { getDeadLetter, listDeadLetters, redrive } from "../../shared/stream/dead-letters.ts";
import { groupInfo, streamInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, configureStream, type StreamPatch } from "../../shared/stream/manage.ts";
import { getMessage } from "../../shared/stream/messages.ts";
import { replayToGroup } from "../../shared/stream/reread.ts";
import { trimNow } from "../../shared/stream/retention.ts";
import { nativeClient, type TransportName } from "../support/redis.ts";
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
  WAITING,
} from "../support/streams.ts";

const HOUR_MS = 3_600_000;

/** Bytes that are no UTF-8, with all that JSON must escape. */
const BYTES = Buffer.from([0, 1, 34, 92, 47, 10, 127, 128, 192, 255, 254, 0xed, 0xa0, 0x80]);

/** What other clients may have stored, flat as XADD takes it. */
const ODD: Readonly<Record<string, readonly (string | Buffer)[]>> = {
  "10,000 fields": Array.from({ length: 10_000 }, (_, i) => [`field-${i}`, `value ${i} "\\/\u007f\u2028`]).flat(),
  "10,000 fields of bytes": Array.from({ length: 10_000 }, (_, i) => [`${i}`, BYTES]).flat(),
  "as many fields as just fit unpacked": Array.from({ length: 1_000 }, (_, i) => [`field-${i}`, "v"]).flat(),
  "one field more than fits unpacked": Array.from({ length: 1_001 }, (_, i) => [`field-${i}`, "v"]).flat(),
  "a value of 2.5 MB": ["data", JSON.stringify("x".repeat(2.5 * 1024 * 1024))],
  "a value of 1 MB of bytes": ["data", Buffer.alloc(1024 * 1024, BYTES)],
  "names and values of bytes": [BYTES, BYTES, Buffer.from([255]), "text", "data", BYTES, "type", BYTES, "key", BYTES],
  "empty names and values": ["", "a", "", "", "data", "", "type", ""],
  "repeated fields": ["data", "1", "data", "2", "type", "a", "type", "b", "x", "1", "x", "2"],
  "data that is no JSON": ["data", "{", "datacontenttype", "application/json", "weir-encoding", "base64"],
  "text that JSON would mend": ["data", '{"a":1.0,"b":9007199254740993,"a":-0}', "x", "\u0000\ud83d\ude00"],
};

interface Odd extends TestStream {
  readonly id: string;
  /** The message as it is read from the stream. */
  readonly whole: unknown;
}

/** A stream with an odd entry among ordinary ones, and a group that reads from the beginning. */
async function makeOdd(name: string, transport: TransportName, settings: StreamPatch = {}): Promise<Odd> {
  const stream = await makeStream(["g"], { transport, settings });
  await produceNumbers(stream, 2);
  const id = String(await nativeClient().call("XADD", stream.keys.stream, "*", ...(ODD[name] ?? [])));
  await produceNumbers(stream, 2);
  return { ...stream, id, whole: JSON.parse(await getMessage(stream, id)) };
}

/** Checks that a batch has all five, the odd one whole. */
function expectAll(stream: Odd, messages: readonly Delivery[], deliveries: number): void {
  expect(messages).toHaveLength(5);
  expectWhole(stream, messages, deliveries);
}

/** Polls until there is no more: what weighs megabytes comes in several batches. */
async function pollAll(stream: Odd, request: Parameters<typeof poll>[2] = {}): Promise<Delivery[]> {
  const all: Delivery[] = [];
  for (let handed = 1; handed > 0; ) {
    const { messages } = await poll(stream, "g", request);
    all.push(...messages);
    handed = messages.length;
  }
  return all;
}

function expectWhole(stream: Odd, messages: readonly Delivery[], deliveries: number): void {
  const found = messages.find(({ id }) => id === stream.id);
  // Compared as text: a difference in 2.5 MB would take minutes to be shown.
  expect(found?.deliveries).toBe(deliveries);
  const { lease: _lease, deliveries: _deliveries, ...message } = found ?? { lease: "", deliveries: 0 };
  expect(JSON.stringify(message) === JSON.stringify(stream.whole), "it came out as it was").toBe(true);
}

async function expectDead(stream: Odd, reason: string): Promise<void> {
  const { items } = await listDeadLetters(stream, "g", { limit: 100 });
  expect(items.map((letter) => letter.reason)).toEqual(Array(5).fill(reason));
  const letter = items.find(({ message }) => JSON.parse(message).id === stream.id);
  const message = letter?.message ?? "null";
  expect(JSON.stringify(JSON.parse(message)) === JSON.stringify(stream.whole), "it is dead as it was").toBe(true);
  expect(await getDeadLetter(stream, "g", letter?.id ?? "")).toEqual(letter);
}

function reap(stream: TestStream, nowMs = Date.now()) {
  const context = { redis: stream.redis, keyPrefix: stream.prefix, consumerIdleMs: 10 ** 12 };
  return runReaper(context, { nowMs, everyStream: true });
}

const rejectsOf = (messages: readonly Delivery[]) => leasesOf(messages).map((lease) => ({ lease }));
const retriesOf = (messages: readonly Delivery[]) => leasesOf(messages).map((lease) => ({ lease, delayMs: 0 }));

/** Over REST those that its encoding could harm; the scripts are the same. */
const KINDS: readonly [TransportName, readonly string[]][] = [
  ["tcp", Object.keys(ODD)],
  ["rest", ["10,000 fields of bytes", "a value of 1 MB of bytes", "names and values of bytes"]],
];

describe.each(KINDS)("over %s", (transport, names) => {
  describe.each(names)("an entry of another client with %s", (name) => {
    test("is swept, held, taken over, claimed and handed out again", async () => {
      const stream = await makeOdd(name, transport);
      const native = nativeClient();
      expectAll(stream, (await poll(stream, "g", { consumer: "dead" })).messages, 1);
      await age(native, stream, "g");
      expect(await reap(stream)).toMatchObject({ errors: [], groups: [{ expired: 5, payloadMissing: 0 }] });
      expectAll(stream, (await poll(stream, "g", { consumer: "next" })).messages, 2);
      await removeConsumer(stream, "g", "next", "heir");
      expectAll(stream, (await poll(stream, "g", { consumer: "heir", recover: true })).messages, 3);
      const byForce = { consumer: "other", ids: [stream.id], force: true, minIdleMs: 0, limit: 9 };
      const claimed = await claim(stream, "g", byForce, WAITING);
      expectWhole(
        stream,
        claimed.map((text): Delivery => JSON.parse(text)),
        4,
      );
    });

    test("is retried again and again, handed out of the side store, and dies of it whole", async () => {
      const stream = await makeOdd(name, transport);
      const native = nativeClient();
      await configureGroup(stream, "g", undefined, { maxDeliveries: 100 });
      for (let deliveries = 1; deliveries <= 3; deliveries++) {
        const messages = await pollAll(stream);
        expectAll(stream, messages, deliveries);
        expect(await settleSome(stream, "g", { retries: retriesOf(messages) })).toMatchObject({ retried: 5 });
        await native.xtrim(stream.keys.stream, "MAXLEN", 0);
        await passTimeOfSideStore(native, stream, "g");
      }
      expectAll(stream, await pollAll(stream, { consumer: "crashes" }), 4);
      await configureGroup(stream, "g", undefined, { maxDeliveries: 4 });
      await passTimeOfSideStore(native, stream, "g");
      expect(await reap(stream)).toMatchObject({ errors: [], groups: [{ deadLettered: 5 }] });
      await expectDead(stream, "max-deliveries");
    });

    test("is dead as poison by the sweep and by a poll, is redriven, rejected and redriven again", async () => {
      const native = nativeClient();
      for (const finder of ["sweep", "poll"]) {
        const stream = await makeOdd(name, transport);
        await configureGroup(stream, "g", undefined, { maxDeliveries: 1 });
        await poll(stream, "g");
        await age(native, stream, "g");
        if (finder === "sweep") expect(await reap(stream)).toMatchObject({ errors: [], groups: [{ deadLettered: 5 }] });
        else for (let i = 0; i < 3; i++) expect((await poll(stream, "g")).messages).toEqual([]);
        await expectDead(stream, "max-deliveries");
        await native.xtrim(stream.keys.stream, "MAXLEN", 0);
        for (let round = 0; round < 2; round++) {
          expect(await redrive(stream, "g", { limit: 100 })).toMatchObject({ count: 5 });
          const messages = await pollAll(stream);
          expectAll(stream, messages, 1);
          expect(await settleSome(stream, "g", { rejects: rejectsOf(messages) })).toMatchObject({ rejected: 5 });
          await expectDead(stream, "rejected");
        }
      }
    });

    test("is replayed by id and by range", async () => {
      const stream = await makeOdd(name, transport);
      await settleSome(stream, "g", { acks: leasesOf((await poll(stream, "g")).messages) });
      expect(await replayToGroup(stream, "g", { ids: [stream.id], limit: 10 })).toMatchObject({ count: 1 });
      const byId = (await poll(stream, "g")).messages;
      expectWhole(stream, byId, 1);
      await settleSome(stream, "g", { acks: leasesOf(byId) });
      const range = { start: { kind: "first" }, end: { kind: "last" }, limit: 10 } as const;
      expect(await replayToGroup(stream, "g", range)).toMatchObject({ count: 5 });
      expectAll(stream, await pollAll(stream), 1);
    });

    test("is trimmed into the dead letters whole, new or pending, by the reaper and by hand", async () => {
      for (const isPending of [true, false]) {
        const stream = await makeOdd(name, transport, { maxAgeMs: HOUR_MS, unfinished: "dead-letter" });
        if (isPending) await poll(stream, "g");
        const report = isPending
          ? (await reap(stream, Date.now() + 2 * HOUR_MS)).streams[0]
          : await trimNow(stream, { maxLength: 0, exact: true }, 0);
        expect(report).toMatchObject({ trimmed: 5 });
        await expectDead(stream, "trimmed");
        expect(await streamInfo(stream)).toMatchObject({ length: 0 });
        expect(await groupInfo(stream, "g", 0)).toMatchObject({ pending: 0, lag: 0 });
      }
    });
  });
});

test("a dead letter with very many fields is found by its type like any other", async () => {
  const stream = await makeStream(["g"]);
  const fields = Array.from({ length: 2_000 }, (_, i) => [`f${i}`, "v"]).flat();
  await nativeClient().call("XADD", stream.keys.stream, "*", "type", "wide", ...fields);
  await settleSome(stream, "g", { rejects: rejectsOf((await poll(stream, "g")).messages) });
  expect((await listDeadLetters(stream, "g", { type: "wide", limit: 9 })).items).toHaveLength(1);
  expect((await listDeadLetters(stream, "g", { type: "narrow", limit: 9 })).items).toHaveLength(0);
});

test("a dead letter with very many fields is redriven by its type like any other", async () => {
  const stream = await makeStream(["g"]);
  const fields = Array.from({ length: 2_000 }, (_, i) => [`f${i}`, "v"]).flat();
  await nativeClient().call("XADD", stream.keys.stream, "*", "type", "wide", ...fields);
  await settleSome(stream, "g", { rejects: rejectsOf((await poll(stream, "g")).messages) });
  expect(await redrive(stream, "g", { type: "wide", limit: 9 })).toMatchObject({ count: 1 });
});

test("a message whose fields all have names like Weir's own can be redriven", async () => {
  const stream = await makeStream(["g"]);
  await nativeClient().call("XADD", stream.keys.stream, "*", "weir-note", "of another client");
  await settleSome(stream, "g", { rejects: rejectsOf((await poll(stream, "g")).messages) });
  expect(await redrive(stream, "g", { limit: 9 })).toMatchObject({ count: 1 });
});

test("an entry with a sequence number above 2^53 is trimmed into the dead letters once", async () => {
  const stream = await makeStream(["g"], { settings: { unfinished: "dead-letter" } });
  await nativeClient().xadd(stream.keys.stream, "5-9007199254740993", "data", "1");
  for (let i = 0; i < 3; i++) await trimNow(stream, { maxLength: 0, exact: true }, 0);
  expect(await groupInfo(stream, "g", 0)).toMatchObject({ deadLetters: 1 });
});

test("an entry with the last id that there may be is trimmed into the dead letters once", async () => {
  const stream = await makeStream(["g"], { settings: { unfinished: "dead-letter" } });
  await nativeClient().xadd(stream.keys.stream, "18446744073709551615-18446744073709551615", "data", "1");
  for (let i = 0; i < 3; i++) await trimNow(stream, { maxLength: 0, exact: true }, 0).catch(() => undefined);
  expect(await groupInfo(stream, "g", 0)).toMatchObject({ deadLetters: 1 });
});

test("what was pending and has no payload any more is recorded when a trim takes it off", async () => {
  const stream = await makeStream(["g"], { settings: { unfinished: "dead-letter" } });
  const ids = await produceNumbers(stream, 3);
  await poll(stream, "g");
  await nativeClient().xdel(stream.keys.stream, ids[1] ?? "");
  await trimNow(stream, { maxLength: 0, exact: true }, 0);
  const { items } = await listDeadLetters(stream, "g", { limit: 9 });
  expect(items.map(({ reason }) => reason).sort()).toEqual(["payload-missing", "trimmed", "trimmed"]);
});

test("a stream of many large entries is dead-lettered and redriven step by step", async () => {
  const stream = await makeStream(["g"]);
  await configureStream(stream, { maxMessageBytes: 4 * 1024 * 1024, unfinished: "dead-letter" }, 0);
  const native = nativeClient();
  const data = JSON.stringify("x".repeat(1024 * 1024));
  for (let i = 0; i < 30; i++) await native.xadd(stream.keys.stream, "*", "data", data);
  expect(await trimNow(stream, { maxLength: 0, exact: true }, 0)).toMatchObject({ trimmed: 30 });
  expect(await redrive(stream, "g", { limit: 100 })).toMatchObject({ count: 30 });
  expect(await groupInfo(stream, "g", 0)).toMatchObject({ delayed: 30, deadLetters: 0 });
});
