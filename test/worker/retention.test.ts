import { beforeAll, describe, expect, test } from "vitest";
import { expectOk, expectProblem, paths } from "../support/answers.ts";
import { nativeClient } from "../support/redis.ts";
import { type Answer, startWorker } from "../support/worker.ts";

const worker = startWorker();
const DAY_MS = 24 * 3_600_000;
const DEFAULTS = {
  maxAgeMs: null,
  maxLength: null,
  unfinished: "keep",
  deleteAcknowledged: false,
  deadLetterMaxAgeMs: 14 * DAY_MS,
};
const LAST_ID = "18446744073709551615-18446744073709551615";
let streams = 0;

const ok = async (method: string, path: string, body?: unknown) => expectOk(await worker.call(method, path, body));

interface Stage {
  readonly stream: string;
  readonly name: string;
  readonly ids: readonly string[];
}

/** A stream of the test's own, with groups that read from the beginning. */
async function makeStage(count: number, retention: unknown = {}, groups: readonly string[] = ["mail"]): Promise<Stage> {
  streams += 1;
  const name = `s${streams}`;
  const stream = `/v1/streams/${name}`;
  await ok("PUT", stream, { maxMessageBytes: 1_024, retention });
  for (const group of groups) await ok("PUT", `${stream}/groups/${group}`, { start: "earliest" });
  return { stream, name, ids: count === 0 ? [] : await produceTo(stream, count) };
}

async function produceTo(stream: string, count: number): Promise<string[]> {
  const messages = Array.from({ length: count }, (_, data) => ({ data }));
  return (await ok("POST", `${stream}/messages`, { messages })).ids;
}

async function consumeFrom({ stream }: Stage, group = "mail", request: object = {}): Promise<Answer["json"]> {
  return ok("POST", `${stream}/groups/${group}/consume`, { consumer: "c", batchSize: 1_000, ...request });
}

/** Acknowledges the first `count` messages; those after it stay in hand. */
async function acknowledge(stage: Stage, count: number, group = "mail"): Promise<void> {
  const { messages } = await consumeFrom(stage, group);
  await settleAcks(stage, messages.slice(0, count), group);
}

async function settleAcks({ stream }: Stage, messages: readonly { lease: string }[], group = "mail"): Promise<void> {
  const acks = messages.map(({ lease }) => lease);
  expect((await ok("POST", `${stream}/groups/${group}/settle`, { acks })).settled.acked).toBe(acks.length);
}

async function lengthOf({ stream }: Stage): Promise<number> {
  return (await ok("GET", stream)).length;
}

