import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test, vi } from "vitest";
import { LeaseLostError, ProcessingTimeoutError } from "../../client/index.ts";
import { type Fault, network, problem, type Sent } from "../support/client.ts";
import { consuming, drained, filled, gate } from "../support/consumers.ts";
import { eventually } from "../support/wait.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();
/** The least that a group may have. */
const ACK_WAIT_MS = 1_000;

afterEach(() => vi.restoreAllMocks());

interface Leases {
  readonly acks?: readonly string[];
  readonly extends?: readonly string[];
}

function leasesIn({ body }: Sent): Leases {
  const leases: Leases = typeof body === "string" ? JSON.parse(body) : {};
  return leases;
}

const isExtension = (sent: Sent) => leasesIn(sent).extends !== undefined;

test("a handler that takes longer than a lease keeps it, and what waits behind it too, by one request for all", async () => {
  const place = await filled(worker, 4, { ackWaitMs: ACK_WAIT_MS });
  const { fetch, sent } = network(() => undefined);
  const seen: unknown[] = [];
  const handler = async ({ data }: { data: unknown }) => {
    seen.push(data);
    if (data === 0) await sleep(2_500);
  };
  const slow = consuming(worker, place, handler, { concurrency: 1, prefetch: 3, client: { fetch } });
  await eventually("it holds all", () => slow.consumer.counters.received === 4);
  const rival = consuming(worker, place, ({ data }) => seen.push("rival", data));
  await drained(place.group);
  expect(seen).toEqual([0, 1, 2, 3]);
  expect(slow.lost).toEqual([]);
  const extensions = sent.filter(isExtension).map((one) => leasesIn(one).extends?.length);
  expect(new Set(extensions.slice(0, 5))).toEqual(new Set([4]));
  expect(extensions.length).toBeLessThan(13);
  await Promise.all([slow.consumer.stop(), rival.consumer.stop()]);
});

test("a message is settled after the extension under way has ended, and is not taken for lost", async () => {
  const place = await filled(worker, 1, { ackWaitMs: 3_000 });
  const extending = gate();
  const answered = gate();
  const { fetch, sent } = network(async (one) => {
    if (!isExtension(one)) return undefined;
    extending.open();
    await answered.opened;
    return undefined;
  });
  const { consumer, lost, errors } = consuming(worker, place, () => extending.opened, {
    ackDelayMs: 0,
    client: { fetch },
  });
  await extending.opened;
  await sleep(100);
  expect(sent.filter((one) => leasesIn(one).acks !== undefined)).toEqual([]);
  answered.open();
  await eventually("it is acknowledged", () => consumer.counters.acked === 1);
  expect({ lost, errors }).toEqual({ lost: [], errors: [] });
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
});

test("a lease that another delivery holds aborts the handler, is told, and settles nothing; what was buffered is not handled", async () => {
  const place = await filled(worker, 3, { ackWaitMs: ACK_WAIT_MS });
  const seen: unknown[] = [];
  const finish = gate();
  const reasons: unknown[] = [];
  const { consumer, lost } = consuming(
    worker,
    place,
    async ({ data }, { signal }) => {
      seen.push(data);
      signal.addEventListener("abort", () => reasons.push(signal.reason));
      await finish.opened;
    },
    { concurrency: 1, prefetch: 2, ackDelayMs: 0 },
  );
  await eventually("it holds all", () => consumer.counters.received === 3);
  const stolen = await place.group.claim({ consumer: "thief", force: true, minIdleMs: 0, limit: 10 });
  expect(stolen).toHaveLength(3);
  await eventually("it has lost all", () => lost.length === 3);
  expect(reasons).toEqual([expect.any(LeaseLostError)]);
  finish.open();
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
  expect(seen).toEqual([0]);
  expect(consumer.counters).toMatchObject({ leasesLost: 3, acked: 0, retried: 0, released: 0 });
  expect(await place.group.consumers().first()).toMatchObject({ consumers: [{ name: "thief", pending: 3 }] });
});

test("after maxProcessingMs the signal aborts, and the lease is left to end: another one gets the message", async () => {
  const place = await filled(worker, 1, { ackWaitMs: ACK_WAIT_MS });
  const { fetch, sent } = network(() => undefined);
  const reasons: [unknown, number][] = [];
  const finish = gate();
  const stuck = consuming(
    worker,
    place,
    async (_, { signal }) => {
      const startedAtMs = performance.now();
      signal.addEventListener("abort", () => reasons.push([signal.reason, performance.now() - startedAtMs]));
      await finish.opened;
    },
    // Else it would be handed to the one that is stuck.
    { maxProcessingMs: 100, concurrency: 1, prefetch: 0, client: { fetch } },
  );
  await eventually("it is aborted", () => reasons.length === 1);
  expect(reasons).toEqual([[expect.any(ProcessingTimeoutError), expect.any(Number)]]);
  expect(reasons[0]?.[1]).toBeGreaterThanOrEqual(99);
  expect(reasons[0]?.[1]).toBeLessThan(250);
  const seen: unknown[] = [];
  const other = consuming(worker, place, ({ deliveries }) => seen.push(deliveries));
  await eventually("another one gets it", () => seen.length === 1);
  expect(seen).toEqual([2]);
  expect(sent.filter(isExtension)).toEqual([]);
  finish.open();
  await Promise.all([stuck.consumer.stop(), other.consumer.stop()]);
});

