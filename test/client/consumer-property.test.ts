import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import type { Redis as IoRedis } from "ioredis";
import { expect, test } from "vitest";
import { RejectError, RetryError } from "../../client/index.ts";
import { type EventStream, openStream } from "../../shared/stream/stream.ts";
import { type Fault, network, problem } from "../support/client.ts";
import { consuming, type Filled, filled } from "../support/consumers.ts";
import { nativeClient, openRedis } from "../support/redis.ts";
import { age, passTimeOfSideStore } from "../support/streams.ts";
import { eventually } from "../support/wait.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();
/** Of a fault that lets a request wait. */
const TIMEOUT_MS = 400;
/** How long it may run under faults that let nothing through. */
const MAX_RUN_MS = 1_000;
/** For a machine on which other tests run. */
const SLACK_MS = 1_500;

type End = "ack" | "throw" | "retry" | "reject" | "settle" | "release";

/** How a message is handled the first time; the second time it is acknowledged. */
interface Work {
  readonly end: End;
  readonly ms: number;
  /** Whether the handler looks at its signal. */
  readonly obeys: boolean;
}

interface Plan {
  readonly concurrency: number;
  readonly prefetch: number;
  readonly work: readonly Work[];
  /** When it is stopped: after so many calls of the handler, and so many milliseconds. */
  readonly stopAfter: number;
  readonly stopAfterMs: number;
  readonly graceMs: number;
  /** What becomes of the requests, by turns. */
  readonly faults: readonly (Fault | undefined)[];
}

const work: fc.Arbitrary<Work> = fc.record({
  end: fc.constantFrom<End[]>("ack", "ack", "ack", "ack", "throw", "retry", "reject", "settle", "release"),
  ms: fc.constantFrom(0, 0, 0, 1, 10, 40),
  obeys: fc.boolean(),
});

const fault: fc.Arbitrary<Fault | undefined> = fc.constantFrom<(Fault | undefined)[]>(
  undefined,
  undefined,
  undefined,
  undefined,
  "no-connection",
  "lost-answer",
  "doubled",
  "no-end",
  problem(500, "internal-error"),
  problem(503, "redis-unavailable", { "retry-after": "0" }),
  problem(503, "outcome-unknown", { "retry-after": "1" }),
  problem(429, "rate-limited", { "retry-after": "0" }),
);

function plans(faults: fc.Arbitrary<readonly (Fault | undefined)[]>): fc.Arbitrary<Plan> {
  return fc.record({
    concurrency: fc.integer({ min: 1, max: 20 }),
    prefetch: fc.integer({ min: 0, max: 20 }),
    work: fc.array(work, { maxLength: 60 }),
    stopAfter: fc.integer({ min: 0, max: 60 }),
    stopAfterMs: fc.constantFrom(0, 0, 1, 20),
    graceMs: fc.constantFrom(0, 5, 100, 2_000),
    faults,
  });
}

/** What became of the messages. */
class Record {
  /** How often each was handled to its end. */
  readonly handled = new Map<number, number>();
  /** Of those it is not known whether they were handled in time. */
  readonly unsure = new Set<number>();
  readonly rejected = new Set<number>();
  /** How many deliveries each may have been charged with. */
  readonly charged = new Map<number, number>();
  running = 0;
  maxRunning = 0;
  calls = 0;
  /** What must not have happened. */
  readonly wrong: string[] = [];

  end(data: number): void {
    this.handled.set(data, (this.handled.get(data) ?? 0) + 1);
  }
}

