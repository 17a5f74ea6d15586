import { describe, expect, test } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { listAlerts } from "../../shared/reaper/alerts.ts";
import type { Connection } from "../../shared/redis/connection.ts";
import { ConnectionError } from "../../shared/redis/connection.ts";
import { Redis } from "../../shared/redis/redis.ts";
import { streamInfo } from "../../shared/stream/inspect.ts";
import { configureStream } from "../../shared/stream/manage.ts";
import { produce } from "../../shared/stream/produce.ts";
import { noteVisits } from "../../shared/stream/registry.ts";
import { listScheduled } from "../../shared/stream/scheduled.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { nativeClient, openRedis, TRANSPORTS } from "../support/redis.ts";
import {
  leasesOf,
  makeStream,
  passTimeOfScheduled,
  poll,
  produceNumbers,
  settleSome,
  type TestStream,
} from "../support/streams.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;

function contextOf(stream: TestStream, redis = stream.redis) {
  return { redis, keyPrefix: stream.prefix, consumerIdleMs: 10 ** 12 };
}

function schedule(stream: Parameters<typeof produce>[0], count: number, delayMs = HOUR_MS) {
  return produce(
    stream,
    Array.from({ length: count }, (_, i) => ({ data: String(i), schedule: { delayMs } })),
  );
}

async function visitAt(stream: TestStream): Promise<number> {
  return Number(await nativeClient().zscore(stream.registry, stream.name));
}

async function dataOf(stream: TestStream): Promise<string[]> {
  return (await nativeClient().xrange(stream.keys.stream, "-", "+")).map(([, fields]) => fields[1] ?? "");
}

const run = (stream: TestStream, nowMs = Date.now(), redis = stream.redis) =>
  runReaper(contextOf(stream, redis), { nowMs, everyStream: false });

describe("a stream that is quiet", () => {
  /** A stream that the reaper visits every 15 minutes. */
  async function makeQuiet() {
    const stream = await makeStream(["g"]);
    await run(stream, Date.now() + 24 * HOUR_MS);
    const nowMs = Date.now();
    await nativeClient().zadd(stream.registry, nowMs + 15 * MINUTE_MS, stream.name);
    return { stream, nowMs };
  }

  test("is visited when a scheduled message is due, and not before", async () => {
    const { stream, nowMs } = await makeQuiet();
    await schedule(stream, 1, 5 * MINUTE_MS);
    expect(Math.abs((await visitAt(stream)) - (nowMs + 5 * MINUTE_MS))).toBeLessThan(1_000);
    expect(await run(stream, nowMs + 4 * MINUTE_MS)).toMatchObject({ streams: [] });
    await passTimeOfScheduled(nativeClient(), stream, 5 * MINUTE_MS);
    expect(await run(stream, nowMs + 5 * MINUTE_MS + 1_000)).toMatchObject({ streams: [{ promoted: 1 }] });
    expect(await dataOf(stream)).toEqual(["0"]);
  });

  test("whose next message is due later than its next visit is visited then", async () => {
    const { stream, nowMs } = await makeQuiet();
    await schedule(stream, 1, 20 * MINUTE_MS);
    expect(await visitAt(stream)).toBeLessThan(nowMs + 15 * MINUTE_MS + 1_000);
    const visitMs = nowMs + 15 * MINUTE_MS + 1_000;
    await run(stream, visitMs);
    expect(Math.abs((await visitAt(stream)) - (nowMs + 20 * MINUTE_MS))).toBeLessThan(1_000);
  });

  test("costs nothing more for what is scheduled in two days, and nothing once that is gone", async () => {
    const { stream, nowMs } = await makeQuiet();
    const costOf = async (atMs: number) => {
      const before = stream.redis.usage.commands;
      await runReaper(contextOf(stream), { nowMs: atMs, everyStream: true });
      return stream.redis.usage.commands - before;
    };
    const day = nowMs + 24 * HOUR_MS;
    const without = await costOf(day);
    await schedule(stream, 10, 48 * HOUR_MS);
    expect(await costOf(day)).toBe(without);
    await passTimeOfScheduled(nativeClient(), stream, 49 * HOUR_MS);
    await costOf(day);
    await costOf(day + MINUTE_MS);
    expect(await streamInfo(stream)).toMatchObject({ length: 10, scheduled: 0 });
  });
});

