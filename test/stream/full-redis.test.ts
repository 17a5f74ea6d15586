import { describe, expect, test } from "vitest";
import { type ReaperOptions, runReaper } from "../../scheduled/reaper.ts";
import { WeirError } from "../../shared/errors.ts";
import { compareIds } from "../../shared/ids.ts";
import { claim } from "../../shared/stream/claim.ts";
import { removeConsumer } from "../../shared/stream/consumers.ts";
import { deleteDeadLetters, redrive } from "../../shared/stream/dead-letters.ts";
import { groupInfo, streamInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, configureStream, deleteGroup, type StreamPatch } from "../../shared/stream/manage.ts";
import { produce } from "../../shared/stream/produce.ts";
import { replayToGroup, seek } from "../../shared/stream/reread.ts";
import { trimNow } from "../../shared/stream/retention.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { type OwnRedis, ownRedis } from "../support/own-redis.ts";
import { BOTH_TRANSPORTS, type TransportName } from "../support/redis.ts";
import {
  age,
  leasesOf,
  passTimeOfSideStore,
  poll,
  produceNumbers,
  settleSome,
  type TestStream,
  WAITING,
} from "../support/streams.ts";

/**
 * Redis finds out whether it is full once, before a script starts, and refuses a write only while the script has not
 * written yet; commands that free memory or move things (XACK, XTRIM, XCLAIM, ZREM, ...) are never refused. So a script
 * whose first write is of that kind goes through as a whole, and any other is refused as a whole, whatever the level.
 */

const PREFIX = "weir:";
const FIRST = { kind: "first" } as const;
const LAST = { kind: "last" } as const;

interface Full extends TestStream {
  readonly own: OwnRedis;
  readonly ids: readonly string[];
}

let streams = 0;

/** A stream of ten messages with a group that reads from the beginning, on a Redis of its own unless one is given. */
async function newStream(transport: TransportName, settings: StreamPatch = {}, given?: OwnRedis): Promise<Full> {
  const own = given ?? (await ownRedis());
  streams += 1;
  const stream = openStream(own.open(transport), PREFIX, `s${streams}`);
  await configureStream(stream, { maxMessageBytes: 1_024, ...settings }, 0);
  await configureGroup(stream, "g", FIRST, {});
  return { ...stream, own, prefix: PREFIX, ids: await produceNumbers(stream, 10) };
}

/** How much memory Redis may use: so much more than now. Not given: less than now, so that it is full. */
async function fill({ own }: Full, spareBytes?: number): Promise<void> {
  const used = Number(/used_memory:(\d+)/.exec(await own.native.info("memory"))?.[1]);
  await own.native.config("SET", "maxmemory", spareBytes === undefined ? "1" : String(used + spareBytes));
}

async function free({ own }: Full): Promise<void> {
  await own.native.config("SET", "maxmemory", "0");
}

/** In how many places each message is that the group is not done with: new, pending, aside, dead. */
async function placesOf({ own: { native }, keys, ...stream }: Full): Promise<Map<string, number>> {
  const { lastDeliveredId } = await groupInfo({ ...stream, keys }, "g", 0);
  const pending = await native.xpending(keys.stream, "g", "-", "+", 1_000);
  const held = new Set(pending.map((entry) => (Array.isArray(entry) ? String(entry[0]) : "?")));
  const due = new Set((await native.zrange(keys.againDue("g"), "0", "-1")).map((member) => member.split(" ")[0]));
  const found = [
    ...(await native.xrange(keys.stream, "-", "+")).flatMap(([id]) =>
      held.has(id) || compareIds(id, lastDeliveredId) > 0 ? id : [],
    ),
    ...Object.entries(await native.hgetall(keys.again("g"))).flatMap(([side, text]) =>
      due.has(side) ? String(JSON.parse(text).id) : [],
    ),
    ...(await native.xrange(keys.dead("g"), "-", "+")).map(([, flat]) => flat[flat.indexOf("weir-id") + 1] ?? "?"),
  ];
  const places = new Map<string, number>();
  for (const id of found) places.set(id, (places.get(id) ?? 0) + 1);
  return places;
}