async function run(plan: Plan, native: IoRedis, isClean: boolean): Promise<void> {
  const place = await filled(worker, plan.work.length, { backoff: { minMs: 1, maxMs: 1 }, maxDeliveries: 100 });
  const record = new Record();
  const seen = new Set<number>();
  const { fetch } = network(({ number }) => plan.faults[number % plan.faults.length]);
  const handler: Parameters<typeof consuming>[2] = async (message, { signal }) => {
    const data = Number(message.data);
    const isFirst = !seen.has(data);
    seen.add(data);
    record.calls++;
    record.maxRunning = Math.max(record.maxRunning, ++record.running);
    const charged = record.charged.get(data) ?? 1;
    if (isClean && message.deliveries !== charged) {
      record.wrong.push(`message ${data} is delivery ${message.deliveries}, not ${charged}`);
    }
    if (isClean && record.handled.has(data)) record.wrong.push(`message ${data} is handled again`);
    try {
      const { end, ms, obeys } = (isFirst ? plan.work[data] : undefined) ?? { end: "ack", ms: 0, obeys: true };
      if (ms > 0) await sleep(ms, undefined, obeys ? { signal } : {});
      // Settled if that is in time, else given back.
      if (signal.aborted) {
        record.unsure.add(data);
        return;
      }
      if (end === "throw" || end === "retry") {
        record.charged.set(data, charged + 1);
        throw end === "throw" ? new Error("thrown") : new RetryError({ afterMs: 0 });
      }
      if (end === "release") return message.release();
      record.end(data);
      if (end === "settle") message.ack();
      if (end === "reject") {
        record.rejected.add(data);
        throw new RejectError("refused");
      }
    } finally {
      record.running--;
    }
  };
  const client = { fetch, timeoutMs: isClean ? 15_000 : TIMEOUT_MS };
  const first = consuming(worker, place, handler, { ...plan, client });
  const { keys } = streamOf(place);
  const stopWatching = watch(native, [keys.stream, keys.again("g")], first.consumer.name, (held) => {
    const most = plan.concurrency + plan.prefetch;
    if (isClean && held > most) record.wrong.push(`${held} were held, not ${most} at most`);
  });
  const enough = Math.min(plan.stopAfter, plan.work.length);
  const givenUpMs = performance.now() + MAX_RUN_MS;
  await eventually("it is time to stop", () => record.calls >= enough || (!isClean && performance.now() > givenUpMs));
  await sleep(plan.stopAfterMs);
  const beginMs = performance.now();
  const { unsettled } = await first.consumer.stop({ graceMs: plan.graceMs });
  const tookMs = performance.now() - beginMs;
  await stopWatching();
  expect(tookMs).toBeLessThan(plan.graceMs + client.timeoutMs + SLACK_MS);
  expect(record.maxRunning).toBeLessThanOrEqual(plan.concurrency);
  if (isClean) {
    expect({ unsettled, errors: first.errors, lost: first.lost }).toEqual({ unsettled: 0, errors: [], lost: [] });
    expect(await place.group.get()).toMatchObject({ pending: 0, consumers: 0 });
  }
  const second = consuming(worker, place, handler, { concurrency: 20 });
  await afterwards(place, native, isClean);
  expect(await second.consumer.stop()).toEqual({ unsettled: 0 });
  expect(record.wrong).toEqual([]);
  const done = new Set([...record.handled.keys(), ...record.unsure]);
  expect([...done].sort((a, b) => a - b)).toEqual(plan.work.map((_, i) => i));
  const dead: number[] = [];
  for await (const { message } of place.group.deadLetters({ limit: 1_000 })) dead.push(Number(message.data));
  // Where an answer got lost, a message that was rejected may have come again and been acknowledged.
  if (isClean) expect(dead.sort((a, b) => a - b)).toEqual([...record.rejected].sort((a, b) => a - b));
  await place.stream.delete();
}

let redis: ReturnType<typeof openRedis> | undefined;

function streamOf({ name }: Filled): EventStream {
  if (redis === undefined) throw new Error("there is no Redis yet");
  return openStream(redis, worker.prefix, name);
}

/** Looks at how many entries a consumer holds in Redis, again and again. */
function watch(native: IoRedis, keys: readonly string[], name: string, told: (held: number) => void) {
  let isOver = false;
  const look = async () => {
    while (!isOver) {
      // In one step: what is retried goes from the one to the other.
      const transaction = native.multi();
      for (const key of keys) transaction.xpending(key, "g", "-", "+", 1_000, name);
      const answers = (await transaction.exec()) ?? [];
      told(answers.reduce((sum, [, rows]) => sum + (Array.isArray(rows) ? rows.length : 0), 0));
      await sleep(2);
    }
  };
  const looking = look();
  return () => {
    isOver = true;
    return looking;
  };
}

/** Waits until all is done; leases that nobody ends any more end at once. */
async function afterwards(place: Filled, native: IoRedis, isClean: boolean): Promise<void> {
  const stream = streamOf(place);
  await eventually("the group is done with all", async () => {
    const { lag, pending, delayed } = await place.group.get();
    if (lag === 0 && pending === 0 && delayed === 0) return true;
    if (!isClean) {
      await age(native, stream, "g");
      await passTimeOfSideStore(native, stream, "g");
      await sleep(50);
    }
    return false;
  });
}

/** As many plans as there is time for; the last one is run to its end. */
async function holds(faults: fc.Arbitrary<Plan["faults"]>, isClean: boolean, seconds: number): Promise<void> {
  const native = nativeClient();
  redis = openRedis();
  const endMs = performance.now() + seconds * 1_000;
  const property = fc.asyncProperty(plans(faults), async (plan) => {
    if (performance.now() < endMs) await run(plan, native, isClean);
  });
  await fc.assert(property, { numRuns: 1_000, endOnFailure: true });
}

test("whatever a consumer is given and whenever it is stopped, nothing is lost, repeated, or held beyond its bounds", async () => {
  await holds(fc.constant([undefined]), true, 12);
});

test("whatever becomes of its requests, nothing is lost, and a stop ends in time", async () => {
  await holds(fc.array(fault, { minLength: 1, maxLength: 12 }), false, 14);
});