describe("a run that has seen a stream before something was scheduled there", () => {
  /** Does something just before the run's last round trips: it notes the visits. */
  class MeddledConnection implements Connection {
    readonly #inner = TRANSPORTS.tcp();
    readonly #meddle: () => Promise<unknown>;

    constructor(meddle: () => Promise<unknown>) {
      this.#meddle = meddle;
    }

    async run(...args: Parameters<Connection["run"]>) {
      const [commands] = args;
      const isNoting = commands.some((command) => command.includes(this.noted));
      if (isNoting) await this.#meddle();
      return this.#inner.run(...args);
    }

    noted = "";

    close() {
      return this.#inner.close();
    }
  }

  test.each([0, 5 * MINUTE_MS])("does not put its visit off (it was due %s ms ago)", async (agoMs) => {
    const stream = await makeStream(["g"]);
    const later = Date.now() + 24 * HOUR_MS;
    await nativeClient().zadd(stream.registry, later - agoMs, stream.name);
    let meddled = 0;
    const connection = new MeddledConnection(async () => {
      meddled += 1;
      // Due soon after the run's time.
      if (meddled === 1) await schedule(stream, 1, later + 2 * MINUTE_MS - Date.now());
    });
    const { noteVisitsScript } = await import("../../shared/scripts/note-visits.lua.ts");
    connection.noted = noteVisitsScript.sha1;
    await run(stream, later, new Redis(connection));
    await connection.close();
    expect(meddled).toBeGreaterThan(0);
    expect(await visitAt(stream)).toBeLessThan(later + 2 * MINUTE_MS + 1_000);
  });

  test("notes of two runs at once leave the sooner one, and bring back no name that is gone", async () => {
    const stream = await makeStream([]);
    const native = nativeClient();
    await native.zadd(stream.registry, 100, stream.name);
    const visit = { name: stream.name, seenMs: "100" };
    await noteVisits(stream.redis, stream.prefix, [{ ...visit, atMs: 900 }], 0);
    await noteVisits(
      stream.redis,
      stream.prefix,
      [
        { ...visit, atMs: 1_500 },
        { name: "gone", seenMs: "100", atMs: 5 },
      ],
      0,
    );
    expect(await native.zrange(stream.registry, "0", "-1", "WITHSCORES")).toEqual([stream.name, "900"]);
    await noteVisits(stream.redis, stream.prefix, [{ ...visit, atMs: 700 }], 0);
    expect(await visitAt(stream)).toBe(700);
  });
});

describe("what is scheduled where another client has deleted the note of it", () => {
  test.each([
    ["all settings", (stream: TestStream) => nativeClient().del(stream.keys.config)],
    ["when the first is due", (stream: TestStream) => nativeClient().hdel(stream.keys.config, "laterDue")],
    ["all settings and the list", (stream: TestStream) => nativeClient().del(stream.keys.config, stream.keys.later)],
    [
      "when the first is due, and the list",
      async (stream: TestStream) => {
        await nativeClient().hdel(stream.keys.config, "laterDue");
        await nativeClient().del(stream.keys.later);
      },
    ],
  ])("(%s) is found again by the reaper, and appended when it is due", async (_, remove) => {
    const stream = await makeStream(["g"]);
    const native = nativeClient();
    await schedule(stream, 3, 10 * MINUTE_MS);
    await remove(stream);
    await run(stream, Date.now() + HOUR_MS);
    expect(await streamInfo(stream)).toMatchObject({ scheduled: 3, length: 0 });
    await passTimeOfScheduled(native, stream, 10 * MINUTE_MS);
    const report = await run(stream, Date.now() + HOUR_MS + MINUTE_MS);
    expect(report).toMatchObject({ errors: [], streams: [{ promoted: 3 }] });
    expect(await dataOf(stream)).toEqual(["0", "1", "2"]);
  });

  test("a note of what is not there is taken back", async () => {
    const stream = await makeStream(["g"]);
    const native = nativeClient();
    await native.hset(stream.keys.config, "scheduled", 5);
    await run(stream, Date.now() + HOUR_MS);
    expect(await native.hexists(stream.keys.config, "scheduled")).toBe(0);
  });
});

