import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { leaseFormat } from "../../shared/lease.ts";
import { claim } from "../../shared/stream/claim.ts";
import { removeConsumer } from "../../shared/stream/consumers.ts";
import { deleteDeadLetters, redrive } from "../../shared/stream/dead-letters.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, configureStream } from "../../shared/stream/manage.ts";
import { deleteMessage } from "../../shared/stream/messages.ts";
import { produce } from "../../shared/stream/produce.ts";
import { replayToGroup, seek } from "../../shared/stream/reread.ts";
import { trimNow } from "../../shared/stream/retention.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { failure } from "../support/failure.ts";
import { nativeClient, openRedis, uniquePrefix } from "../support/redis.ts";
import {
  age,
  leasesOf,
  makeStream,
  passTimeOfSideStore,
  poll,
  produceNumbers,
  settleSome,
  type TestStream,
  WAITING,
} from "../support/streams.ts";

/** What lies under a prefix, but for how long a time to live still is. */
async function digestOf(prefix: string): Promise<Record<string, string>> {
  const native = nativeClient();
  const keys = (await native.keys(`${prefix}*`)).filter((key) => !key.endsWith(":clock")).sort();
  const dumps = await Promise.all(keys.map((key) => native.dumpBuffer(key)));
  return Object.fromEntries(
    keys.map(
      (key, i) =>
        [
          key,
          createHash("sha1")
            .update(dumps[i] ?? "")
            .digest("base64"),
        ] as const,
    ),
  );
}

/** A stream whose group has something everywhere: expired, poison, aside (waiting, expired there), dead. */
async function makeEverywhere(): Promise<TestStream & { readonly leases: readonly string[] }> {
  const stream = await makeStream(["g"], { settings: { unfinished: "dead-letter" } });
  const native = nativeClient();
  await produceNumbers(stream, 12);
  const { messages } = await poll(stream, "g", { batchSize: 10 });
  const leases = leasesOf(messages);
  await settleSome(stream, "g", {
    rejects: leases.slice(0, 2).map((lease) => ({ lease })),
    retries: leases.slice(2, 6).map((lease) => ({ lease, delayMs: 0 })),
  });
  await age(native, stream, "g");
  await native.call("XCLAIM", stream.keys.stream, "g", "c", 0, messages[9]?.id ?? "", "IDLE", 10 ** 8, "RETRYCOUNT", 5);
  await passTimeOfSideStore(native, stream, "g");
  return { ...stream, leases };
}

type Made = Awaited<ReturnType<typeof makeEverywhere>>;

const ALL = { start: { kind: "first" }, end: { kind: "last" }, limit: 100 } as const;

