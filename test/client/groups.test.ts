import { beforeAll, describe, expect, test } from "vitest";
import { NotFoundError } from "../../client/errors.ts";
import type { GroupClient } from "../../client/group.ts";
import { steps } from "../../client/pages.ts";
import type { StreamClient } from "../../client/stream.ts";
import type { Delivery } from "../../client/wire.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { clientOf, errorOf } from "../support/client.ts";
import { nativeClient, openRedis } from "../support/redis.ts";
import { age } from "../support/streams.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();
let made = 0;

interface Made {
  readonly stream: StreamClient;
  readonly group: GroupClient;
  readonly ids: readonly string[];
}

let unknown: GroupClient;
beforeAll(async () => {
  const stream = clientOf(worker).stream("no-groups");
  await stream.put();
  unknown = stream.group("nobody-made-it");
});

async function newGroup(count: number): Promise<Made> {
  const stream = clientOf(worker).stream(`g${made++}`);
  await stream.put();
  const group = stream.group("g");
  await group.put({ start: "earliest" });
  const messages = Array.from({ length: count }, (_, i) => ({ type: i % 2 === 0 ? "even" : "odd", data: i }));
  return { stream, group, ids: await stream.produce(messages) };
}

const leases = (messages: readonly Delivery[]) => messages.map(({ lease }) => lease);
const NOTHING = { acked: 0, retried: 0, rejected: 0, released: 0, extended: 0, stale: [] };

/** Dead letters of all messages but the first. */
async function withDeadLetters(count: number): Promise<Made> {
  const group = await newGroup(count + 1);
  const { messages } = await group.group.consume({ consumer: "c" });
  await group.group.settle({ rejects: leases(messages.slice(1)).map((lease) => ({ lease, reason: "no such order" })) });
  return group;
}

describe("consuming", () => {
  test("hands out, settles in every way with the next poll or alone, and says what it settled", async () => {
    const { group, ids } = await newGroup(6);
    const first = await group.consume({ consumer: "c", batchSize: 5 });
    expect(first).toMatchObject({ settled: NOTHING, ackWaitMs: 30_000 });
    expect(first.messages.map(({ id, deliveries }) => [id, deliveries])).toEqual(ids.slice(0, 5).map((id) => [id, 1]));
    const [a = "", b = "", c = "", d = "", e = ""] = leases(first.messages);
    const { pollState } = first;
    const next = await group.consume({ consumer: "c", acks: [a], extends: [e], pollState });
    expect(next.settled).toEqual({ ...NOTHING, acked: 1, extended: 1 });
    const request = {
      retries: [{ lease: b, delayMs: 60_000, reason: "later" }],
      rejects: [{ lease: c }],
      releases: [d],
    };
    expect(await group.settle(request)).toEqual({ ...NOTHING, retried: 1, rejected: 1, released: 1 });
    expect(await group.settle({ releases: [d], acks: ["rubbish"] })).toEqual({
      ...NOTHING,
      stale: [
        { lease: "rubbish", outcome: "malformed" },
        { lease: d, outcome: "settled" },
      ],
    });
    expect(await group.delayed().toArray()).toMatchObject([
      { from: "retry", id: ids[3] },
      { from: "retry", id: ids[1], reason: "later", deliveries: 1 },
    ]);
    expect(await group.get()).toMatchObject({ delayed: 2, deadLetters: 1 });
  });

  test("from a group that is not there, or with one lease in two lists, is refused", async () => {
    const { group } = await newGroup(1);
    expect(await errorOf(unknown.consume({ consumer: "c" }))).toMatchObject({ code: "unknown-group", status: 404 });
    expect(await errorOf(unknown.settle({ acks: ["x"] }))).toMatchObject({ code: "unknown-group" });
    const [lease = ""] = leases((await group.consume({ consumer: "c" })).messages);
    const error = await errorOf(group.settle({ acks: [lease], releases: [lease] }));
    expect(error).toMatchObject({ code: "invalid-request", status: 400 });
    expect(error.errors.map(({ path }) => path)).toContain("releases[0]");
    expect(await errorOf(group.consume({ consumer: "" }))).toMatchObject({ errors: [{ path: "consumer" }] });
  });

  test("what is pending is listed, by consumer too, and can be claimed by hand", async () => {
    const { stream, group, ids } = await newGroup(2);
    await group.consume({ consumer: "a", batchSize: 1 });
    await group.consume({ consumer: "b", batchSize: 1 });
    const all = await group.pending({ limit: 1 }).toArray();
    expect(all.map(({ id, consumer }) => [id, consumer])).toEqual([
      [ids[0], "a"],
      [ids[1], "b"],
    ]);
    expect(await group.pending({ consumer: "b" }).toArray()).toMatchObject([{ id: ids[1], deliveries: 1 }]);
    expect(await group.pending({ minIdleMs: 3_600_000 }).toArray()).toEqual([]);
    expect(await errorOf(group.claim({ consumer: "c", minIdleMs: 0 }))).toMatchObject({ code: "invalid-request" });
    await age(nativeClient(), openStream(openRedis(), worker.prefix, stream.name), "g");
    const claimed = await group.claim({ consumer: "c", ids: [ids[0] ?? ""] });
    expect(claimed).toMatchObject([{ id: ids[0], deliveries: 2, data: 0 }]);
    expect(await group.settle({ acks: leases(claimed) })).toMatchObject({ acked: 1 });
    expect(await errorOf(unknown.pending().toArray())).toMatchObject({ code: "unknown-group" });
    expect(await errorOf(unknown.claim({ consumer: "c" }))).toMatchObject({ code: "unknown-group" });
    expect(await errorOf(unknown.delayed().toArray())).toMatchObject({ code: "unknown-group" });
  });

  test("a consumer that is removed hands on what it holds, once; any name that a native client chose can be told", async () => {
    const { stream, group } = await newGroup(2);
    await group.consume({ consumer: "a", batchSize: 1 });
    await group.consume({ consumer: "b", batchSize: 1 });
    expect((await group.consumers().toArray()).map(({ name, pending }) => [name, pending])).toEqual([
      ["a", 1],
      ["b", 1],
    ]);
    expect(await group.removeConsumer("a", { handoverTo: "b" })).toBe(1);
    expect((await group.consume({ consumer: "b", recover: true })).messages).toHaveLength(2);
    const error = await errorOf(group.removeConsumer("a"));
    expect(error).toBeInstanceOf(NotFoundError);
    expect(error.code).toBe("unknown-consumer");
    const { keys } = openStream(openRedis(), worker.prefix, stream.name);
    for (const name of ["a/b", "ä 🙂?#%2F", "..."]) {
      await nativeClient().xgroup("CREATECONSUMER", keys.stream, "g", name);
      expect(await group.removeConsumer(name), name).toBe(0);
    }
    expect((await group.consumers().toArray()).map(({ name }) => name)).toEqual(["b"]);
    expect(await errorOf(unknown.consumers().toArray())).toMatchObject({ code: "unknown-group" });
  });

  test("a replay hands a range out again, step by step; a dry run only counts", async () => {
    const { group, ids } = await newGroup(4);
    await group.settle({ acks: leases((await group.consume({ consumer: "c" })).messages) });
    expect(await group.replay({ start: "-", type: "even", dryRun: true })).toMatchObject({ replayed: 2, next: null });
    let replayed = 0;
    for await (const step of steps((cursor) => group.replay({ start: "-", limit: 3, cursor })))
      replayed += step.replayed;
    expect(replayed).toBe(4);
    expect((await group.delayed().toArray()).map(({ id, from }) => [id, from])).toEqual(
      ids.map((id) => [id, "replay"]),
    );
    expect(await errorOf(group.replay({}))).toMatchObject({ code: "invalid-request" });
    expect(await errorOf(unknown.replay({ start: "-" }))).toMatchObject({ code: "unknown-group" });
  });
});