describe("PUT retention settings", () => {
  test.each([
    ["maxAgeMs", 1, 100 * 365 * DAY_MS],
    ["maxLength", 1, Number.MAX_SAFE_INTEGER],
    ["unfinished", "dead-letter", "drop"],
    ["deleteAcknowledged", true, true],
    ["deadLetterMaxAgeMs", 60_000, 10 * 365 * DAY_MS],
  ])("%s can be %j and %j, stays when it is absent, and null is its default", async (name, least, most) => {
    const { stream } = await makeStage(0, {}, []);
    expect((await ok("GET", stream)).config.retention).toEqual(DEFAULTS);
    for (const value of [least, most]) {
      const answer = await ok("PUT", stream, { retention: { [name]: value } });
      expect(answer.config.retention).toEqual({ ...DEFAULTS, [name]: value });
      for (const untouched of [{}, { retention: {} }, undefined, { dedupeWindowMs: 1_000 }]) {
        expect((await ok("PUT", stream, untouched)).config.retention).toEqual({ ...DEFAULTS, [name]: value });
      }
      expect((await ok("GET", stream)).config.retention).toEqual({ ...DEFAULTS, [name]: value });
    }
    expect((await ok("PUT", stream, { retention: { [name]: null } })).config.retention).toEqual(DEFAULTS);
  });

  test("deleteAcknowledged can be switched off again", async () => {
    const { stream } = await makeStage(0, { deleteAcknowledged: true }, []);
    expect((await ok("PUT", stream, { retention: { deleteAcknowledged: false } })).config.retention).toEqual(DEFAULTS);
  });

  test("null for all of it puts each back, and leaves the rest", async () => {
    const all = {
      maxAgeMs: 5,
      maxLength: 6,
      unfinished: "drop",
      deleteAcknowledged: true,
      deadLetterMaxAgeMs: 70_000,
    };
    const { stream } = await makeStage(0, all, []);
    expect((await ok("GET", stream)).config).toMatchObject({ retention: all, maxMessageBytes: 1_024 });
    expect((await ok("PUT", stream, { retention: null })).config).toMatchObject({
      retention: DEFAULTS,
      maxMessageBytes: 1_024,
    });
  });

  const invalid: [path: string, retention: string][] = [
    ["retention", "1"],
    ["retention", "[]"],
    ["retention", '"keep"'],
    ["retention.maxAge", '{"maxAge":1}'],
    ["retention.maxAgeMs", '{"maxAgeMs":0}'],
    ["retention.maxAgeMs", '{"maxAgeMs":-1}'],
    ["retention.maxAgeMs", '{"maxAgeMs":1.5}'],
    ["retention.maxAgeMs", '{"maxAgeMs":"1000"}'],
    ["retention.maxAgeMs", `{"maxAgeMs":${100 * 365 * DAY_MS + 1}}`],
    ["retention.maxLength", '{"maxLength":0}'],
    ["retention.maxLength", '{"maxLength":9007199254740992}'],
    ["retention.maxLength", '{"maxLength":1e400}'],
    ["retention.maxLength", '{"maxLength":true}'],
    ["retention.unfinished", '{"unfinished":""}'],
    ["retention.unfinished", '{"unfinished":"KEEP"}'],
    ["retention.unfinished", '{"unfinished":0}'],
    ["retention.deleteAcknowledged", '{"deleteAcknowledged":1}'],
    ["retention.deleteAcknowledged", '{"deleteAcknowledged":"true"}'],
    ["retention.deadLetterMaxAgeMs", '{"deadLetterMaxAgeMs":59999}'],
    ["retention.deadLetterMaxAgeMs", `{"deadLetterMaxAgeMs":${10 * 365 * DAY_MS + 1}}`],
  ];
  test("refuses what is not valid, and changes nothing by it", async () => {
    const { stream } = await makeStage(0, { maxLength: 7 }, []);
    for (const [path, retention] of invalid) {
      const answer = await worker.call("PUT", stream, `{"retention":${retention},"dedupeWindowMs":5000}`);
      expect([retention, paths(expectProblem(answer, "invalid-request"))]).toEqual([retention, [path]]);
    }
    const { errors } = expectProblem(
      await worker.call("PUT", stream, { retention: { maxAgeMs: 0, maxLength: 0, x: 1 }, y: 1 }),
      "invalid-request",
    );
    expect(errors.map(({ path }: { path: string }) => path).sort()).toEqual([
      "retention.maxAgeMs",
      "retention.maxLength",
      "retention.x",
      "y",
    ]);
    expect((await ok("GET", stream)).config).toMatchObject({
      retention: { ...DEFAULTS, maxLength: 7 },
      dedupeWindowMs: 300_000,
    });
    expect((await worker.call("PUT", "/v1/streams/refused", { retention: { maxLength: 0 } })).status).toBe(400);
    expectProblem(await worker.call("GET", "/v1/streams/refused"), "unknown-stream");
  });

  test("the cron trims by what they say, and its report tells it", async () => {
    const stage = await makeStage(30, { maxLength: 10 });
    await acknowledge(stage, 30);
    const report = await ok("POST", "/v1/reaper/run");
    expect(report.streams).toContainEqual({
      ...{ stream: stage.name, promoted: 0, trimmed: 20 },
      ...{ deadLettered: 0, dropped: 0 },
    });
    expect(await ok("GET", stage.stream)).toMatchObject({ length: 10, firstId: stage.ids[20] });
  });
});

