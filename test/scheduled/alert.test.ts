import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { JobContext } from "../../scheduled/context.ts";
import { runReaper } from "../../scheduled/reaper.ts";
import { alertsKey, registryKey } from "../../shared/keys.ts";
import { listAlerts, noteCompleteCall } from "../../shared/reaper/alerts.ts";
import { Redis } from "../../shared/redis/redis.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, deleteGroup, deleteStream, type GroupPatch } from "../../shared/stream/manage.ts";
import { type Receiver, startReceiver } from "../support/receiver.ts";
import { nativeClient, openRedis, TRANSPORTS } from "../support/redis.ts";
import { age, leasesOf, makeStream, poll, produceNumbers, settleSome, type TestStream } from "../support/streams.ts";

const MINUTE_MS = 60_000;
const REAPER_LATE_MS = 10 * MINUTE_MS;
const START_MS = Date.now();

let receiver: Receiver;

beforeEach(async () => {
  receiver = await startReceiver();
  onTestFinished(() => receiver.close());
});

/** A stream with a watched group, and runs of the reaper on it. */
async function watchedStream(patch: GroupPatch) {
  const stream = await makeStream(["g", "unwatched"]);
  await configureGroup(stream, "g", undefined, patch);
  return { stream, ...runsOf(stream) };
}

function runsOf(stream: TestStream) {
  const base = { redis: stream.redis, keyPrefix: stream.prefix, consumerIdleMs: 10 ** 12 };
  const context: JobContext = { ...base, alerts: { webhook: receiver.webhook, reaperLateMs: REAPER_LATE_MS } };
  const silent: JobContext = { ...base, alerts: { reaperLateMs: REAPER_LATE_MS } };
  return {
    context,
    silent,
    /** One run, so many minutes after the start. */
    run: (minute: number, by = context) => runReaper(by, { nowMs: START_MS + minute * MINUTE_MS, everyStream: true }),
    list: (minute: number) =>
      listAlerts(stream.redis, stream.prefix, { nowMs: START_MS + minute * MINUTE_MS, reaperLateMs: REAPER_LATE_MS }),
  };
}

function toldTypes(): string[] {
  return receiver.told.map(({ type }) => type);
}

async function consumeAll(stream: TestStream): Promise<string[]> {
  return leasesOf((await poll(stream, "g", { batchSize: 1_000 })).messages);
}

test("crossing a threshold is told once, signed, and recovering once; in between it is listed", async () => {
  const { stream, run, list } = await watchedStream({ alertLag: 2 });
  await produceNumbers(stream, 2);
  await run(0);
  expect(receiver.told).toEqual([]);
  expect(await list(0)).toEqual([]);

  await produceNumbers(stream, 1);
  for (const minute of [1, 2, 3]) await run(minute);
  const since = START_MS + MINUTE_MS;
  const data = { stream: stream.name, group: "g", metric: "lag", threshold: 2, since };
  expect(receiver.told).toEqual([
    {
      id: expect.stringMatching(/^msg_[0-9a-f-]{36}_firing$/),
      type: "alert.firing",
      timestamp: new Date(since).toISOString(),
      data: { ...data, value: 3 },
    },
  ]);
  expect(await list(3)).toEqual([{ ...data, value: 3, notified: true }]);

  await consumeAll(stream);
  for (const minute of [4, 5]) await run(minute);
  expect(receiver.told.slice(1)).toEqual([
    {
      id: receiver.told[0]?.id.replace("firing", "recovered"),
      type: "alert.recovered",
      timestamp: new Date(START_MS + 4 * MINUTE_MS).toISOString(),
      data: { ...data, value: 0 },
    },
  ]);
  expect(await list(5)).toEqual([]);
  expect(await nativeClient().hkeys(alertsKey(stream.prefix))).toEqual(["lastCompleteAt"]);
});

test("the list shows the last figure and threshold, of a change that is no crossing too", async () => {
  const { stream, run, list } = await watchedStream({ alertLag: 2 });
  await produceNumbers(stream, 3);
  await run(0);
  await produceNumbers(stream, 7);
  await configureGroup(stream, "g", undefined, { alertLag: 5 });
  await run(1);
  expect(await list(1)).toMatchObject([{ value: 10, threshold: 5, since: START_MS, notified: true }]);
  expect(toldTypes()).toEqual(["alert.firing"]);
});