/** What a promise answered, or the code of its error. */
async function outcomeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => "done",
    (error: unknown) => (error instanceof WeirError ? error.code : error),
  );
}

function reap(stream: Full, options: Partial<ReaperOptions> = {}) {
  const context = { redis: stream.redis, keyPrefix: PREFIX, consumerIdleMs: 10 ** 12 };
  return runReaper(context, { nowMs: Date.now(), everyStream: true, ...options });
}

/** Hands all out and lets `settle` have the leases. */
async function handOut(stream: Full): Promise<string[]> {
  return leasesOf((await poll(stream, "g")).messages);
}

async function rejectAll(stream: Full): Promise<void> {
  await settleSome(stream, "g", { rejects: (await handOut(stream)).map((lease) => ({ lease })) });
}

/** Everything lies in the side store, handed out of it. */
async function handOutAgain(stream: Full): Promise<string[]> {
  await settleSome(stream, "g", { retries: (await handOut(stream)).map((lease) => ({ lease, delayMs: 0 })) });
  await passTimeOfSideStore(stream.own.native, stream, "g");
  return handOut(stream);
}

/** Everything has been delivered as often as it may be, and its lease has expired. */
async function poison(stream: Full): Promise<void> {
  await configureGroup(stream, "g", undefined, { maxDeliveries: 1 });
  await handOut(stream);
  await age(stream.own.native, stream, "g");
}

/** An operation, what must be there for it, and what becomes of it in a full Redis. Each moves messages of the group. */
interface Operation {
  readonly name: string;
  readonly settings?: StreamPatch;
  prepare(stream: Full): Promise<unknown>;
  run(stream: Full, prepared: unknown): Promise<unknown>;
  readonly whenFull: "done" | "redis-full";
}

function leasesIn(prepared: unknown): string[] {
  return Array.isArray(prepared) ? prepared.map(String) : [];
}

const nothing = async () => undefined;

const OPERATIONS: readonly Operation[] = [
  {
    name: "retry",
    prepare: handOut,
    run: (stream, leases) =>
      settleSome(stream, "g", { retries: leasesIn(leases).map((lease) => ({ lease, delayMs: 0 })) }),
    whenFull: "done",
  },
  {
    name: "reject",
    prepare: handOut,
    run: (stream, leases) => settleSome(stream, "g", { rejects: leasesIn(leases).map((lease) => ({ lease })) }),
    whenFull: "done",
  },
  {
    name: "extend, retry and reject at once",
    prepare: handOut,
    run: (stream, leases) =>
      settleSome(stream, "g", {
        extends: leasesIn(leases).slice(0, 3),
        retries: leasesIn(leases)
          .slice(3, 6)
          .map((lease) => ({ lease })),
        rejects: leasesIn(leases)
          .slice(6)
          .map((lease) => ({ lease })),
      }),
    whenFull: "done",
  },
  {
    name: "a retry of what came out of the side store",
    prepare: handOutAgain,
    run: (stream, leases) =>
      settleSome(stream, "g", { retries: leasesIn(leases).map((lease) => ({ lease, delayMs: 0 })) }),
    whenFull: "done",
  },
  {
    name: "a reject of what came out of the side store",
    prepare: handOutAgain,
    run: (stream, leases) => settleSome(stream, "g", { rejects: leasesIn(leases).map((lease) => ({ lease })) }),
    whenFull: "done",
  },
  {
    name: "redrive",
    prepare: rejectAll,
    run: (stream) => redrive(stream, "g", { limit: 100 }),
    whenFull: "redis-full",
  },
  {
    name: "replay",
    prepare: nothing,
    run: (stream) => replayToGroup(stream, "g", { start: FIRST, end: LAST, limit: 100 }),
    whenFull: "redis-full",
  },
  {
    name: "a poll that meets poison",
    prepare: poison,
    run: (stream) => poll(stream, "g", { consumer: "d" }),
    whenFull: "done",
  },
  {
    name: "a claim that meets poison",
    prepare: poison,
    run: (stream) => claim(stream, "g", { consumer: "d", force: false, limit: 100 }, WAITING),
    whenFull: "done",
  },
  {
    name: "a poll that hands out again",
    async prepare(stream) {
      await handOut(stream);
      await age(stream.own.native, stream, "g");
    },
    run: (stream) => poll(stream, "g", { consumer: "d" }),
    whenFull: "done",
  },
  {
    name: "a poll of what is due in the side store",
    async prepare(stream) {
      await rejectAll(stream);
      await redrive(stream, "g", { limit: 100 });
    },
    run: (stream) => poll(stream, "g"),
    whenFull: "done",
  },
  {
    name: "a trim that copies to the dead letters",
    settings: { unfinished: "dead-letter" },
    prepare: handOut,
    run: (stream) => trimNow(stream, { maxLength: 0, exact: true }, 0),
    whenFull: "done",
  },
  {
    name: "removing a consumer",
    prepare: handOut,
    run: (stream) => removeConsumer(stream, "g", "c"),
    whenFull: "done",
  },
  {
    name: "removing a consumer with leases of the side store",
    prepare: handOutAgain,
    run: (stream) => removeConsumer(stream, "g", "c"),
    whenFull: "done",
  },
  {
    name: "a seek",
    prepare: handOut,
    run: (stream) => seek(stream, "g", LAST),
    whenFull: "done",
  },
];

