import { describe, expect, test } from "vitest";
import { removeConsumer } from "../../shared/stream/consumers.ts";
import { expectStatus, idsOf, leases, makeHttpGroup } from "../support/http-group.ts";
import { nativeClient } from "../support/redis.ts";
import { age, passTimeOfSideStore } from "../support/streams.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();

describe("a release", () => {
  test("gives a delivery back: not counted, there for the next poll at once, under another lease", async () => {
    const g = await makeHttpGroup(worker, {}, 3);
    const first = (await g.consume()).messages;
    const given = leases(first).slice(0, 2);
    expect(await g.settle({ releases: given })).toEqual({
      acked: 0,
      retried: 0,
      rejected: 0,
      released: 2,
      extended: 0,
      stale: [],
    });
    expect(await g.info()).toMatchObject({ pending: 1, delayed: 2 });
    const again = (await g.consume({ consumer: "b" })).messages;
    expect(idsOf(again)).toEqual(g.ids.slice(0, 2));
    expect(again.map(({ deliveries }: { deliveries: number }) => deliveries)).toEqual([1, 1]);
    expect(leases(again).some((lease) => leases(first).includes(lease))).toBe(false);
    expect(await g.settle({ acks: leases(again) })).toMatchObject({ acked: 2 });
  });

  test("of a message never uses up its deliveries, and never leads to the dead letters", async () => {
    const g = await makeHttpGroup(worker, { maxDeliveries: 1 }, 1);
    const seen = new Set<string>();
    for (let i = 0; i < 12; i++) {
      const { messages } = await g.consume({ consumer: `c${i % 3}` });
      expect(messages).toMatchObject([{ id: g.ids[0], deliveries: 1 }]);
      for (const lease of leases(messages)) seen.add(lease);
      expect(await g.settle({ releases: leases(messages) })).toMatchObject({ released: 1, stale: [] });
    }
    expect(seen.size).toBe(12);
    expect(await g.info()).toMatchObject({ deadLetters: 0 });
  });

  test("makes an old lease void for ever: no reject, retry or extend by it touches a later delivery", async () => {
    const g = await makeHttpGroup(worker, { maxDeliveries: 3 }, 1);
    const old: string[] = [];
    for (let i = 0; i < 5; i++) {
      const { messages } = await g.consume({ consumer: "same" });
      const [lease = ""] = leases(messages);
      for (const [list, value] of [
        ["rejects", old.map((one) => ({ lease: one }))],
        ["retries", old.map((one) => ({ lease: one, delayMs: 0 }))],
        ["extends", old],
        ["releases", old],
      ] as const) {
        const settled = await g.settle({ [list]: value });
        expect(settled).toMatchObject({ retried: 0, rejected: 0, released: 0, extended: 0 });
        expect(settled.stale).toHaveLength(old.length);
      }
      old.push(lease);
      expect(await g.settle({ releases: [lease] })).toMatchObject({ released: 1 });
    }
    expect((await g.consume()).messages).toMatchObject([{ deliveries: 1 }]);
  });

  test("of a last permitted delivery is handed out once more, alone", async () => {
    const g = await makeHttpGroup(worker, { maxDeliveries: 2 }, 3);
    await g.consume();
    await age(nativeClient(), g.stream, "g");
    const { messages } = await g.consume({ batchSize: 10 });
    expect(messages).toMatchObject([{ id: g.ids[0], deliveries: 2 }]);
    await g.settle({ releases: leases(messages) });
    await age(nativeClient(), g.stream, "g");
    const alone = [];
    for (let i = 0; i < 3; i++) alone.push((await g.consume({ batchSize: 10, consumer: `c${i}` })).messages);
    expect(alone.map(({ length }) => length)).toEqual([1, 1, 1]);
    expect(alone.flat().every(({ deliveries }: { deliveries: number }) => deliveries === 2)).toBe(true);
    expect(new Set(alone.flatMap(idsOf)).size).toBe(3);
  });

  test("comes with the next batch, counts as its own list, and is stale after an acknowledgement", async () => {
    const g = await makeHttpGroup(worker, {}, 4);
    const [a = "", b = ""] = leases((await g.consume({ batchSize: 2 })).messages);
    const batch = await g.consume({ acks: [a], releases: [b], batchSize: 10 });
    expect(batch.settled).toMatchObject({ acked: 1, released: 1, stale: [] });
    expect(await g.settle({ releases: [a, b, "rubbish"] })).toMatchObject({
      released: 0,
      stale: [{ outcome: "malformed" }, { outcome: "settled" }, { outcome: "settled" }],
    });
    const both = await g.post("settle", { releases: [a], acks: [a] });
    expect(both).toMatchObject({ status: 400, json: { code: "invalid-request" } });
  });

  test("of what was retried and handed out again is not counted either", async () => {
    const g = await makeHttpGroup(worker, {}, 1);
    await g.settle({ retries: leases((await g.consume()).messages).map((lease) => ({ lease, delayMs: 0 })) });
    const second = (await g.consume()).messages;
    expect(second).toMatchObject([{ deliveries: 2 }]);
    await g.settle({ releases: leases(second) });
    const third = (await g.consume()).messages;
    expect(third).toMatchObject([{ deliveries: 2 }]);
    expect(leases(third)).not.toEqual(leases(second));
    expect(await g.settle({ rejects: leases(second).map((lease) => ({ lease })) })).toMatchObject({ rejected: 0 });
    expect(await g.settle({ acks: leases(third) })).toMatchObject({ acked: 1 });
    expect(await g.info()).toMatchObject({ pending: 0, delayed: 0, deadLetters: 0, lag: 0 });
  });
});