describe("a produce", () => {
  test("into a stream that the registry lacks has it visited", async () => {
    const stream = await makeStream(["g"]);
    const native = nativeClient();
    await native.zrem(stream.registry, stream.name);
    await schedule(stream, 1, 5 * MINUTE_MS);
    expect(await native.zscore(stream.registry, stream.name)).not.toBeNull();
    await passTimeOfScheduled(native, stream, 5 * MINUTE_MS);
    expect(await run(stream, Date.now() + 1_000)).toMatchObject({ streams: [{ promoted: 1 }] });
  });

  test("of a Worker whose clock is ahead has the stream visited in time, for a round trip more", async () => {
    for (const [aheadMs, roundTrips] of [
      [10 * MINUTE_MS, 2],
      [0, 1],
    ] as const) {
      const stream = await makeStream(["g"]);
      const nowMs = Date.now();
      await nativeClient().zadd(stream.registry, nowMs + 15 * MINUTE_MS, stream.name);
      const messages = [{ data: "1", schedule: { delayMs: 2 * MINUTE_MS } }];
      const before = stream.redis.usage.roundTrips;
      await produce(stream, messages, undefined, undefined, nowMs + aheadMs);
      expect(stream.redis.usage.roundTrips - before).toBe(roundTrips);
      expect(Math.abs((await visitAt(stream)) - (nowMs + 2 * MINUTE_MS))).toBeLessThan(2_000);
    }
  });
});

describe("promotion", () => {
  test("killed between any two round trips, or met by another run, appends each message once", async () => {
    for (const runsLast of [true, false]) {
      for (let roundTrips = 0; roundTrips < 30; roundTrips++) {
        const stream = await makeStream(["g"]);
        for (let i = 0; i < 3; i++) await schedule(stream, 1_000);
        await passTimeOfScheduled(nativeClient(), stream, HOUR_MS);
        const inner = TRANSPORTS.tcp();
        let left = roundTrips;
        const dying: Connection = {
          async run(...args) {
            left -= 1;
            if (left >= 0) return inner.run(...args);
            if (left === -1 && runsLast) await inner.run(...args);
            throw new ConnectionError("killed", { maybeRan: runsLast });
          },
          close: () => inner.close(),
        };
        const died = await runReaper(contextOf(stream, new Redis(dying)), {
          nowMs: Date.now(),
          everyStream: true,
        }).then(
          () => false,
          () => true,
        );
        await dying.close();
        const others = [openRedis(), openRedis()];
        await Promise.all(
          others.map((redis) => runReaper(contextOf(stream, redis), { nowMs: Date.now(), everyStream: true })),
        );
        const expected = Array.from({ length: 3_000 }, (_, i) => String(i % 1_000));
        expect(await dataOf(stream)).toEqual(expected);
        expect(await streamInfo(stream)).toMatchObject({ scheduled: 0 });
        if (!died) {
          expect(roundTrips).toBeGreaterThan(4);
          break;
        }
      }
    }
  });

  test("of one stream with much that is due leaves the others their turn, and ends over several runs", async () => {
    const stream = await makeStream(["g"]);
    for (let i = 0; i < 60; i++) await schedule(stream, 1_000);
    const other = openStream(stream.redis, stream.prefix, "other");
    await configureStream(other, { maxLength: 5 }, Date.now());
    await produceNumbers(other, 4);
    await schedule(other, 3);
    for (const one of [stream, other]) await passTimeOfScheduled(nativeClient(), one, HOUR_MS);
    const max = { roundTrips: 6, durationMs: 60_000 };
    const first = await runReaper(contextOf(stream), { nowMs: Date.now(), everyStream: true, max });
    expect(first).toMatchObject({ complete: false, backlog: 1, errors: [] });
    expect(first.streams).toContainEqual(expect.objectContaining({ stream: "other", promoted: 3 }));
    let runs = 1;
    for (let complete = false; !complete && runs < 20; runs++) {
      ({ complete } = await runReaper(contextOf(stream), { nowMs: Date.now(), everyStream: true, max }));
    }
    expect(await nativeClient().xlen(stream.keys.stream)).toBe(60_000);
    expect(runs).toBeLessThanOrEqual(6);
  });

  test("that waits for room fires an alert, which ends once there was room", async () => {
    const stream = await makeStream(["g"], { settings: { maxLength: 3 } });
    await produceNumbers(stream, 3);
    await schedule(stream, 2);
    await passTimeOfScheduled(nativeClient(), stream, HOUR_MS + 5 * MINUTE_MS);
    const list = () => listAlerts(stream.redis, stream.prefix, { nowMs: Date.now(), reaperLateMs: 10 ** 9 });
    expect(await run(stream)).toMatchObject({ complete: true, errors: [] });
    const [alert] = await list();
    expect(alert).toMatchObject({
      stream: stream.name,
      group: null,
      metric: "scheduledLateMs",
      threshold: 2 * MINUTE_MS,
    });
    expect(alert?.value).toBeGreaterThanOrEqual(5 * MINUTE_MS);
    await settleSome(stream, "g", { acks: leasesOf((await poll(stream, "g", { batchSize: 2 })).messages) });
    await run(stream, Date.now() + 1);
    expect(await streamInfo(stream)).toMatchObject({ length: 3, scheduled: 0 });
    expect(await list()).toEqual([]);
  });

  test("that cannot be done fires the alert all the same, and keeps it", async () => {
    const stream = await makeStream([]);
    const native = nativeClient();
    await schedule(stream, 2);
    await passTimeOfScheduled(native, stream, HOUR_MS + 5 * MINUTE_MS);
    await native.rename(stream.keys.laterSizes, `${stream.prefix}kept`);
    await native.set(stream.keys.laterSizes, "another client's");
    const list = () => listAlerts(stream.redis, stream.prefix, { nowMs: Date.now(), reaperLateMs: 10 ** 9 });
    for (let i = 0; i < 3; i++) {
      expect((await run(stream, Date.now() + i)).errors).toEqual([{ stream: stream.name, code: "conflict" }]);
      expect(await list()).toMatchObject([{ stream: stream.name, metric: "scheduledLateMs" }]);
    }
    await native.rename(`${stream.prefix}kept`, stream.keys.laterSizes);
    expect(await run(stream, Date.now() + 5)).toMatchObject({ errors: [], streams: [{ promoted: 2 }] });
    expect(await list()).toEqual([]);
  });

  test("of what another client has broken is told in the report, and stops nothing else", async () => {
    const stream = await makeStream([]);
    const native = nativeClient();
    await schedule(stream, 2);
    const [bucket = ""] = await native.zrange(stream.keys.later, "0", "-1");
    await native.del(stream.keys.laterMessages(bucket));
    await passTimeOfScheduled(native, stream, HOUR_MS);
    const report = await run(stream);
    expect(report.errors).toEqual([{ stream: stream.name, code: "conflict" }]);
    expect(await streamInfo(stream)).toMatchObject({ scheduled: 0 });
  });
});