describe("POST trim", () => {
  test.each([
    ["maxLength", () => ({ maxLength: 0 })],
    ["minId", () => ({ minId: LAST_ID })],
    ["olderThanMs", () => ({ olderThanMs: 0 })],
  ])("by %s takes what groups are done with, and names those that keep the rest", async (_, limit) => {
    const stage = await makeStage(20, {}, ["mail", "done"]);
    await acknowledge(stage, 20, "done");
    await acknowledge(stage, 6);
    expect(await ok("POST", `${stage.stream}/trim`, { ...limit(), exact: true })).toEqual({
      trimmed: 6,
      keptFor: [{ group: "mail", fromId: stage.ids[6] }],
      next: null,
    });
    expect(await ok("GET", stage.stream)).toMatchObject({ length: 14, firstId: stage.ids[6] });
  });

  test("exact goes to the very message, by length and by id; without it whole nodes go", async () => {
    const stage = await makeStage(250, {}, []);
    expect(await ok("POST", `${stage.stream}/trim`, { maxLength: 240 })).toEqual({
      trimmed: 0,
      keptFor: [],
      next: null,
    });
    expect(await ok("POST", `${stage.stream}/trim`, { maxLength: 240, exact: true })).toMatchObject({ trimmed: 10 });
    expect(await ok("POST", `${stage.stream}/trim`, { minId: stage.ids[17], exact: true })).toMatchObject({
      trimmed: 7,
    });
    expect((await ok("POST", `${stage.stream}/trim`, { maxLength: 20 })).trimmed % 100).toBe(83);
    expect((await ok("POST", `${stage.stream}/trim`, { maxLength: 0, exact: true })).keptFor).toEqual([]);
    expect(await lengthOf(stage)).toBe(0);
  });

  test("obeys dead-letter and drop", async () => {
    const dead = await makeStage(5, { unfinished: "dead-letter" });
    expect(await ok("POST", `${dead.stream}/trim`, { maxLength: 2, exact: true })).toEqual({
      trimmed: 3,
      keptFor: [],
      next: null,
    });
    expect(await ok("GET", `${dead.stream}/groups/mail`)).toMatchObject({ deadLetters: 3, dropped: 0, gap: null });
    const drop = await makeStage(5, { unfinished: "drop" });
    expect(await ok("POST", `${drop.stream}/trim`, { maxLength: 2, exact: true })).toEqual({
      trimmed: 3,
      keptFor: [],
      next: null,
    });
    const gap = { fromId: drop.ids[0], toId: expect.any(String), messages: 3 };
    expect(await ok("GET", `${drop.stream}/groups/mail`)).toMatchObject({ deadLetters: 0, dropped: 3, gap, lag: 2 });
  });

  test.each([
    { olderThanMs: Number.MAX_SAFE_INTEGER },
    { maxLength: Number.MAX_SAFE_INTEGER },
    { minId: "0-0" },
    { minId: "0-1" },
  ])("by %j takes nothing", async (limit) => {
    const stage = await makeStage(3, { unfinished: "drop" });
    expect(await ok("POST", `${stage.stream}/trim`, { ...limit, exact: true })).toEqual({
      trimmed: 0,
      keptFor: [],
      next: null,
    });
    expect(await lengthOf(stage)).toBe(3);
  });

  test("of an empty stream takes nothing", async () => {
    for (const unfinished of ["keep", "dead-letter", "drop"]) {
      const stage = await makeStage(0, { unfinished });
      expect(await ok("POST", `${stage.stream}/trim`, { maxLength: 0 })).toEqual({
        trimmed: 0,
        keptFor: [],
        next: null,
      });
    }
  });

  const limits = { maxLength: 1, minId: "1-0", olderThanMs: 1 };
  const invalid: [path: string, body: unknown][] = [
    ["", undefined],
    ["", {}],
    ["", { exact: true }],
    ["", limits],
    ["", { ...limits, minId: undefined }],
    ["maxLength", { maxLength: -1 }],
    ["maxLength", { maxLength: 0.5 }],
    ["maxLength", { maxLength: "1" }],
    ["maxLength", { maxLength: null }],
    ["maxLength", { maxLength: Number.MAX_SAFE_INTEGER + 1 }],
    ["minId", { minId: "1" }],
    ["minId", { minId: "" }],
    ["minId", { minId: "-" }],
    ["minId", { minId: 1 }],
    ["minId", { minId: "18446744073709551616-0" }],
    ["olderThanMs", { olderThanMs: -1 }],
    ["olderThanMs", { olderThanMs: "1d" }],
    ["olderThanMs", { olderThanMs: Number.MAX_SAFE_INTEGER + 1 }],
    ["exact", { maxLength: 0, exact: "yes" }],
    ["exact", { maxLength: 0, exact: null }],
    ["unfinished", { maxLength: 0, unfinished: "drop" }],
    ["", []],
  ];
  test("refuses what is not valid, and takes nothing", async () => {
    const stage = await makeStage(3, { unfinished: "drop" });
    for (const [path, body] of invalid) {
      const answer = await worker.call("POST", `${stage.stream}/trim`, body);
      expect([body, paths(expectProblem(answer, "invalid-request"))]).toEqual([body, [path]]);
    }
    expectProblem(await worker.call("POST", `${stage.stream}/trim?exact=true`, { maxLength: 0 }), "invalid-request");
    expectProblem(await worker.call("POST", "/v1/streams/none/trim", { maxLength: 0 }), "unknown-stream");
    expectProblem(await worker.call("GET", `${stage.stream}/trim`), "method-not-allowed");
    expect(await lengthOf(stage)).toBe(3);
  });

  test("of a key of another type is a conflict", async () => {
    await nativeClient().set(`${worker.prefix}{text}`, "of another client");
    expectProblem(await worker.call("POST", "/v1/streams/text/trim", { maxLength: 0 }), "conflict");
    expectProblem(await worker.call("GET", "/v1/streams/text/retention"), "conflict");
  });
});

