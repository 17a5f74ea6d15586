import { describe, expect, test } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { WeirError } from "../../shared/errors.ts";
import { compareIds } from "../../shared/ids.ts";
import { registryKey } from "../../shared/keys.ts";
import { type Connection, ConnectionError } from "../../shared/redis/connection.ts";
import { Redis } from "../../shared/redis/redis.ts";
import { removeConsumer } from "../../shared/stream/consumers.ts";
import { deleteDeadLetters, redrive } from "../../shared/stream/dead-letters.ts";
import { groupInfo, streamInfo } from "../../shared/stream/inspect.ts";
import { configureStream, deleteStream } from "../../shared/stream/manage.ts";
import { replayToGroup } from "../../shared/stream/reread.ts";
import { trimNow } from "../../shared/stream/retention.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { nativeClient, openRedis, TRANSPORTS, uniquePrefix } from "../support/redis.ts";
import { leasesOf, makeStream, poll, produceNumbers, settleSome, type TestStream } from "../support/streams.ts";

const DAY_MS = 24 * 3_600_000;
const FIRST = { kind: "first" } as const;
const LAST = { kind: "last" } as const;

/** Lets a number of round trips through, then dies; of the last one the answer is lost, after or before it ran. */
class DyingConnection implements Connection {
  readonly #inner: Connection;
  readonly #runsLast: boolean;
  #left: number;

  constructor(roundTrips: number, runsLast: boolean) {
    this.#inner = TRANSPORTS.tcp();
    this.#left = roundTrips;
    this.#runsLast = runsLast;
  }