test("flapping is told at each change, and each crossing is another alert", async () => {
  const { stream, run } = await watchedStream({ alertLag: 0 });
  for (const minute of [0, 2, 4]) {
    await produceNumbers(stream, 1);
    await run(minute);
    await consumeAll(stream);
    await run(minute + 1);
  }
  expect(toldTypes()).toEqual(Array(3).fill(["alert.firing", "alert.recovered"]).flat());
  expect(new Set(receiver.told.map(({ id }) => id)).size).toBe(6);
});

describe("each metric", () => {
  test("pending: what was handed out, retried messages that were handed out again included", async () => {
    const { stream, run, list } = await watchedStream({ alertPending: 1 });
    await produceNumbers(stream, 2);
    const [again = "", stays = ""] = await consumeAll(stream);
    await settleSome(stream, "g", { retries: [{ lease: again, delayMs: 0 }] });
    await run(0);
    expect(await list(0)).toEqual([]);
    await poll(stream, "g");
    expect(await groupInfo(stream, "g", Date.now())).toMatchObject({ pending: 2 });
    await run(1);
    expect(await list(1)).toMatchObject([{ metric: "pending", value: 2, threshold: 1 }]);
    await settleSome(stream, "g", { acks: [stays] });
    await run(2);
    expect(await list(2)).toEqual([]);
  });

  test("oldestPendingMs: by the age of the message", async () => {
    const { stream, run, list } = await watchedStream({ alertOldestPendingMs: 5 * MINUTE_MS });
    const [id = ""] = await produceNumbers(stream, 1);
    const leases = await consumeAll(stream);
    await run(4);
    expect(await list(4)).toEqual([]);
    await run(6);
    const value = START_MS + 6 * MINUTE_MS - Number(id.split("-")[0]);
    expect(await list(6)).toMatchObject([{ metric: "oldestPendingMs", value }]);
    await settleSome(stream, "g", { acks: leases });
    await run(7);
    expect(await list(7)).toEqual([]);
    expect(receiver.told.at(-1)).toMatchObject({ type: "alert.recovered", data: { value: 0 } });
  });

  test("deadLetters: with 0 any fires", async () => {
    const { stream, run, list } = await watchedStream({ alertDeadLetters: 0 });
    await run(0);
    await produceNumbers(stream, 1);
    await settleSome(stream, "g", { rejects: (await consumeAll(stream)).map((lease) => ({ lease })) });
    await run(1);
    expect(await list(1)).toMatchObject([{ metric: "deadLetters", value: 1, threshold: 0 }]);
  });

  test("lag: estimated where Redis does not know it, and left as it is where that is not possible either", async () => {
    const { stream, run, list } = await watchedStream({ alertLag: 4 });
    const native = nativeClient();
    for (let i = 1; i <= 10; i++) await native.xadd(stream.keys.stream, `${i}000-0`, "data", "1");
    await poll(stream, "g", { batchSize: 5 });
    await native.xdel(stream.keys.stream, "8000-0");
    await run(0);
    expect(await list(0)).toMatchObject([{ metric: "lag", value: 5 }]);
  });
});

test("a group without thresholds costs nothing, nor does one whose figures the survey has", async () => {
  const costs: number[] = [];
  for (const patch of [{}, { alertLag: 10, alertPending: 10 }, { alertDeadLetters: 10 }]) {
    const { run } = await watchedStream(patch);
    await run(0);
    costs.push((await run(1)).redisCommands);
  }
  const [unwatched = 0] = costs;
  expect(costs).toEqual([unwatched, unwatched, unwatched + 1]);
});

