import { expect, test } from "vitest";
import type { JobContext } from "../../scheduled/context.ts";
import { runReaper } from "../../scheduled/reaper.ts";
import { registryKey } from "../../shared/keys.ts";
import { listRuns } from "../../shared/reaper/runs.ts";
import { type Connection, ConnectionError } from "../../shared/redis/connection.ts";
import { Redis } from "../../shared/redis/redis.ts";
import { listConsumers } from "../../shared/stream/consumers.ts";
import { listDeadLetters } from "../../shared/stream/dead-letters.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, configureStream } from "../../shared/stream/manage.ts";
import { listPending } from "../../shared/stream/pending.ts";
import { listStreams } from "../../shared/stream/registry.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { nativeClient, TRANSPORTS } from "../support/redis.ts";
import {
  age,
  leasesOf,
  makeStream,
  passTimeOfSideStore,
  poll,
  produceNumbers,
  settleSome,
  type TestStream,
} from "../support/streams.ts";

function contextOf(stream: TestStream, redis = stream.redis): JobContext {
  return { redis, keyPrefix: stream.prefix, consumerIdleMs: 86_400_000 };
}

/** A stream with work for every job: expired, poison, a missing payload, an idle consumer, old messages. */
async function makeWork() {
  const stream = await makeStream(["g"], { settings: { maxAgeMs: 3_600_000 } });
  await configureGroup(stream, "g", undefined, { maxDeliveries: 2 });
  const native = nativeClient();
  const done = await produceNumbers(stream, 5);
  await settleSome(stream, "g", { acks: leasesOf((await poll(stream, "g", { consumer: "idle" })).messages) });
  const poison = await produceNumbers(stream, 2);
  for (const consumer of ["p1", "p2", "p2"]) {
    await poll(stream, "g", { consumer });
    await age(native, stream, "g");
  }
  const expired = await produceNumbers(stream, 3);
  await poll(stream, "g", { consumer: "dead", batchSize: 10 });
  await age(native, stream, "g");
  const missing = expired[1] ?? "";
  await native.xdel(stream.keys.stream, missing);
  return { stream, native, done, poison, missing, expired: expired.filter((id) => id !== missing) };
}

test("a run sweeps, dead-letters, records what is missing and trims what is done, and says so", async () => {
  const { stream, poison, missing, expired } = await makeWork();
  const report = await runReaper(contextOf(stream), { nowMs: Date.now() + 2 * 3_600_000, everyStream: true });
  expect(report).toMatchObject({ complete: true, errors: [] });
  expect(report.groups).toMatchObject([{ stream: stream.name, group: "g", payloadMissing: 1 }]);
  const letters = (await listDeadLetters(stream, "g", { limit: 100 })).items;
  const deadIds = (reason: string) =>
    letters.filter((letter) => letter.reason === reason).map(({ message }) => JSON.parse(message).id);
  expect(deadIds("max-deliveries").sort()).toEqual([...poison].sort());
  expect(deadIds("payload-missing")).toEqual([missing]);
  const pending = (await listPending(stream, "g", { limit: 100 })).items;
  expect(pending.map(({ id, consumer }) => [id, consumer])).toEqual(expired.map((id) => [id, "@held:0"]));
  expect((await poll(stream, "g")).messages.map(({ id, deliveries }) => [id, deliveries])).toEqual(
    expired.map((id) => [id, 2]).slice(0, 1),
  );
  const [stored] = await listRuns(stream.redis, stream.prefix);
  expect(JSON.parse(stored ?? "")).toEqual(report);
});

test("what was swept is held uncharged and not swept again", async () => {
  const stream = await makeStream(["g"]);
  await produceNumbers(stream, 10);
  await poll(stream, "g", { consumer: "dead" });
  await age(nativeClient(), stream, "g");
  const first = await runReaper(contextOf(stream), { nowMs: Date.now(), everyStream: true });
  expect(first.groups).toMatchObject([{ expired: 10, deadLettered: 0 }]);
  const second = await runReaper(contextOf(stream), { nowMs: Date.now(), everyStream: true });
  expect(second.groups).toEqual([]);
  expect(second.redisCommands).toBeLessThanOrEqual(10);
  expect((await poll(stream, "g")).messages.map(({ deliveries }) => deliveries)).toEqual(Array(10).fill(2));
});

test("no holder has more than 1,000 pending entries, with 5,000 expired at once over many consumers", async () => {
  const stream = await makeStream(["g"]);
  for (let i = 0; i < 5; i++) await produceNumbers(stream, 1_000);
  for (let i = 0; i < 50; i++) await poll(stream, "g", { consumer: `dead${i}`, batchSize: 100 });
  await age(nativeClient(), stream, "g");
  const report = await runReaper(contextOf(stream), { nowMs: Date.now(), everyStream: true });
  expect(report.groups).toMatchObject([{ expired: 5_000 }]);
  const { items } = await listConsumers(stream, "g", { limit: 1_000 });
  const holding = items.filter(({ pending }) => pending > 0);
  expect(holding.every(({ name }) => name.startsWith("@held:"))).toBe(true);
  expect(holding.map(({ pending }) => pending)).toEqual(Array(5).fill(1_000));
});