/** What may not begin where a key holds another type of value; each with the keys that it would write. */
const OPERATIONS: Readonly<Record<string, { readonly keys: readonly string[]; run(made: Made): Promise<unknown> }>> = {
  "a poll": { keys: ["config", "dead", "deadIndex", "again", "againDue"], run: (made) => poll(made, "g") },
  "a poll that recovers": {
    keys: ["config", "dead", "deadIndex", "again", "againDue"],
    run: (made) => poll(made, "g", { recover: true }),
  },
  "a claim": {
    keys: ["config", "dead", "deadIndex"],
    run: (made) => claim(made, "g", { consumer: "x", force: true, minIdleMs: 0, limit: 100 }, WAITING),
  },
  "a settle with retries": {
    keys: ["config", "again", "againDue"],
    run: ({ leases, ...made }) => settleSome(made, "g", { retries: leases.slice(6, 8).map((lease) => ({ lease })) }),
  },
  "a settle with rejects": {
    keys: ["config", "dead", "deadIndex"],
    run: ({ leases, ...made }) => settleSome(made, "g", { rejects: leases.slice(6, 8).map((lease) => ({ lease })) }),
  },
  "a settle with releases": {
    keys: ["config", "again", "againDue"],
    run: ({ leases, ...made }) => settleSome(made, "g", { releases: leases.slice(6, 8) }),
  },
  "a settle that extends, in the stream and aside": {
    keys: ["config", "again", "againDue"],
    run: ({ leases, ...made }) => {
      const aside = leaseFormat(made.name, "g").write({ id: "1-1", consumer: "c", deliveries: 2, side: "1.x" });
      return settleSome(made, "g", { extends: [...leases.slice(6, 8), aside] });
    },
  },
  "a replay": { keys: ["config", "again", "againDue"], run: (made) => replayToGroup(made, "g", ALL) },
  "a redrive": {
    keys: ["config", "dead", "deadIndex", "again", "againDue"],
    run: (made) => redrive(made, "g", { limit: 100 }),
  },
  "a deletion of dead letters": {
    keys: ["config", "dead", "deadIndex"],
    run: (made) => deleteDeadLetters(made, "g", { belowId: "9999999999999-0" }),
  },
  "a trim into dead letters": {
    keys: ["config", "dead", "deadIndex"],
    run: (made) => trimNow(made, { maxLength: 0, exact: true }, Date.now()),
  },
  "a seek": { keys: ["config"], run: (made) => seek(made, "g", { kind: "first" }) },
  "a removal of a consumer": {
    keys: ["config", "again", "againDue"],
    run: (made) => removeConsumer(made, "g", "c"),
  },
  "settings of a group": {
    keys: ["config", "dead", "deadIndex", "again", "againDue"],
    run: (made) => configureGroup(made, "g", undefined, { ackWaitMs: 60_000 }),
  },
  "settings of a stream": { keys: ["config", "stream"], run: (made) => configureStream(made, { maxLength: 9 }, 77) },
};

const CASES = Object.entries(OPERATIONS).flatMap(([name, { keys, run }]) =>
  keys.map((key) => [name, key, run] as const),
);

describe("a key of another type is found before anything is written:", () => {
  test.each(CASES)("%s, where %s is one", async (_, name, run) => {
    const made = await makeEverywhere();
    const native = nativeClient();
    const { keys } = made;
    const key = { ...keys, dead: keys.dead("g"), deadIndex: keys.deadIndex("g"), again: keys.again("g") }[
      name as "config" | "stream" | "dead" | "deadIndex" | "again"
    ];
    const broken = name === "againDue" ? keys.againDue("g") : key;
    await native.set(broken, "another client's");
    const before = await digestOf(made.prefix);
    expect((await failure(run(made))).code).toBe("conflict");
    expect(await digestOf(made.prefix)).toEqual(before);
  });
});

test("a claim moves no poison where the side store, at which it would look next, is another client's", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  await produceNumbers(stream, 2);
  const { messages } = await poll(stream, "g");
  await settleSome(stream, "g", { retries: [{ lease: leasesOf(messages)[0] ?? "", delayMs: 0 }] });
  await native.call("XCLAIM", stream.keys.stream, "g", "c", 0, messages[1]?.id ?? "", "IDLE", 10 ** 8, "RETRYCOUNT", 5);
  await native.del(stream.keys.againDue("g"));
  await native.set(stream.keys.againDue("g"), "another client's");
  const before = await digestOf(stream.prefix);
  const claimed = claim(stream, "g", { consumer: "x", force: false, limit: 100 }, WAITING);
  expect((await failure(claimed)).code).toBe("conflict");
  expect(await digestOf(stream.prefix)).toEqual(before);
});

test("settling out of the side store of a stream that is gone is refused, and nothing is settled", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  await produceNumbers(stream, 1);
  await settleSome(stream, "g", {
    retries: leasesOf((await poll(stream, "g")).messages).map((lease) => ({ lease, delayMs: 0 })),
  });
  await passTimeOfSideStore(native, stream, "g");
  const [lease = ""] = leasesOf((await poll(stream, "g")).messages);
  await native.del(stream.keys.stream);
  const before = await digestOf(stream.prefix);
  for (const request of [
    { rejects: [{ lease }] },
    { retries: [{ lease }] },
    { releases: [lease] },
    { extends: [lease] },
  ]) {
    expect((await failure(settleSome(stream, "g", request))).code).toBe("unknown-stream");
    expect(await digestOf(stream.prefix)).toEqual(before);
  }
});