describe("where a message is", () => {
  const statesOf = async (g: { path: string }, id = "") =>
    (await expectStatus(worker.call("GET", `${g.path}/messages/${id}/states`), 200)).json.states;

  test("is told for each group: waiting, pending, delayed, dead, done", async () => {
    const g = await makeHttpGroup(worker, {}, 5);
    await expectStatus(worker.call("PUT", `${g.path}/groups/behind`, { start: "earliest" }), 201);
    const [a = "", b = "", c = "", d = ""] = leases((await g.consume({ batchSize: 4 })).messages);
    await g.settle({
      acks: [a],
      retries: [{ lease: b, delayMs: 3_600_000, reason: "later" }],
      rejects: [{ lease: c, reason: "never" }],
      extends: [d],
    });
    const nothing = {
      consumer: null,
      deliveries: null,
      leaseEndsAt: null,
      dueAt: null,
      deadLetterId: null,
      reason: null,
    };
    const behind = { ...nothing, group: "behind", state: "waiting" };
    const now = Date.now();
    expect(await statesOf(g, g.ids[0])).toEqual([behind, { ...nothing, group: "g", state: "done" }]);
    const [, delayed] = await statesOf(g, g.ids[1]);
    expect(delayed).toMatchObject({ group: "g", state: "delayed", deliveries: 1, consumer: "a", reason: "later" });
    expect(Math.abs(delayed.dueAt - now - 3_600_000)).toBeLessThan(30_000);
    const [, dead] = await statesOf(g, g.ids[2]);
    expect(dead).toMatchObject({ state: "dead", deliveries: 1, consumer: "a", reason: "rejected" });
    const letter = await expectStatus(worker.call("GET", `${g.group}/dead-letters/${dead.deadLetterId}`), 200);
    expect(letter.json.message.id).toBe(g.ids[2]);
    const [, pending] = await statesOf(g, g.ids[3]);
    expect(pending).toMatchObject({ state: "pending", deliveries: 1, consumer: "a", reason: null });
    expect(Math.abs(pending.leaseEndsAt - now - 30_000)).toBeLessThan(20_000);
    expect(await statesOf(g, g.ids[4])).toMatchObject([{ state: "waiting" }, { state: "waiting" }]);
  });

  test("has two rows where it was replayed while pending, and follows each through", async () => {
    const g = await makeHttpGroup(worker, {}, 1);
    const first = (await g.consume()).messages;
    await expectStatus(g.post("replay", { ids: g.ids }), 200);
    expect(await statesOf(g, g.ids[0])).toMatchObject([
      { state: "pending", consumer: "a" },
      { state: "delayed", deliveries: 0, consumer: null },
    ]);
    const again = (await g.consume({ consumer: "b" })).messages;
    const both = await statesOf(g, g.ids[0]);
    expect(both.map(({ state, consumer }: { state: string; consumer: string }) => [state, consumer])).toEqual([
      ["pending", "a"],
      ["pending", "b"],
    ]);
    await g.settle({ acks: leases(again) });
    expect(await statesOf(g, g.ids[0])).toMatchObject([{ state: "pending", consumer: "a" }]);
    await g.settle({ acks: leases(first) });
    expect(await statesOf(g, g.ids[0])).toMatchObject([{ state: "done" }]);
  });

  test("is told though the stream no longer holds it, as long as a group has it; then it is unknown", async () => {
    const g = await makeHttpGroup(worker, {}, 2);
    const [a = "", b = ""] = leases((await g.consume()).messages);
    await g.settle({ rejects: [{ lease: a }], acks: [b] });
    await expectStatus(worker.call("POST", `${g.path}/trim`, { maxLength: 0, exact: true }), 200);
    expect(await statesOf(g, g.ids[0])).toMatchObject([{ state: "dead" }]);
    await expectStatus(g.post("dead-letters/redrive", { all: true }), 200);
    expect(await statesOf(g, g.ids[0])).toMatchObject([{ state: "delayed", deliveries: 0 }]);
    await g.settle({ acks: leases((await g.consume()).messages) });
    for (const id of g.ids) {
      const gone = await worker.call("GET", `${g.path}/messages/${id}/states`);
      expect(gone).toMatchObject({ status: 404, json: { code: "unknown-message" } });
    }
    const never = await worker.call("GET", `${g.path}/messages/18446744073709551615-18446744073709551615/states`);
    expect(never).toMatchObject({ status: 404, json: { code: "unknown-message" } });
    expect(await worker.call("GET", "/v1/streams/none/messages/1-1/states")).toMatchObject({
      status: 404,
      json: { code: "unknown-stream" },
    });
  });

  test("forgets dead letters that were deleted, by name and by age", async () => {
    const g = await makeHttpGroup(worker, {}, 4);
    await g.settle({ rejects: leases((await g.consume()).messages).map((lease) => ({ lease })) });
    const [one] = await statesOf(g, g.ids[0]);
    const path = `${g.group}/dead-letters`;
    await expectStatus(worker.call("DELETE", path, { ids: [one.deadLetterId] }), 200);
    expect(await statesOf(g, g.ids[0])).toMatchObject([{ state: "done" }]);
    expect(await statesOf(g, g.ids[1])).toMatchObject([{ state: "dead" }]);
    const native = nativeClient();
    const index = g.stream.keys.deadIndex("g");
    expect(await native.zcard(index)).toBe(6);
    await expectStatus(worker.call("DELETE", path, { before: "+" }), 200);
    expect(await statesOf(g, g.ids[1])).toMatchObject([{ state: "done" }]);
    expect(await native.exists(index)).toBe(0);
  });
});