test("a consumer that is idle for long goes, unless it holds something, also of what was retried", async () => {
  const stream = await makeStream(["g"]);
  await produceNumbers(stream, 1);
  const [lease = ""] = leasesOf((await poll(stream, "g", { consumer: "retries" })).messages);
  await settleSome(stream, "g", { retries: [{ lease, delayMs: 0 }] });
  await passTimeOfSideStore(nativeClient(), stream, "g");
  expect((await poll(stream, "g", { consumer: "retries" })).messages).toHaveLength(1);
  await produceNumbers(stream, 2);
  const first = await poll(stream, "g", { consumer: "done", batchSize: 1 });
  await settleSome(stream, "g", { acks: leasesOf(first.messages) });
  await poll(stream, "g", { consumer: "holds", batchSize: 1 });
  const context = { ...contextOf(stream), consumerIdleMs: 0 };
  expect((await runReaper(context, { nowMs: Date.now(), everyStream: true })).groups).toMatchObject([
    { consumersRemoved: 1 },
  ]);
  expect((await listConsumers(stream, "g", { limit: 10 })).items).toMatchObject([
    { name: "holds", pending: 1 },
    { name: "retries", pending: 1 },
  ]);
  expect(await nativeClient().xinfo("CONSUMERS", stream.keys.stream, "g")).toHaveLength(2);
});

/** Lets a number of round trips through, then dies; of the last one the answer is lost, after or before it ran. */
class DyingConnection implements Connection {
  readonly #inner: Connection;
  #left: number;
  readonly #runsLast: boolean;

  constructor(inner: Connection, roundTrips: number, runsLast: boolean) {
    this.#inner = inner;
    this.#left = roundTrips;
    this.#runsLast = runsLast;
  }

  async run(commands: Parameters<Connection["run"]>[0]) {
    this.#left -= 1;
    if (this.#left >= 0) return this.#inner.run(commands);
    if (this.#runsLast) await this.#inner.run(commands);
    throw new ConnectionError("killed", { maybeRan: this.#runsLast });
  }

  close() {
    return this.#inner.close();
  }
}

test.each([true, false])(
  "killed between any two of its calls and run again, it loses nothing (last one ran: %s)",
  async (runsLast) => {
    let killed = true;
    for (let roundTrips = 0; killed; roundTrips++) {
      const { stream, poison, missing, expired } = await makeWork();
      const dying = new Redis(new DyingConnection(TRANSPORTS.tcp(), roundTrips, runsLast));
      killed = await runReaper(contextOf(stream, dying), { nowMs: Date.now() + 2 * 3_600_000, everyStream: true }).then(
        () => false,
        () => true,
      );
      await runReaper(contextOf(stream), { nowMs: Date.now() + 2 * 3_600_000, everyStream: true });
      const letters = (await listDeadLetters(stream, "g", { limit: 100 })).items;
      expect(letters.map(({ message }) => JSON.parse(message).id).sort()).toEqual([...poison, missing].sort());
      const pending = (await listPending(stream, "g", { limit: 100 })).items;
      expect(pending.map(({ id }) => id)).toEqual(expired);
      expect(roundTrips).toBeLessThan(50);
    }
  },
);

test("two runs at once do the work once", async () => {
  const { stream, poison, missing, expired } = await makeWork();
  const nowMs = Date.now() + 2 * 3_600_000;
  await Promise.all(
    [1, 2, 3].map(() => runReaper(contextOf(stream, new Redis(TRANSPORTS.tcp())), { nowMs, everyStream: true })),
  );
  const letters = (await listDeadLetters(stream, "g", { limit: 100 })).items;
  expect(letters.map(({ message }) => JSON.parse(message).id).sort()).toEqual([...poison, missing].sort());
  expect((await listPending(stream, "g", { limit: 100 })).items.map(({ id }) => id)).toEqual(expired);
});

test("one stream's fault stops none of the others and is in the report", async () => {
  const { stream, native } = await makeWork();
  await configureStream(openStream(stream.redis, stream.prefix, "a-broken"), {}, 0);
  await native.del(`${stream.prefix}{a-broken}`);
  await native.set(`${stream.prefix}{a-broken}`, "a string");
  const report = await runReaper(contextOf(stream), { nowMs: Date.now(), everyStream: true });
  expect(report.errors).toEqual([{ stream: "a-broken", code: "conflict" }]);
  expect(report.groups).toMatchObject([{ stream: stream.name }]);
});

test("a run that meets its budget says so, and the next one goes on where it stopped", async () => {
  const stream = await makeStream(["g"]);
  for (let i = 0; i < 5; i++) await produceNumbers(stream, 1_000);
  for (let i = 0; i < 20; i++) await poll(stream, "g", { consumer: `dead${i}`, batchSize: 250 });
  await age(nativeClient(), stream, "g");
  const max = { roundTrips: 3, durationMs: 10_000 };
  const first = await runReaper(contextOf(stream), { nowMs: Date.now(), everyStream: true, max });
  expect(first.complete).toBe(false);
  for (
    let i = 0;
    i < 10 && !(await runReaper(contextOf(stream), { nowMs: Date.now(), everyStream: true, max })).complete;
    i++
  );
  const { items } = await listPending(stream, "g", { limit: 1_000 });
  expect(items.every(({ consumer }) => consumer.startsWith("@held:"))).toBe(true);
  expect(await groupInfo(stream, "g", Date.now())).toMatchObject({
    pending: items.length === 1_000 ? expect.any(Number) : 0,
  });
});

test("a name without a stream is forgotten, but not while its stream may be about to be created", async () => {
  const stream = await makeStream();
  const native = nativeClient();
  await native.zadd(registryKey(stream.prefix), Date.now(), "young", Date.now() - 3_600_000, "old");
  await runReaper(contextOf(stream), { nowMs: Date.now(), everyStream: true });
  const { items } = await listStreams(stream.redis, stream.prefix, { limit: 10 });
  expect(items.map(({ name }) => name)).toEqual([stream.name, "young"].sort());
});