  async run(commands: Parameters<Connection["run"]>[0]) {
    this.#left -= 1;
    if (this.#left >= 0) return this.#inner.run(commands);
    if (this.#left === -1 && this.#runsLast) await this.#inner.run(commands);
    throw new ConnectionError("killed", { maybeRan: this.#runsLast });
  }

  close() {
    return this.#inner.close();
  }
}

/** An operation that is killed, on something that is made anew for every point at which it may be. */
interface Killing<Made extends TestStream> {
  make(): Promise<Made>;
  /** The operation, on a stream whose connection dies, or, when it is done again, does not. */
  operate(made: Made): Promise<unknown>;
  /** What holds whenever it was killed. */
  afterKill?(made: Made): Promise<void>;
  /** What holds once it was done again. */
  afterRepeat(made: Made, roundTrips: number): Promise<void>;
  /** How many round trips it takes at least, so that a change of step sizes does not leave this test without sense. */
  leastRoundTrips: number;
}

async function killEverywhere<Made extends TestStream>(runsLast: boolean, killing: Killing<Made>): Promise<void> {
  const { make, operate, afterKill, afterRepeat, leastRoundTrips } = killing;
  for (let roundTrips = 0; ; roundTrips++) {
    const made = await make();
    const dying = new DyingConnection(roundTrips, runsLast);
    const killed = await operate({ ...made, redis: new Redis(dying) }).then(
      () => false,
      (error: unknown) => {
        if (error instanceof WeirError && /outcome-unknown|redis-unavailable/.test(error.code)) return true;
        throw error;
      },
    );
    await dying.close();
    if (killed) await afterKill?.(made);
    await operate(made);
    await afterRepeat(made, roundTrips);
    if (!killed) {
      expect(roundTrips).toBeGreaterThanOrEqual(leastRoundTrips);
      return;
    }
    expect(roundTrips).toBeLessThan(60);
  }
}

/** In how many places each message is that the group `g` is not done with: new, pending, aside, dead. */
async function placesOf(stream: TestStream): Promise<Map<string, number>> {
  const native = nativeClient();
  const { keys } = stream;
  const { lastDeliveredId } = await groupInfo(stream, "g", 0);
  const inStream = (await native.xrange(keys.stream, "-", "+")).map(([id]) => id);
  const held = new Set((await native.xpending(keys.stream, "g", "-", "+", 100_000)).map((row) => idAt(row)));
  const due = new Set((await native.zrange(keys.againDue("g"), "0", "-1")).map((member) => member.split(" ")[0]));
  const aside = Object.entries(await native.hgetall(keys.again("g"))).filter(([side]) => due.has(side));
  const dead = (await native.xrange(keys.dead("g"), "-", "+")).map(([, flat]) => flat[flat.indexOf("weir-id") + 1]);
  const places = new Map<string, number>();
  const found = [
    ...inStream.filter((id) => held.has(id) || compareIds(id, lastDeliveredId) > 0),
    ...aside.map(([, text]) => String(JSON.parse(text).id)),
    ...dead.map((id) => id ?? "?"),
  ];
  for (const id of found) places.set(id, (places.get(id) ?? 0) + 1);
  return places;
}

function idAt(row: unknown): string {
  return Array.isArray(row) ? String(row[0]) : "?";
}

async function expectPlaces(stream: TestStream, ids: readonly string[], most: number): Promise<void> {
  const places = await placesOf(stream);
  expect(
    ids.filter((id) => !places.has(id)),
    "lost",
  ).toEqual([]);
  expect(
    [...places].filter(([, count]) => count > most),
    "in too many places",
  ).toEqual([]);
}

function reap(stream: TestStream, nowMs = Date.now()) {
  const context = { redis: stream.redis, keyPrefix: stream.prefix, consumerIdleMs: 10 ** 12 };
  return runReaper(context, { nowMs, everyStream: true });
}

async function produceMany(stream: TestStream, count: number): Promise<string[]> {
  const ids: string[] = [];
  while (ids.length < count) ids.push(...(await produceNumbers(stream, Math.min(1_000, count - ids.length))));
  return ids;
}

/** A stream of 450 messages, of which `g` has been handed 150 and acknowledged 50. */
async function makeBehind(settings: Parameters<typeof configureStream>[1]) {
  const stream = await makeStream(["g"], { settings });
  const ids = await produceMany(stream, 450);
  const { messages } = await poll(stream, "g", { batchSize: 150 });
  await settleSome(stream, "g", { acks: leasesOf(messages.slice(0, 50)) });
  return { ...stream, ids, unfinished: ids.slice(50) };
}

/** A stream whose group has rejected all its messages. */
async function makeDead(count: number) {
  const stream = await makeStream(["g"]);
  const ids = await produceMany(stream, count);
  while (true) {
    const { messages } = await poll(stream, "g", { batchSize: 1_000 });
    if (messages.length === 0) return { ...stream, ids };
    await settleSome(stream, "g", { rejects: leasesOf(messages).map((lease) => ({ lease })) });
  }
}

/** When the reaper is to visit the stream; the time has a random fraction, by which registrations are told apart. */
async function dueAt(prefix: string): Promise<number> {
  return Math.floor(Number(await nativeClient().zscore(registryKey(prefix), "made")));
}

describe.each([true, false])("killed between any two round trips and done again (last one ran: %s)", (runsLast) => {
  test("the reaper under dead-letter leaves each message in one place", () =>
    killEverywhere(runsLast, {
      make: () => makeBehind({ maxLength: 20, unfinished: "dead-letter" }),
      operate: (stream) => reap(stream),
      afterKill: (stream) => expectPlaces(stream, stream.unfinished, 1),
      async afterRepeat(stream) {
        await expectPlaces(stream, stream.unfinished, 1);
        expect(await streamInfo(stream)).toMatchObject({ length: 20 });
        expect(await groupInfo(stream, "g", 0)).toMatchObject({ deadLetters: 380, pending: 0, lag: 20 });
      },
      leastRoundTrips: 5,
    }));

  test("the reaper under drop counts each message that it took once", () =>
    killEverywhere(runsLast, {
      make: () => makeBehind({ maxLength: 20, unfinished: "drop" }),
      operate: (stream) => reap(stream),
      async afterRepeat(stream) {
        expect(await streamInfo(stream)).toMatchObject({ length: 20 });
        expect(await groupInfo(stream, "g", 0)).toMatchObject({ dropped: 380, pending: 0, lag: 20 });
        await expectPlaces(stream, stream.ids.slice(430), 1);
      },
      leastRoundTrips: 4,
    }));

  test("the expiry of dead letters takes those that are too old and no other", () =>
    killEverywhere(runsLast, {
      async make() {
        const stream = await makeDead(250);
        const young = await nativeClient().xadd(stream.keys.dead("g"), `${Date.now() + 10 * DAY_MS}-0`, "data", "1");
        return { ...stream, young };
      },
      operate: (stream) => reap(stream, Date.now() + 15 * DAY_MS),
      async afterRepeat(stream) {
        const left = await nativeClient().xrange(stream.keys.dead("g"), "-", "+");
        expect(left.map(([id]) => id)).toEqual([stream.young]);
      },
      leastRoundTrips: 4,
    }));

  test("a redrive of many steps leaves each message dead or to be handed out, never both", () =>
    killEverywhere(runsLast, {
      make: () => makeDead(1_250),
      operate: (stream) => redrive(stream, "g", { limit: 2_000 }),
      afterKill: (stream) => expectPlaces(stream, stream.ids, 1),
      async afterRepeat(stream) {
        await expectPlaces(stream, stream.ids, 1);
        expect(await groupInfo(stream, "g", 0)).toMatchObject({ delayed: 1_250, deadLetters: 0 });
      },
      leastRoundTrips: 4,
    }));

  test("a redrive by ids does too", () =>
    killEverywhere(runsLast, {
      async make() {
        const stream = await makeDead(30);
        const letters = (await nativeClient().xrange(stream.keys.dead("g"), "-", "+")).map(([id]) => id);
        return { ...stream, letters };
      },
      operate: (stream) => redrive(stream, "g", { ids: stream.letters.slice(0, 20), limit: 1_000 }),
      afterKill: (stream) => expectPlaces(stream, stream.ids, 1),
      async afterRepeat(stream) {
        await expectPlaces(stream, stream.ids, 1);
        expect(await groupInfo(stream, "g", 0)).toMatchObject({ delayed: 20, deadLetters: 10 });
      },
      leastRoundTrips: 1,
    }));

  test("deleting dead letters by age deletes those and no other", () =>
    killEverywhere(runsLast, {
      async make() {
        const stream = await makeStream(["g"]);
        const pipeline = nativeClient().pipeline();
        for (let i = 1; i <= 20_300; i++) pipeline.xadd(stream.keys.dead("g"), `${i}-0`, "weir-id", `${i}-0`);
        await pipeline.exec();
        return stream;
      },
      operate: (stream) => deleteDeadLetters(stream, "g", { belowId: "20251-0" }),
      async afterKill(stream) {
        expect(await nativeClient().xrange(stream.keys.dead("g"), "20251-0", "+")).toHaveLength(50);
      },
      async afterRepeat(stream) {
        const left = (await nativeClient().xrange(stream.keys.dead("g"), "-", "+")).map(([id]) => id);
        expect(left).toEqual(Array.from({ length: 50 }, (_, i) => `${20_251 + i}-0`));
      },
      leastRoundTrips: 3,
    }));

  test("deleting dead letters by ids deletes those and no other", () =>
    killEverywhere(runsLast, {
      async make() {
        const stream = await makeDead(10);
        const letters = (await nativeClient().xrange(stream.keys.dead("g"), "-", "+")).map(([id]) => id);
        return { ...stream, letters };
      },
      operate: (stream) => deleteDeadLetters(stream, "g", { ids: stream.letters.slice(0, 4) }),
      async afterRepeat(stream) {
        const left = (await nativeClient().xrange(stream.keys.dead("g"), "-", "+")).map(([id]) => id);
        expect(left).toEqual(stream.letters.slice(4));
      },
      leastRoundTrips: 1,
    }));

  test("a replay hands each message out at least once more, at most twice", () =>
    killEverywhere(runsLast, {
      async make() {
        const stream = await makeStream(["g"]);
        const ids = await produceMany(stream, 1_000);
        await settleSome(stream, "g", { acks: leasesOf((await poll(stream, "g", { batchSize: 1_000 })).messages) });
        return { ...stream, ids };
      },
      operate: (stream) => replayToGroup(stream, "g", { start: FIRST, end: LAST, limit: 1_000 }),
      async afterRepeat(stream) {
        await expectPlaces(stream, stream.ids, 2);
        // The sequence of side ids does not go back: a later replay does not write over an earlier one.
        expect(Number(await nativeClient().hlen(stream.keys.again("g")))).toBeGreaterThanOrEqual(1_000);
      },
      leastRoundTrips: 2,
    }));

  test.each([undefined, "heir"])("removing a consumer with 12,000 entries in hand loses none (handed to %s)", (heir) =>
    killEverywhere(runsLast, {
      async make() {
        const stream = await makeStream(["g"]);
        const ids = await produceMany(stream, 12_000);
        const { stream: key } = stream.keys;
        await nativeClient().xreadgroup("GROUP", "g", "leaving", "COUNT", 12_000, "STREAMS", key, ">");
        return { ...stream, ids };
      },
      operate: (stream) =>
        removeConsumer(stream, "g", "leaving", heir).catch((error: unknown) => {
          // Done again after it was done: there is nothing left to remove.
          if (!(error instanceof WeirError && error.code === "unknown-consumer")) throw error;
        }),
      afterKill: (stream) => expectPlaces(stream, stream.ids, 1),
      async afterRepeat(stream) {
        await expectPlaces(stream, stream.ids, 1);
        const [pending, , , owners] = await nativeClient().xpending(stream.keys.stream, "g");
        expect(pending).toBe(12_000);
        const rows = Array.isArray(owners) ? owners.map(([name, count]) => [String(name), Number(count)]) : [];
        if (heir === undefined) expect(rows).toEqual(Array.from({ length: 12 }, (_, i) => [holderAt(i), 1_000]));
        else expect(rows).toEqual([[heir, 12_000]]);
      },
      leastRoundTrips: 3,
    }),
  );

  test("a trim by hand under keep takes what is done with and nothing else", () =>
    killEverywhere(runsLast, {
      async make() {
        const stream = await makeStream(["g"]);
        const ids = await produceMany(stream, 20_300);
        const native = nativeClient();
        await native.xgroup("SETID", stream.keys.stream, "g", ids[20_249] ?? "");
        return { ...stream, ids };
      },
      operate: (stream) => trimNow(stream, { minId: "9999999999999-0", exact: true }, 0),
      afterKill: (stream) => expectPlaces(stream, stream.ids.slice(20_250), 1),
      async afterRepeat(stream) {
        await expectPlaces(stream, stream.ids.slice(20_250), 1);
        expect(await streamInfo(stream)).toMatchObject({ length: 50, firstId: stream.ids[20_250] });
      },
      leastRoundTrips: 3,
    }));

  test("a trim by hand under dead-letter leaves each message in one place", () =>
    killEverywhere(runsLast, {
      make: () => makeBehind({ unfinished: "dead-letter" }),
      operate: (stream) => trimNow(stream, { maxLength: 0, exact: true }, 0),
      afterKill: (stream) => expectPlaces(stream, stream.unfinished, 1),
      async afterRepeat(stream) {
        await expectPlaces(stream, stream.unfinished, 1);
        expect(await groupInfo(stream, "g", 0)).toMatchObject({ deadLetters: 400, pending: 0, lag: 0 });
      },
      leastRoundTrips: 2,
    }));

  test("creating a stream leaves none that the reaper does not know", () =>
    killEverywhere(runsLast, {
      async make() {
        const prefix = uniquePrefix();
        return { ...openStream(openRedis(), prefix, "made"), prefix };
      },
      operate: (stream) => configureStream(stream, { maxLength: 7, unfinished: "drop" }, 5),
      async afterKill({ prefix, keys }) {
        const native = nativeClient();
        if ((await native.exists(keys.stream)) === 0) return;
        expect(await dueAt(prefix)).toBe(5);
      },
      async afterRepeat(stream) {
        expect(await streamInfo(stream)).toMatchObject({
          length: 0,
          groups: 0,
          config: { retention: { maxLength: 7, unfinished: "drop" } },
        });
        expect(await dueAt(stream.prefix)).toBe(5);
      },
      leastRoundTrips: 2,
    }));

  test("changing a stream's settings leaves its messages and groups as they are", () =>
    killEverywhere(runsLast, {
      make: () => makeBehind({ maxLength: 1_000 }),
      operate: (stream) => configureStream(stream, { maxLength: null, maxAgeMs: 60_000 }, 0),
      afterKill: (stream) => expectPlaces(stream, stream.unfinished, 1),
      async afterRepeat(stream) {
        await expectPlaces(stream, stream.unfinished, 1);
        const { config } = await streamInfo(stream);
        expect(config.retention).toMatchObject({ maxLength: null, maxAgeMs: 60_000 });
      },
      leastRoundTrips: 2,
    }));

  test("deleting a stream leaves nothing of it, and none that the reaper does not know", () =>
    killEverywhere(runsLast, {
      async make() {
        const stream = await makeDead(5);
        await redrive(stream, "g", { limit: 2 });
        return stream;
      },
      operate: (stream) =>
        deleteStream(stream).catch((error: unknown) => {
          if (!(error instanceof WeirError && error.code === "unknown-stream")) throw error;
        }),
      async afterKill({ prefix, name, keys }) {
        const native = nativeClient();
        if ((await native.exists(keys.stream)) === 0) return;
        expect(await native.zscore(registryKey(prefix), name)).not.toBeNull();
      },
      async afterRepeat({ prefix }) {
        expect(await nativeClient().keys(`${prefix}*`)).toEqual([]);
      },
      leastRoundTrips: 2,
    }));
});

/** The holders in the order in which Redis lists consumers: by name. */
function holderAt(i: number): string {
  return Array.from({ length: 12 }, (_, number) => `@held:${number}`).sort()[i] ?? "";
}

test("removing one of Weir's own holders loses nothing of what it holds", async () => {
  const stream = await makeStream(["g"]);
  const ids = await produceMany(stream, 10);
  await poll(stream, "g", { consumer: "gone" });
  await removeConsumer(stream, "g", "gone");
  await removeConsumer(stream, "g", "@held:0");
  await expectPlaces(stream, ids, 1);
});

test("removing a consumer that is to hand over to itself loses nothing of what it holds", async () => {
  const stream = await makeStream(["g"]);
  const ids = await produceMany(stream, 10);
  await poll(stream, "g", { consumer: "same" });
  await removeConsumer(stream, "g", "same", "same").catch(() => 0);
  await expectPlaces(stream, ids, 1);
});

test("a trim to a length that a group holds back by more than a step's worth ends", async () => {
  const stream = await makeStream(["g"]);
  await produceMany(stream, 10_101);
  const bounded = { ...stream, redis: new Redis(new DyingConnection(100, false)) };
  expect(await trimNow(bounded, { maxLength: 100, exact: true }, 0)).toMatchObject({ trimmed: 0 });
});