test("a trim into dead letters that are refused makes no copies, however often it is tried", async () => {
  const stream = await makeStream(["g", "h"], { settings: { unfinished: "dead-letter" } });
  const native = nativeClient();
  await produceNumbers(stream, 10);
  await native.set(stream.keys.dead("h"), "another client's");
  for (let i = 0; i < 3; i++) {
    expect((await failure(trimNow(stream, { maxLength: 0, exact: true }, 0))).code).toBe("conflict");
  }
  await native.del(stream.keys.dead("h"));
  expect(await trimNow(stream, { maxLength: 0, exact: true }, 0)).toMatchObject({ trimmed: 10 });
  for (const group of ["g", "h"]) expect(await groupInfo(stream, group, 0)).toMatchObject({ deadLetters: 10 });
});

describe("numbers that another client broke count as not set:", () => {
  test.each([
    "ackWaitMs:g",
    "maxDeliveries:g",
    "backoffMinMs:g",
    "backoffMaxMs:g",
    "maxMessageBytes",
    "largestMessageBytes",
    "dedupeWindowMs",
    "maxLength",
    "maxAgeMs",
    "againSequence:g",
    "againDue:g",
    "ackWaitBefore:g",
    "held:g",
    "look:g",
    "swept:g",
  ])("%s", async (field) => {
    const stream = await makeStream(["g"]);
    const native = nativeClient();
    for (const value of ["x", "-1", "1e400", "", "nan"]) {
      await native.hset(stream.keys.config, field, value);
      await produce(stream, [{ data: "1" }, { data: "2" }, { data: "3" }], `key-${value}`);
      const { messages } = await poll(stream, "g");
      expect(messages.length).toBeGreaterThanOrEqual(3);
      const [a = "", b = "", c = ""] = leasesOf(messages);
      await native.hset(stream.keys.config, field, value);
      const settled = await settleSome(stream, "g", { retries: [{ lease: a }], rejects: [{ lease: b }], extends: [c] });
      expect(settled).toMatchObject({ retried: 1, rejected: 1, extended: 1 });
      await replayToGroup(stream, "g", ALL);
      await redrive(stream, "g", { limit: 10 });
      await trimNow(stream, { maxLength: 1, exact: true }, Date.now());
    }
  });
});

test("what cannot be read in the side store is let be, and stops nothing behind it", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  await produceNumbers(stream, 8);
  const leases = leasesOf((await poll(stream, "g")).messages);
  await settleSome(stream, "g", { releases: leases });
  const sides = (await native.hkeys(stream.keys.again("g"))).sort();
  const broken = ["x", "-1", "{", "[]", "{}", "null"];
  for (const [i, text] of broken.entries()) await native.hset(stream.keys.again("g"), sides[i] ?? "", text);
  await native.zadd(stream.keys.againDue("g"), 1, "x", 1, "another client's", 2e15, "h x", 3e15, "m x", 4e15, "c x");
  expect((await poll(stream, "g")).messages).toHaveLength(2);
  expect((await poll(stream, "g")).messages).toHaveLength(0);
  // Another version may know what they are.
  expect(await native.hlen(stream.keys.again("g"))).toBe(8);
  expect(await groupInfo(stream, "g", 0)).toMatchObject({ delayed: 6 });
});