describe("dead letters", () => {
  test("are listed with why, one by one, by type, and page by page", async () => {
    const { group, ids } = await withDeadLetters(3);
    const all = await group.deadLetters({ limit: 2 }).toArray();
    expect(all.map(({ message }) => message.id)).toEqual(ids.slice(1));
    const [first] = all;
    expect(first).toMatchObject({ reason: "rejected", detail: "no such order", deliveries: 1, consumer: "c" });
    expect(await group.deadLetter(first?.id ?? "")).toEqual(first);
    expect(await group.deadLetters({ type: "even" }).toArray()).toHaveLength(1);
    expect(await group.deadLetters({ reason: "trimmed" }).toArray()).toEqual([]);
    expect(await errorOf(group.deadLetter("1-1"))).toMatchObject({ code: "unknown-dead-letter", status: 404 });
    expect(await errorOf(unknown.deadLetters().toArray())).toMatchObject({ code: "unknown-group" });
  });

  test("are counted by kind, and the kind with most is redriven by its own members", async () => {
    const { group } = await withDeadLetters(3);
    const { kinds, complete } = await group.deadLetterSummary();
    expect(complete).toBe(true);
    expect(kinds).toMatchObject([{ detail: "no such order", count: 2 }, { count: 1 }]);
    const [worst] = kinds;
    const { reason, type, detail } = worst ?? {};
    expect(await group.redrive({ reason, type, detail })).toMatchObject({ redriven: 2 });
    expect(await group.deadLetter(worst?.exampleId ?? "").catch(({ code }) => code)).toBe("unknown-dead-letter");
    expect((await group.deadLetterSummary()).kinds).toHaveLength(1);
    expect(await errorOf(unknown.deadLetterSummary())).toMatchObject({ code: "unknown-group" });
  });

  test("are redriven, step by step, and come again from delivery 1", async () => {
    const { group, ids } = await withDeadLetters(3);
    expect(await group.redrive({ all: true, dryRun: true })).toMatchObject({ redriven: 3 });
    let redriven = 0;
    for await (const step of steps((cursor) => group.redrive({ all: true, limit: 2, cursor })))
      redriven += step.redriven;
    expect(redriven).toBe(3);
    const { messages } = await group.consume({ consumer: "d" });
    expect(messages.map(({ id, deliveries }) => [id, deliveries])).toEqual(ids.slice(1).map((id) => [id, 1]));
    expect(await errorOf(group.redrive({}))).toMatchObject({ code: "invalid-request" });
    expect(await errorOf(unknown.redrive({ all: true }))).toMatchObject({ code: "unknown-group" });
  });

  test("are deleted for good", async () => {
    const { group } = await withDeadLetters(3);
    const [one] = await group.deadLetters().toArray();
    expect(await group.deleteDeadLetters({ ids: [one?.id ?? ""] })).toEqual({ deleted: 1, next: null });
    let deleted = 0;
    for await (const step of steps((cursor) => group.deleteDeadLetters({ all: true, cursor }))) deleted += step.deleted;
    expect(deleted).toBe(2);
    expect(await errorOf(group.deleteDeadLetters({}))).toMatchObject({ code: "invalid-request" });
    expect(await errorOf(unknown.deleteDeadLetters({ all: true }))).toMatchObject({ code: "unknown-group" });
  });
});