describe("a receiver that fails", () => {
  test.each([500, 429, 302, "hang up", "never answer"] as const)(
    "(%s) is told again by the next run, the same message",
    async (how) => {
      const { stream, run, list } = await watchedStream({ alertLag: 0 });
      await produceNumbers(stream, 1);
      receiver.answer = how;
      await run(0);
      expect(toldTypes()).toEqual(["alert.firing"]);
      expect(await list(0)).toMatchObject([{ notified: false }]);
      receiver.answer = 200;
      for (const minute of [1, 2]) await run(minute);
      expect(toldTypes()).toEqual(["alert.firing", "alert.firing"]);
      const [first, second] = receiver.told;
      expect(second).toEqual(first);
      expect(await list(2)).toMatchObject([{ notified: true, since: START_MS }]);
    },
  );

  test("is told of what was over before it was back: first that it fired, then that it recovered", async () => {
    const { stream, run, list } = await watchedStream({ alertLag: 0 });
    receiver.answer = 503;
    await produceNumbers(stream, 1);
    await run(0);
    await consumeAll(stream);
    await run(1);
    expect(await list(1)).toEqual([]);
    receiver.told.length = 0;
    receiver.answer = 200;
    for (const minute of [2, 3, 4]) await run(minute);
    expect(receiver.told.map(({ type, timestamp }) => [type, Date.parse(timestamp)])).toEqual([
      ["alert.firing", START_MS],
      ["alert.recovered", START_MS + MINUTE_MS],
    ]);
  });

  test("and misses a recovery is told of the next crossing as of a new one", async () => {
    const { stream, run } = await watchedStream({ alertLag: 0 });
    await produceNumbers(stream, 1);
    await run(0);
    receiver.answer = 503;
    await consumeAll(stream);
    await run(1);
    receiver.answer = 200;
    await produceNumbers(stream, 1);
    await run(2);
    const [first, , last] = receiver.told;
    expect(toldTypes()).toEqual(["alert.firing", "alert.recovered", "alert.firing"]);
    expect(last?.data.since).toBe(START_MS + 2 * MINUTE_MS);
    expect(last?.id).not.toBe(first?.id);
  });
});

test("two runs at once tell a change once, and a retry too", async () => {
  for (let round = 0; round < 10; round++) {
    receiver.told.length = 0;
    receiver.answer = 200;
    const { stream, context, run } = await watchedStream({ alertLag: 0 });
    const runsAtOnce = (minute: number) =>
      Promise.all(
        [1, 2, 3].map(() => {
          const connection = TRANSPORTS.tcp();
          return run(minute, { ...context, redis: new Redis(connection) }).finally(() => connection.close());
        }),
      );
    await produceNumbers(stream, 1);
    await runsAtOnce(0);
    expect(toldTypes()).toEqual(["alert.firing"]);
    receiver.answer = 500;
    await consumeAll(stream);
    await run(1);
    receiver.answer = 200;
    await runsAtOnce(2);
    expect(toldTypes()).toEqual(["alert.firing", "alert.recovered", "alert.recovered"]);
    await runsAtOnce(3);
    expect(receiver.told).toHaveLength(3);
  }
});

test("a run that dies while it posts holds the alert for a minute; nobody tells it meanwhile", async () => {
  const { stream, run } = await watchedStream({ alertLag: 0 });
  const native = nativeClient();
  const key = alertsKey(stream.prefix);
  const field = JSON.stringify([stream.name, "g", "lag"]);
  await produceNumbers(stream, 1);
  receiver.answer = 500;
  await run(0);
  const record = JSON.parse((await native.hget(key, field)) ?? "");
  receiver.answer = 200;
  receiver.told.length = 0;
  await native.hset(key, field, JSON.stringify({ ...record, claimedUntilMs: Date.now() + MINUTE_MS }));
  await run(1);
  expect(receiver.told).toEqual([]);
  await native.hset(key, field, JSON.stringify({ ...record, claimedUntilMs: Date.now() - 1 }));
  await run(2);
  expect(toldTypes()).toEqual(["alert.firing"]);
});

test("without a webhook alerts are only listed; one that is set later is told what fires still", async () => {
  const { stream, run, list, silent } = await watchedStream({ alertLag: 0 });
  await produceNumbers(stream, 1);
  await run(0, silent);
  expect(await list(0)).toMatchObject([{ metric: "lag", notified: false }]);
  await run(1);
  expect(toldTypes()).toEqual(["alert.firing"]);
  expect(await list(1)).toMatchObject([{ since: START_MS, notified: true }]);
  await consumeAll(stream);
  await run(2, silent);
  expect(await list(2)).toEqual([]);
  expect(await nativeClient().hkeys(alertsKey(stream.prefix))).toEqual(["lastCompleteAt"]);
});

test("more alerts than one run posts are told by the next ones", async () => {
  const { stream, context, run: runBy } = await watchedStream({});
  const run = (minute: number) => runBy(minute, { ...context, redis: openRedis() });
  for (let i = 0; i < 30; i++) await configureGroup(stream, `g${i}`, { kind: "first" }, { alertLag: 0 });
  await produceNumbers(stream, 1);
  await run(0);
  expect(receiver.told).toHaveLength(20);
  await run(1);
  await run(2);
  expect(new Set(receiver.told.map(({ data }) => data.group)).size).toBe(30);
  expect(receiver.told).toHaveLength(30);
});