const NOTHING_SCHEDULED = { scheduled: 0, overdueSince: null };

describe("GET retention", () => {
  test("without limits says that nothing would go", async () => {
    const stage = await makeStage(3);
    expect(await ok("GET", `${stage.stream}/retention`)).toEqual({
      ...NOTHING_SCHEDULED,
      unfinished: "keep",
      next: { messages: 0, messagesAre: "exact", belowId: null },
      takesFrom: [],
      heldBackBy: [],
    });
  });

  test("under keep says which groups hold it back, from where on and since when", async () => {
    const stage = await makeStage(10, { maxLength: 4 }, ["mail", "done"]);
    await acknowledge(stage, 10, "done");
    const fromId = stage.ids[0];
    expect(await ok("GET", `${stage.stream}/retention`)).toEqual({
      ...NOTHING_SCHEDULED,
      unfinished: "keep",
      next: { messages: 0, messagesAre: "exact", belowId: null },
      takesFrom: [],
      heldBackBy: [{ group: "mail", fromId, sinceMs: Number(fromId?.split("-")[0]) }],
    });
    await acknowledge(stage, 10);
    expect(await ok("GET", `${stage.stream}/retention`)).toMatchObject({ next: { messages: 6 }, heldBackBy: [] });
    expect((await ok("POST", "/v1/reaper/run")).streams).toContainEqual(
      expect.objectContaining({ stream: stage.name, trimmed: 6 }),
    );
    expect(await ok("GET", `${stage.stream}/retention`)).toMatchObject({ next: { messages: 0 }, heldBackBy: [] });
  });

  test.each(["dead-letter", "drop"])("under %s says from whom it would take how much", async (unfinished) => {
    const stage = await makeStage(10, { maxLength: 4, unfinished }, ["mail", "done"]);
    await acknowledge(stage, 10, "done");
    expect(await ok("GET", `${stage.stream}/retention`)).toEqual({
      ...NOTHING_SCHEDULED,
      unfinished,
      next: { messages: 6, messagesAre: "exact", belowId: null },
      takesFrom: [{ group: "mail", fromId: stage.ids[0], messages: 6 }],
      heldBackBy: [],
    });
    await ok("POST", "/v1/reaper/run");
    const took = unfinished === "drop" ? { dropped: 6, deadLetters: 0 } : { dropped: 0, deadLetters: 6 };
    expect(await ok("GET", `${stage.stream}/groups/mail`)).toMatchObject(took);
    expect(await ok("GET", `${stage.stream}/retention`)).toMatchObject({ next: { messages: 0 }, takesFrom: [] });
  });

  test("by age says below which id", async () => {
    const stage = await makeStage(0, { maxAgeMs: DAY_MS });
    const key = `${worker.prefix}{${stage.name}}`;
    for (const id of ["1-0", "2-0", "3-0"]) await nativeClient().xadd(key, id, "data", "1");
    const { next, heldBackBy } = await ok("GET", `${stage.stream}/retention`);
    expect(heldBackBy).toEqual([{ group: "mail", fromId: "1-0", sinceMs: 1 }]);
    expect(next).toMatchObject({ messages: 0, messagesAre: "exact" });
    expect(Math.abs(Number(next.belowId.split("-")[0]) - (Date.now() - DAY_MS))).toBeLessThan(60_000);
    await acknowledge(stage, 3);
    expect(await ok("GET", `${stage.stream}/retention`)).toMatchObject({ next: { messages: 3 }, heldBackBy: [] });
  });

  test("takes no query, and says what is not there", async () => {
    const stage = await makeStage(0);
    expectProblem(await worker.call("GET", `${stage.stream}/retention?x=1`), "invalid-request");
    expectProblem(await worker.call("GET", "/v1/streams/none/retention"), "unknown-stream");
    expectProblem(await worker.call("GET", "/v1/streams/%40x/retention"), "invalid-request");
    expectProblem(await worker.call("PUT", `${stage.stream}/retention`, {}), "method-not-allowed");
  });
});