test("100,000 scheduled messages: no plain request costs more, none holds Redis up, and they are appended in a few runs", async () => {
  const stream = await makeStream(["g"]);
  const native = nativeClient();
  const data = JSON.stringify("x".repeat(200));
  for (let i = 0; i < 100; i++) {
    const messages = Array.from({ length: 1_000 }, (_, j) => ({
      data,
      schedule: { delayMs: HOUR_MS + ((i * 1_000 + j) % 50) * 12 * MINUTE_MS },
    }));
    await produce(stream, messages);
  }
  expect(await streamInfo(stream)).toMatchObject({ scheduled: 100_000 });
  const page = await listScheduled(stream, { limit: 1_000 });
  expect(page.items).toHaveLength(1_000);
  const before = { ...stream.redis.usage };
  await produce(stream, [{ data }], undefined, undefined);
  expect(stream.redis.usage.roundTrips - before.roundTrips).toBe(1);
  await passTimeOfScheduled(native, stream, 24 * HOUR_MS);
  const started = performance.now();
  let runs = 0;
  for (let complete = false; !complete && runs < 10; runs++) {
    ({ complete } = await runReaper(contextOf(stream), { nowMs: Date.now(), everyStream: true }));
  }
  console.log(`100,000 appended in ${Math.round(performance.now() - started)} ms, ${runs} runs`);
  expect(await streamInfo(stream)).toMatchObject({ scheduled: 0, length: 100_001 });
  expect(runs).toBeLessThanOrEqual(2);
});