describe("what is not there any more ends its alert, at once in the list and with a message from the next run", () => {
  const endings: Record<string, (stream: TestStream) => Promise<unknown>> = {
    "the threshold": (stream) => configureGroup(stream, "g", undefined, { alertLag: null }),
    "the group": (stream) => deleteGroup(stream, "g"),
    "the stream": (stream) => deleteStream(stream),
  };
  test.each(Object.keys(endings))("%s", async (what) => {
    const { stream, run, list } = await watchedStream({ alertLag: 0 });
    await produceNumbers(stream, 1);
    await run(0);
    expect(await list(0)).toHaveLength(1);
    await endings[what]?.(stream);
    expect(await list(0)).toEqual([]);
    for (const minute of [1, 2]) await run(minute);
    expect(toldTypes()).toEqual(["alert.firing", "alert.recovered"]);
    expect(receiver.told[1]?.data).toMatchObject({ stream: stream.name, group: "g", metric: "lag", value: null });
    expect(await nativeClient().hkeys(alertsKey(stream.prefix))).toEqual(["lastCompleteAt"]);
  });
});

test("a stream whose alert fires is visited by every run, and one with thresholds at least every 5 minutes", async () => {
  const { stream, run } = await watchedStream({ alertLag: 0 });
  const native = nativeClient();
  const waitsUntil = async () => Number(await native.zscore(registryKey(stream.prefix), stream.name));
  const later = 24 * 60;
  const at = (minute: number) => START_MS + minute * MINUTE_MS;
  await run(later);
  expect(await waitsUntil()).toBe(at(later + 5));
  await produceNumbers(stream, 1);
  await run(later + 5);
  expect(await waitsUntil()).toBe(at(later + 5));
  await configureGroup(stream, "g", undefined, { alertLag: null });
  await run(later + 6);
  expect(await waitsUntil()).toBe(at(later + 6 + 15));
});

describe("the reaper itself", () => {
  test("is late after 10 minutes without a complete run: listed meanwhile, told by the next run", async () => {
    const { run, list } = await watchedStream({});
    await run(0);
    expect(await list(10)).toEqual([]);
    const about = { stream: null, group: null, metric: "reaperLateMs", threshold: REAPER_LATE_MS };
    const expected = { ...about, since: START_MS + 10 * MINUTE_MS, value: 11 * MINUTE_MS, notified: false };
    expect(await list(11)).toEqual([expected]);
    await run(12);
    expect(receiver.told).toMatchObject([{ type: "alert.firing", data: { ...about, value: 12 * MINUTE_MS } }]);
    await run(13);
    expect(receiver.told[1]).toMatchObject({ type: "alert.recovered", data: { ...about, value: MINUTE_MS } });
    expect(await list(13)).toEqual([]);
  });

  test("is not late before its first complete run", async () => {
    const { list } = await watchedStream({});
    expect(await list(10 ** 6)).toEqual([]);
  });

  test("that could not do all says so, until a run did", async () => {
    const { stream, context, run, list } = await watchedStream({});
    const native = nativeClient();
    await produceNumbers(stream, 1_000);
    await poll(stream, "g", { batchSize: 1_000 });
    await age(native, stream, "g");
    const max = { roundTrips: 1, durationMs: 10_000 };
    await runReaper(context, { nowMs: START_MS, everyStream: true, max });
    const about = { stream: null, group: null, metric: "reaperIncomplete", threshold: 0 };
    expect(await list(0)).toEqual([{ ...about, value: 1, since: START_MS, notified: true }]);
    await run(1);
    expect(receiver.told).toMatchObject([
      { type: "alert.firing", data: { ...about, value: 1 } },
      { type: "alert.recovered", data: { ...about, value: 0 } },
    ]);
  });

  test("an incomplete run does not count as one that ends its lateness", async () => {
    const { stream, run, list, context } = await watchedStream({});
    await stream.redis.send(noteCompleteCall(stream.prefix, START_MS));
    for (const minute of [11, 12]) {
      const options = { nowMs: START_MS + minute * MINUTE_MS, everyStream: true };
      await runReaper(context, { ...options, max: { roundTrips: 0, durationMs: 1 } });
      expect((await list(minute)).map(({ metric }) => metric)).toEqual(["reaperIncomplete", "reaperLateMs"]);
    }
    await run(13);
    await run(14);
    expect(await list(14)).toEqual([]);
  });
});