test("deleting a message reaches where it waits to be handed out again, and who has it from there", async () => {
  const stream = await makeStream(["g", "h"]);
  const ids = await produceNumbers(stream, 4);
  const [a = "", b = "", c = "", d = ""] = ids;
  const leases = leasesOf((await poll(stream, "g")).messages);
  await settleSome(stream, "g", { retries: leases.slice(0, 2).map((lease) => ({ lease, delayMs: 0 })) });
  await settleSome(stream, "g", { rejects: [{ lease: leases[2] ?? "" }] });
  const inHand = (await poll(stream, "g", { batchSize: 1 })).messages;
  expect(inHand.map(({ id }) => id)).toEqual([a]);
  await replayToGroup(stream, "h", { ids: [b], limit: 1 });
  for (const id of [a, b, d]) await deleteMessage(stream, id);
  // In somebody's hands it is a dead letter without payload once it is looked for; the others are gone.
  expect(await settleSome(stream, "g", { acks: leasesOf(inHand) })).toMatchObject({ acked: 0 });
  expect(await groupInfo(stream, "g", 0)).toMatchObject({ delayed: 0, pending: 1, deadLetters: 1 });
  expect(await groupInfo(stream, "h", 0)).toMatchObject({ delayed: 0 });
  expect((await poll(stream, "h")).messages.map(({ id }) => id)).toEqual([c]);
  expect((await failure(deleteMessage(stream, a))).code).toBe("unknown-message");
  // Trimmed, and waiting: still to be deleted.
  await replayToGroup(stream, "h", { ids: [c], limit: 1 });
  await nativeClient().xtrim(stream.keys.stream, "MAXLEN", 0);
  await deleteMessage(stream, c);
  expect(await groupInfo(stream, "h", 0)).toMatchObject({ delayed: 0 });
});

describe("going on by a cursor repeats nothing:", () => {
  test("a filtered replay of 50,000 messages takes several requests", async () => {
    const stream = await makeStream(["g"]);
    const native = nativeClient();
    const add = "for i = 1, 5000 do redis.call('XADD', KEYS[1], '*', 'type', i % 1000 == 0 and 'rare' or 'usual') end";
    for (let i = 0; i < 10; i++) await native.eval(add, 1, stream.keys.stream);
    const request = { ...ALL, limit: 1_000, type: "rare" };
    const counted = [];
    const answers = [];
    for (const dryRun of [true, false]) {
      let [count, requests, cursor]: [number, number, string | undefined] = [0, 0, undefined];
      do {
        const answer: Awaited<ReturnType<typeof replayToGroup>> = await replayToGroup(stream, "g", {
          ...request,
          cursor,
          dryRun,
        });
        count += answer.count;
        cursor = answer.next ?? undefined;
        requests += 1;
      } while (cursor !== undefined);
      counted.push(count);
      answers.push(requests);
      expect(await groupInfo(stream, "g", 0)).toMatchObject({ delayed: dryRun ? 0 : 50 });
    }
    expect(counted).toEqual([50, 50]);
    expect(answers[0]).toBeGreaterThan(1);
  });

  test("a redrive leaves what has died again since its first request", async () => {
    const stream = await makeStream(["g"]);
    await produceNumbers(stream, 100);
    const reject = async () => {
      const leases = leasesOf((await poll(stream, "g", { batchSize: 1_000 })).messages);
      await settleSome(stream, "g", { rejects: leases.map((lease) => ({ lease, reason: "no" })) });
    };
    await reject();
    // Dead letters come later than that.
    await expect.poll(() => Date.now()).toBeGreaterThan(Date.now());
    const request = { detail: "no", limit: 60 };
    const first = await redrive(stream, "g", request);
    expect(first).toMatchObject({ count: 60, next: /~/ });
    await reject();
    const [after = "", untilMs] = first.next?.split("~") ?? [];
    const second = await redrive(stream, "g", { ...request, cursor: { after, untilMs: Number(untilMs) } });
    expect(second).toEqual({ count: 40, next: null });
    expect(await redrive(stream, "g", { detail: "yes", limit: 60 })).toEqual({ count: 0, next: null });
  });
});

test("a stream whose key is another client's leaves the registry as it was", async () => {
  const prefix = uniquePrefix();
  const native = nativeClient();
  const stream = openStream(openRedis(), prefix, "s");
  await native.set(stream.keys.stream, "x");
  await native.zadd(`${prefix}streams`, 5, "s");
  expect((await failure(configureStream(stream, {}, 77))).code).toBe("conflict");
  expect(await native.zscore(`${prefix}streams`, "s")).toBe("5");
});