describe("the list of what is delayed", () => {
  test("holds all that is to come back by the time at which it is due, page by page, and says why", async () => {
    const g = await makeHttpGroup(worker, {}, 12);
    const messages = (await g.consume({ batchSize: 12 })).messages;
    const all = leases(messages);
    await g.settle({
      retries: all.slice(0, 8).map((lease, i) => ({ lease, delayMs: 60_000 * (8 - i), reason: i === 0 ? "busy" : "" })),
      rejects: all.slice(8, 10).map((lease) => ({ lease, reason: "bad" })),
      releases: all.slice(10, 11),
    });
    await expectStatus(g.post("dead-letters/redrive", { all: true }), 200);
    await expectStatus(g.post("replay", { ids: [g.ids[11]] }), 200);
    expect((await g.info()).delayed).toBe(12);
    for (const limit of [1, 5, 100]) {
      const found = [];
      let cursor: string | null = "";
      while (cursor !== null) {
        const query: string = cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`;
        const { json } = await expectStatus(worker.call("GET", `${g.group}/delayed?limit=${limit}${query}`), 200);
        expect(json.delayed.length).toBeLessThanOrEqual(limit);
        found.push(...json.delayed);
        cursor = json.next;
      }
      expect(found).toHaveLength(12);
      expect(found.map(({ dueAt }) => dueAt)).toEqual(found.map(({ dueAt }) => dueAt).sort((x, y) => x - y));
      expect(found.slice(-8).map(({ id }) => id)).toEqual(g.ids.slice(0, 8).reverse());
      expect(found.at(-1)).toMatchObject({ from: "retry", reason: "busy", deliveries: 1, type: "even" });
      expect(found.filter(({ from }) => from === "redrive").map(({ reason }) => reason)).toEqual(["bad", "bad"]);
      expect(found.filter(({ from }) => from === "replay")).toMatchObject([{ id: g.ids[11], deliveries: 0 }]);
    }
  });

  test.each(["x", "1~2", "1~1.a~1", "-1~1.a~1~c"])("refuses the cursor %j", async (cursor) => {
    const g = await makeHttpGroup(worker, {}, 0);
    const answer = await worker.call("GET", `${g.group}/delayed?cursor=${encodeURIComponent(cursor)}`);
    expect(answer).toMatchObject({ status: 400, json: { code: "invalid-request", errors: [{ path: "cursor" }] } });
  });

  test("goes on where a page ended though that message was handed out meanwhile", async () => {
    const g = await makeHttpGroup(worker, {}, 6);
    await g.settle({
      retries: leases((await g.consume()).messages).map((lease, i) => ({ lease, delayMs: 1_000 * i })),
    });
    const { json } = await worker.call("GET", `${g.group}/delayed?limit=2`);
    await passTimeOfSideStore(nativeClient(), g.stream, "g");
    await g.consume({ batchSize: 2 });
    const rest = await expectStatus(
      worker.call("GET", `${g.group}/delayed?limit=100&cursor=${encodeURIComponent(json.next)}`),
      200,
    );
    expect(rest.json.next).toBeNull();
    const { json: pending } = await worker.call("GET", `${g.group}/pending`);
    expect(pending.pending).toHaveLength(2);
  });
});

test("the list of what is pending gives leases by which an operator settles, and tells when they end", async () => {
  const g = await makeHttpGroup(worker, { ackWaitMs: 60_000 }, 4);
  await g.settle({
    retries: leases((await g.consume({ batchSize: 2 })).messages).map((lease) => ({ lease, delayMs: 0 })),
  });
  await g.consume({ batchSize: 10 });
  await g.consume({ batchSize: 10 });
  const { json } = await expectStatus(worker.call("GET", `${g.group}/pending`), 200);
  expect(json.pending).toHaveLength(4);
  for (const { leaseEndsAt, idleMs } of json.pending) {
    expect(Math.abs(leaseEndsAt + idleMs - Date.now() - 60_000)).toBeLessThan(10_000);
  }
  const all = json.pending.map(({ lease }: { lease: string }) => lease);
  expect(await g.settle({ releases: all })).toMatchObject({ released: 4, stale: [] });
  // What a consumer leaves behind is Weir's, and its lease ends at once.
  await g.consume({ batchSize: 10 });
  await removeConsumer(g.stream, "g", "a");
  await g.settle({ acks: leases((await g.consume({ batchSize: 10, consumer: "b" })).messages) });
  expect(await g.info()).toMatchObject({ pending: 0, delayed: 0 });
});