test.each<[string, Fault]>([
  ["is refused", problem(500, "internal-error")],
  ["gets lost", "lost-answer"],
  ["never arrives", "no-connection"],
  ["is never answered", "no-end"],
])("an extension that %s is tried again before the lease ends", async (_, fault) => {
  const place = await filled(worker, 2, { ackWaitMs: 2_000 });
  let attempts = 0;
  const { fetch } = network((sent) => (isExtension(sent) && attempts++ < 1 ? fault : undefined));
  const seen: unknown[] = [];
  const finish = gate();
  const handler = async ({ deliveries }: { deliveries: number }) => {
    seen.push(deliveries);
    await finish.opened;
  };
  const { consumer, lost } = consuming(worker, place, handler, { concurrency: 1, client: { fetch } });
  await eventually("it holds all", () => consumer.counters.received === 2);
  const rival = consuming(worker, place, () => seen.push("rival"));
  await eventually("it is extended", () => consumer.counters.extended > 0 || attempts > 3);
  expect(consumer.counters.extended).toBeGreaterThan(0);
  finish.open();
  await drained(place.group);
  expect(lost).toEqual([]);
  expect(seen).toEqual([1, 1]);
  await Promise.all([consumer.stop(), rival.consumer.stop()]);
});

test.each<[string, () => void]>([
  ["the wall clock jumps ahead", () => jump(Date, 600_000)],
  ["the monotonic clock jumps ahead", () => jump(performance, 600_000)],
])("where %s, what is buffered is extended before it is handled, and nothing is handled twice", async (_, leap) => {
  const place = await filled(worker, 4);
  const { fetch, sent } = network(() => undefined);
  const finish = gate();
  const seen: [unknown, number][] = [];
  const { consumer, lost, errors } = consuming(
    worker,
    place,
    async ({ data }) => {
      seen.push([data, sent.filter(isExtension).length]);
      if (data === 0) await finish.opened;
    },
    { concurrency: 1, prefetch: 3, client: { fetch } },
  );
  await eventually("it holds all", () => consumer.counters.received === 4);
  leap();
  finish.open();
  await eventually("all is handled", () => seen.length === 4);
  expect(seen).toEqual([
    [0, 0],
    [1, 1],
    [2, 1],
    [3, 1],
  ]);
  expect({ lost, errors }).toEqual({ lost: [], errors: [] });
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
});

test("where the clock has jumped and others have taken what is buffered, it is not handled here", async () => {
  const place = await filled(worker, 3);
  const finish = gate();
  const seen: unknown[] = [];
  const handler = async ({ data }: { data: unknown }) => {
    seen.push(data);
    await finish.opened;
  };
  const { consumer, lost } = consuming(worker, place, handler, { concurrency: 1, prefetch: 2 });
  await eventually("it holds all", () => consumer.counters.received === 3);
  await place.group.claim({ consumer: "other", force: true, minIdleMs: 0, limit: 10 });
  jump(Date, 600_000);
  finish.open();
  await eventually("what was buffered is lost", () => lost.length === 2);
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
  expect(seen).toEqual([0]);
});

test("a wall clock that is set back changes nothing: leases are extended in time", async () => {
  const place = await filled(worker, 2, { ackWaitMs: ACK_WAIT_MS });
  const seen: unknown[] = [];
  const handler = async ({ deliveries }: { deliveries: number }) => {
    seen.push(deliveries);
    await sleep(1_300);
  };
  const { consumer, lost } = consuming(worker, place, handler, { concurrency: 1, prefetch: 1 });
  await eventually("it holds all", () => consumer.counters.received === 2);
  jump(Date, -3_600_000);
  await drained(place.group);
  expect({ seen, lost }).toEqual({ seen: [1, 1], lost: [] });
  expect(await consumer.stop()).toEqual({ unsettled: 0 });
});

/** Lets a clock be so much ahead from now on. */
function jump(clock: { now(): number }, ms: number): void {
  const now = clock.now.bind(clock);
  vi.spyOn(clock, "now").mockImplementation(() => now() + ms);
}