describe.each(BOTH_TRANSPORTS)("over %s", (transport) => {
  const makeStream = (settings?: StreamPatch, given?: OwnRedis) => newStream(transport, settings, given);

  test.each(OPERATIONS)(
    "$name in a full Redis is $whenFull, loses nothing, and goes on after it",
    async (operation) => {
      const stream = await makeStream(operation.settings);
      const prepared = await operation.prepare(stream);
      const before = await placesOf(stream);
      await fill(stream);
      expect(await outcomeOf(operation.run(stream, prepared))).toBe(operation.whenFull);
      const after = await placesOf(stream);
      // Refused as a whole: everything is where it was. Done: everything is somewhere, once.
      if (operation.whenFull === "redis-full") expect(after).toEqual(before);
      expect([...after.entries()].sort()).toEqual(stream.ids.map((id) => [id, 1]).sort());
      await free(stream);
      if (operation.whenFull === "redis-full") expect(await outcomeOf(operation.run(stream, prepared))).toBe("done");
      expect([...(await placesOf(stream)).keys()].sort()).toEqual([...stream.ids].sort());
    },
  );

  /** Spare bytes from none to more than any of these operations takes: they decide at which write Redis would be full. */
  const LEVELS = [
    -50_000,
    -1,
    0,
    64,
    256,
    512,
    ...Array.from({ length: 24 }, (_, i) => 1_024 * (i + 1)),
    48_000,
    96_000,
  ];

  test.each(OPERATIONS)(
    "$name is done or refused as a whole at every level of memory near the limit",
    async (operation) => {
      const own = await ownRedis();
      const outcomes = new Set<unknown>();
      for (const level of LEVELS) {
        const stream = await makeStream(operation.settings, own);
        const prepared = await operation.prepare(stream);
        const before = await placesOf(stream);
        await fill(stream, level);
        const outcome = await outcomeOf(operation.run(stream, prepared));
        outcomes.add(outcome);
        await free(stream);
        const after = await placesOf(stream);
        if (outcome !== "done") expect(after, `level ${level}`).toEqual(before);
        expect(
          stream.ids.filter((id) => !after.has(id)),
          `lost at level ${level}`,
        ).toEqual([]);
        expect(Math.max(...after.values()), `level ${level}`).toBeLessThanOrEqual(operation.name === "replay" ? 2 : 1);
      }
      expect([...outcomes].sort()).toEqual(operation.whenFull === "done" ? ["done"] : ["done", "redis-full"]);
    },
  );

  test("produce is refused and nothing is written; a repeat with the same key appends once", async () => {
    const stream = await makeStream();
    const messages = Array.from({ length: 100 }, (_, i) => ({ data: String(i) }));
    await fill(stream);
    expect(await outcomeOf(produce(stream, messages))).toBe("redis-full");
    expect(await outcomeOf(produce(stream, messages, "key"))).toBe("redis-full");
    expect(await streamInfo(stream)).toMatchObject({ length: 10, lastId: stream.ids.at(-1) });
    await free(stream);
    const { ids, repeated } = await produce(stream, messages, "key");
    expect(repeated).toBe(false);
    expect((await produce(stream, messages, "key")).ids).toEqual(ids);
    expect(await streamInfo(stream)).toMatchObject({ length: 110 });
  });

  test("produce of 100 messages is done or refused as a whole at every level of memory near the limit", async () => {
    const own = await ownRedis();
    const messages = Array.from({ length: 100 }, () => ({ data: `"${"x".repeat(500)}"` }));
    const outcomes = new Set<unknown>();
    for (const level of LEVELS) {
      const stream = await makeStream({}, own);
      await fill(stream, level);
      const outcome = await outcomeOf(produce(stream, messages, "key"));
      outcomes.add(outcome);
      await free(stream);
      expect(await streamInfo(stream), `level ${level}`).toMatchObject({ length: outcome === "done" ? 110 : 10 });
      expect((await produce(stream, messages, "key")).repeated, `level ${level}`).toBe(outcome === "done");
    }
    expect([...outcomes].sort()).toEqual(["done", "redis-full"]);
  });

  test("produce to a stream with maxLength takes the place of what is done with, and nothing a group needs", async () => {
    const stream = await makeStream({ maxLength: 10 });
    await fill(stream);
    expect(await outcomeOf(produce(stream, [{ data: "1" }]))).toBe("stream-full");
    const leases = await handOut(stream);
    expect(await settleSome(stream, "g", { acks: leases.slice(0, 5) })).toMatchObject({ acked: 5 });
    expect(await outcomeOf(produce(stream, [{ data: "1" }]))).toBe("done");
    expect([...(await placesOf(stream)).keys()].sort().slice(0, 5)).toEqual(stream.ids.slice(5));
    expect((await streamInfo(stream)).length).toBeLessThanOrEqual(10);
  });

  test("acknowledgements work, also beside poison that is moved", async () => {
    const stream = await makeStream();
    const [a = "", b = "", ...rest] = await handOut(stream);
    await poisonRest(stream, rest);
    await fill(stream);
    expect(await settleSome(stream, "g", { acks: [a] })).toMatchObject({ acked: 1 });
    expect(await outcomeOf(poll(stream, "g", { acks: [b], consumer: "d" }))).toBe("done");
    expect([...(await placesOf(stream)).keys()].sort()).toEqual(stream.ids.slice(2));
  });

  /** Ages what was handed out until it has no delivery left. */
  async function poisonRest(stream: Full, leases: readonly string[]): Promise<void> {
    expect(leases.length).toBeGreaterThan(0);
    await configureGroup(stream, "g", undefined, { maxDeliveries: 1 });
    await age(stream.own.native, stream, "g");
  }

  test("new messages are handed out and acknowledged, by polls of either kind", async () => {
    const stream = await makeStream();
    const cache = new SettingsCache();
    await fill(stream);
    const seen: string[] = [];
    let state: { pollState?: string } = {};
    let acks: string[] = [];
    for (let i = 0; i < 8; i++) {
      const { messages, pollState } = await poll(stream, "g", { batchSize: 2, acks, ...state }, cache);
      seen.push(...messages.map(({ id }) => id));
      acks = leasesOf(messages);
      state = { pollState };
    }
    expect(seen).toEqual(stream.ids);
    expect([...(await placesOf(stream)).keys()]).toEqual([]);
  });

  test("a poll of a group that another client made is done or redis-full, never Weir's own fault", async () => {
    const stream = await makeStream();
    await stream.own.native.xgroup("CREATE", stream.keys.stream, "native", "0");
    // As before Weir first looked at the stream: only where a script may ask for the time it goes on.
    await stream.own.native.del(stream.keys.clock);
    await fill(stream);
    const polled = poll(stream, "native");
    expect(["done", "redis-full"]).toContain(await outcomeOf(polled));
    const first = await polled.catch(() => ({ messages: [] }));
    await free(stream);
    const then = await poll(stream, "native");
    expect([...first.messages, ...then.messages]).toHaveLength(10);
  });

  test("dead letters and groups can be deleted, so that memory is freed", async () => {
    const stream = await makeStream();
    await rejectAll(stream);
    await configureGroup(stream, "other", FIRST, {});
    await fill(stream);
    expect(await deleteDeadLetters(stream, "g", { belowId: "9999999999999-0" })).toMatchObject({ count: 10 });
    await deleteGroup(stream, "other");
    expect(await streamInfo(stream)).toMatchObject({ groups: 1 });
  });

  test("the reaper in a full Redis does its work, and reports what was refused instead of dying", async () => {
    const stream = await makeStream();
    await poison(stream);
    await fill(stream);
    const report = await reap(stream);
    expect(report).toMatchObject({ complete: true, groups: [{ deadLettered: 10 }] });
    expect(report.errors).toContainEqual({ stream: null, code: "redis-full" });
  });

  test("the reaper in a full Redis frees what is done with, and loses nothing", async () => {
    const stream = await makeStream({ deleteAcknowledged: 1 });
    const acks = (await handOut(stream)).slice(0, 4);
    await settleSome(stream, "g", { acks });
    await poisonRest(stream, acks);
    await fill(stream);
    // Trimming comes before sweeping: what that has done with goes with the next run.
    for (let i = 0; i < 2; i++) await outcomeOf(reap(stream));
    expect(await streamInfo(stream)).toMatchObject({ length: 0 });
    expect([...(await placesOf(stream)).keys()].sort()).toEqual(stream.ids.slice(4));
    await free(stream);
    expect(await reap(stream)).toMatchObject({ errors: [], complete: true });
    expect([...(await placesOf(stream)).keys()].sort()).toEqual(stream.ids.slice(4));
  });

  test("the reaper in a full Redis trims the streams behind the first 250 too: they may be what fills it", async () => {
    const own = await ownRedis();
    for (let i = 0; i < 250; i++) await makeStream({}, own);
    const last = await makeStream({ deleteAcknowledged: 1 }, own);
    await own.native.zadd(`${PREFIX}streams`, 1, last.name);
    await settleSome(last, "g", { acks: await handOut(last) });
    await fill(last);
    await outcomeOf(reap(last));
    expect(await streamInfo(last)).toMatchObject({ length: 0 });
  });

  test("a poll in a full Redis hands out new messages while another consumer has 250 in hand", async () => {
    const stream = await makeStream();
    await produceNumbers(stream, 300);
    await poll(stream, "g", { consumer: "other", batchSize: 250 });
    await fill(stream);
    expect((await poll(stream, "g", { batchSize: 10 })).messages).toHaveLength(10);
  });

  test("a poll in a full Redis hands out new messages beside a message without another delivery", async () => {
    const stream = await makeStream();
    await configureGroup(stream, "g", undefined, { maxDeliveries: 1 });
    await poll(stream, "g", { consumer: "dead", batchSize: 1 });
    await age(stream.own.native, stream, "g");
    await fill(stream);
    expect((await poll(stream, "g", { batchSize: 10 })).messages.length).toBeGreaterThan(0);
  });

  test("the reaper in a full Redis gets past a group with more pending than one step looks at", async () => {
    const own = await ownRedis();
    const busy = await makeStream({}, own);
    for (let i = 0; i < 2; i++) await produceNumbers(busy, 1_000);
    await own.native.xreadgroup("GROUP", "g", "busy", "COUNT", 1_900, "STREAMS", busy.keys.stream, ">");
    const other = await makeStream({ deleteAcknowledged: 1 }, own);
    await settleSome(other, "g", { acks: await handOut(other) });
    await fill(other);
    expect(await reap(other)).toMatchObject({ complete: true });
    expect(await streamInfo(other)).toMatchObject({ length: 0 });
  });
});