describe("a full stream", () => {
  const append = ({ stream }: Stage, count = 1, headers = {}) =>
    worker.call(
      "POST",
      `${stream}/messages`,
      { messages: Array.from({ length: count }, () => ({ data: 1 })) },
      headers,
    );

  test("is 507 with the group that holds it back, appends nothing, and goes on when that has acknowledged", async () => {
    const stage = await makeStage(10, { maxLength: 10 }, ["mail", "done"]);
    await acknowledge(stage, 10, "done");
    const { detail } = expectProblem(await append(stage), "stream-full");
    expect(detail).toContain('"mail"');
    expect(detail).not.toContain('"done"');
    expectProblem(await append(stage, 5), "stream-full");
    expect(await ok("GET", stage.stream)).toMatchObject({ length: 10, lastId: stage.ids[9] });

    await acknowledge(stage, 3);
    expectProblem(await append(stage, 4), "stream-full");
    expect((await append(stage, 3)).status).toBe(201);
    expectProblem(await append(stage), "stream-full");
    expect(await lengthOf(stage)).toBe(10);
    const { messages } = await consumeFrom(stage, "mail", { consumer: "d" });
    expect(messages).toHaveLength(3);
  });

  test("answers a repeated Idempotency-Key all the same, and does not keep one that it refused", async () => {
    const stage = await makeStage(0, { maxLength: 2 });
    const first = await append(stage, 2, { "idempotency-key": "a" });
    const again = await append(stage, 2, { "idempotency-key": "a" });
    expect([again.status, again.json, again.headers.get("idempotency-replayed")]).toEqual([201, first.json, "true"]);
    expectProblem(await append(stage, 1, { "idempotency-key": "b" }), "stream-full");
    await acknowledge(stage, 2);
    const later = await append(stage, 1, { "idempotency-key": "b" });
    expect([later.status, later.headers.has("idempotency-replayed")]).toEqual([201, false]);
  });

  test("is none without groups, nor under drop or dead-letter, nor after the limit was lifted", async () => {
    const alone = await makeStage(10, { maxLength: 10 }, []);
    expect((await append(alone)).status).toBe(201);
    expect(await lengthOf(alone)).toBeLessThanOrEqual(10);
    for (const unfinished of ["drop", "dead-letter"]) {
      expect((await append(await makeStage(10, { maxLength: 10, unfinished }))).status).toBe(201);
    }
    const lifted = await makeStage(10, { maxLength: 10 });
    expectProblem(await append(lifted), "stream-full");
    await ok("PUT", lifted.stream, { retention: { maxLength: null } });
    expect((await append(lifted)).status).toBe(201);
    await ok("PUT", lifted.stream, { retention: { maxLength: 5 } });
    expectProblem(await append(lifted), "stream-full");
  });

  test("is full also when it holds more than 10,000 messages above its limit", async () => {
    const stage = await makeStage(0);
    for (let i = 0; i < 11; i++) await produceTo(stage.stream, 1_000);
    await ok("PUT", stage.stream, { retention: { maxLength: 10 } });
    expectProblem(await append(stage), "stream-full");
  });
});

describe("a gap", () => {
  test("is told in each consume until something after it is acknowledged, and stays in the group's figures", async () => {
    const stage = await makeStage(5, { unfinished: "drop" }, ["mail", "done"]);
    await acknowledge(stage, 5, "done");
    const held = (await consumeFrom(stage, "mail", { batchSize: 2 })).messages;
    expect(await ok("POST", `${stage.stream}/trim`, { maxLength: 0, exact: true })).toMatchObject({ trimmed: 5 });
    const gap = { fromId: stage.ids[0], toId: stage.ids[4], messages: 5 };

    const told = await consumeFrom(stage);
    expect(told).toMatchObject({ messages: [], gap });
    // What was lost is no end of the gap, however late it is acknowledged.
    const late = await consumeFrom(stage, "mail", {
      acks: held.map(({ lease }: { lease: string }) => lease),
      pollState: told.pollState,
    });
    expect(late).toMatchObject({ gap, settled: { acked: 0, stale: [] } });
    await produceTo(stage.stream, 2);
    const next = await consumeFrom(stage, "mail", { pollState: late.pollState });
    expect(next).toMatchObject({ gap, messages: [{ data: 0 }, { data: 1 }] });
    expect(await ok("GET", `${stage.stream}/groups/mail`)).toMatchObject({ gap, dropped: 5 });
    const over = await consumeFrom(stage, "mail", { acks: [next.messages[0].lease], pollState: next.pollState });
    expect(over).not.toHaveProperty("gap");
    expect(await ok("GET", `${stage.stream}/groups/mail`)).toMatchObject({ gap: null, dropped: 5 });
    expect(await consumeFrom(stage, "done")).not.toHaveProperty("gap");
    expect(await ok("GET", `${stage.stream}/groups/done`)).toMatchObject({ gap: null, dropped: 0 });
  });

  test("is told within ten polls to a consumer that is busy with new messages", async () => {
    const stage = await makeStage(30, { unfinished: "drop" });
    let { pollState } = await consumeFrom(stage, "mail", { batchSize: 1 });
    await ok("POST", `${stage.stream}/trim`, { maxLength: 25, exact: true });
    const gaps: unknown[] = [];
    for (let i = 0; i < 10; i++) {
      const batch = await consumeFrom(stage, "mail", { batchSize: 1, pollState });
      pollState = batch.pollState;
      gaps.push(batch.gap);
    }
    expect(gaps.at(-1)).toMatchObject({ fromId: stage.ids[0], messages: 5 });
  });

  test("over a settle: acknowledging by settle is not a consume; the next consume that acknowledges ends it", async () => {
    const stage = await makeStage(2, { unfinished: "drop" });
    await ok("POST", `${stage.stream}/trim`, { maxLength: 0, exact: true });
    await produceTo(stage.stream, 2);
    const { messages } = await consumeFrom(stage);
    await settleAcks(stage, messages.slice(0, 1));
    expect(await consumeFrom(stage)).toHaveProperty("gap");
    expect(await consumeFrom(stage, "mail", { acks: [messages[1].lease] })).not.toHaveProperty("gap");
  });
});

describe("a stream that is worked on", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await makeStage(20, { deleteAcknowledged: true }, ["mail", "other"]);
  });

  test("under deleteAcknowledged frees what every group has acknowledged, and a delayed retry keeps its payload", async () => {
    await acknowledge(stage, 20, "other");
    const { messages } = await consumeFrom(stage);
    const [first, ...rest] = messages;
    await settleAcks(stage, rest.slice(0, 9));
    await ok("POST", `${stage.stream}/groups/mail/settle`, { retries: [{ lease: first.lease, delayMs: 0 }] });
    expect((await ok("POST", "/v1/reaper/run")).streams).toContainEqual(
      expect.objectContaining({ stream: stage.name, trimmed: 10 }),
    );
    expect(await ok("GET", stage.stream)).toMatchObject({ length: 10, firstId: stage.ids[10] });
    expect((await consumeFrom(stage)).messages).toMatchObject([{ id: stage.ids[0], data: 0, deliveries: 2 }]);
  });
});
