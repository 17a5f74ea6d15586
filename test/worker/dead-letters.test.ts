import { beforeAll, describe, expect, test } from "vitest";
import { expectOk, expectProblem, paths } from "../support/answers.ts";
import { nativeClient } from "../support/redis.ts";
import { type Answer, startWorker } from "../support/worker.ts";

const worker = startWorker();
const TYPES = ["a", "b"];
let streams = 0;

/** A stream of the test's own, by the path of its group `mail`. */
interface Stage {
  readonly stream: string;
  readonly group: string;
  readonly letters: string;
  /** The key of the stream in Redis. */
  readonly key: string;
  readonly ids: readonly string[];
}

const ok = async (method: string, path: string, body?: unknown) => expectOk(await worker.call(method, path, body));

/** A stream with messages whose data is their number, and groups `mail` and `other` that read from the beginning. */
async function makeStage(count: number, group: unknown = {}): Promise<Stage> {
  streams += 1;
  const stream = `/v1/streams/s${streams}`;
  // Small messages, so that a batch is not limited by its bytes.
  await ok("PUT", stream, { maxMessageBytes: 1_024 });
  await ok("PUT", `${stream}/groups/mail`, { start: "earliest", ...Object(group) });
  await ok("PUT", `${stream}/groups/other`, { start: "earliest" });
  const messages = Array.from({ length: count }, (_, i) => ({
    type: TYPES[i % 2],
    data: i,
    key: `k${i}`,
    attributes: { n: `${i}` },
  }));
  const { ids } = count === 0 ? { ids: [] } : await ok("POST", `${stream}/messages`, { messages });
  const key = `${worker.prefix}{s${streams}}`;
  return { stream, group: `${stream}/groups/mail`, letters: `${stream}/groups/mail/dead-letters`, key, ids };
}

async function leases({ group }: Stage, consumer = "c"): Promise<string[]> {
  const { messages } = await ok("POST", `${group}/consume`, { consumer, batchSize: 1_000 });
  return messages.map(({ lease }: { lease: string }) => lease);
}

/** A stage whose group has rejected everything. */
async function makeRejected(count: number): Promise<Stage> {
  const stage = await makeStage(count);
  const rejects = (await leases(stage)).map((lease, i) => ({ lease, reason: `no ${i}` }));
  expect((await ok("POST", `${stage.group}/settle`, { rejects })).settled.rejected).toBe(count);
  return stage;
}

async function lettersOf({ letters }: Stage, query = "?limit=1000"): Promise<Answer["json"][]> {
  return (await ok("GET", `${letters}${query}`)).deadLetters;
}

describe("GET dead letters", () => {
  test("lists each with its whole message, why it died, how often and by whom it was handled, and when", async () => {
    const before = Date.now();
    const stage = await makeRejected(3);
    const { deadLetters, next } = await ok("GET", stage.letters);
    expect(next).toBeNull();
    for (const [i, letter] of deadLetters.entries()) {
      const message = await ok("GET", `${stage.stream}/messages/${stage.ids[i]}`);
      expect(letter).toEqual({
        id: expect.stringMatching(/^\d+-\d+$/),
        message,
        reason: "rejected",
        detail: `no ${i}`,
        deliveries: 1,
        consumer: "c",
        deadAt: Number(letter.id.split("-")[0]),
      });
      expect(letter.deadAt).toBeGreaterThanOrEqual(before - 5_000);
      expect(letter.deadAt).toBeLessThanOrEqual(Date.now() + 5_000);
      expect(await ok("GET", `${stage.letters}/${letter.id}`)).toEqual(letter);
    }
    expect(await ok("GET", stage.group)).toMatchObject({ deadLetters: 3, pending: 0, delayed: 0 });
    expect((await ok("GET", `${stage.stream}/groups/other/dead-letters`)).deadLetters).toEqual([]);
  });

  test("is empty before the first one", async () => {
    const stage = await makeStage(0);
    expect(await ok("GET", stage.letters)).toEqual({ deadLetters: [], next: null });
  });

  test("comes in pages of 100 by default, and of any size up to 1,000", async () => {
    const stage = await makeRejected(250);
    const all = await lettersOf(stage);
    expect(all.map(({ message }) => message.id)).toEqual(stage.ids);
    const first = await ok("GET", stage.letters);
    expect(first.deadLetters).toEqual(all.slice(0, 100));
    expect(first.next).toBe(all[99].id);
    const pages: unknown[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const page = await ok("GET", `${stage.letters}?limit=60${cursor === "" ? "" : `&cursor=${cursor}`}`);
      pages.push(...page.deadLetters);
      cursor = page.next;
    }
    expect(pages).toEqual(all);
  });

  test("is filtered by reason and type, together too", async () => {
    const stage = await makeRejected(6);
    expect(await lettersOf(stage, "?type=a")).toHaveLength(3);
    expect(await lettersOf(stage, "?type=a&reason=rejected")).toHaveLength(3);
    expect(await lettersOf(stage, "?type=a&reason=trimmed")).toEqual([]);
    expect(await lettersOf(stage, "?type=none")).toEqual([]);
    expect(await ok("GET", `${stage.letters}?type=b&limit=2`)).toMatchObject({ deadLetters: [{}, {}], next: /-/ });
  });

  test("gives each reason its name", async () => {
    const native = nativeClient();
    const poison = await makeStage(1, { maxDeliveries: 1 });
    const [lease] = await leases(poison, "crashed");
    await native.call(
      "XCLAIM",
      poison.key,
      "mail",
      "crashed",
      0,
      poison.ids[0] ?? "",
      "IDLE",
      10 ** 8,
      "RETRYCOUNT",
      1,
      "JUSTID",
    );
    expect(await leases(poison, "next")).toEqual([]);
    expect(await lettersOf(poison)).toMatchObject([
      { reason: "max-deliveries", detail: null, deliveries: 1, consumer: "crashed", message: { data: 0 } },
    ]);
    expect((await ok("POST", `${poison.group}/settle`, { retries: [{ lease }] })).settled.stale).toHaveLength(1);

    const retried = await makeStage(1, { maxDeliveries: 1 });
    await ok("POST", `${retried.group}/settle`, {
      retries: [{ lease: (await leases(retried))[0], reason: "gave up" }],
    });
    expect(await lettersOf(retried)).toMatchObject([{ reason: "max-deliveries", detail: "gave up" }]);

    const missing = await makeStage(1);
    const [gone] = await leases(missing);
    await worker.call("DELETE", `${missing.stream}/messages/${missing.ids[0]}`);
    await ok("POST", `${missing.group}/settle`, { rejects: [{ lease: gone }] });
    const [letter] = await lettersOf(missing);
    expect(letter).toMatchObject({ reason: "payload-missing", deliveries: 1, consumer: "c" });
    expect(letter.message).toEqual({
      id: missing.ids[0],
      type: null,
      attributes: {},
      key: null,
      producedAt: Number(missing.ids[0]?.split("-")[0]),
    });
    expect(await ok("POST", `${missing.letters}/redrive`, { all: true })).toMatchObject({ redriven: 0 });
    expect(await lettersOf(missing)).toHaveLength(1);

    const trimmed = await makeStage(2);
    await ok("PUT", trimmed.stream, { retention: { unfinished: "dead-letter" } });
    await ok("POST", `${trimmed.stream}/trim`, { maxLength: 0, exact: true });
    expect(await lettersOf(trimmed)).toMatchObject(
      trimmed.ids.map((id) => ({ reason: "trimmed", detail: null, deliveries: 0, consumer: "", message: { id } })),
    );
  });

  test("holds the payload as it was produced, to the byte, and so does a redrive", async () => {
    const stage = await makeStage(0);
    const data = '{ "big": 9007199254740993, "float":1.0, "zero":-0, "b":1,"a":"\u2028😀\\u0000" }';
    expect(
      (await worker.call("POST", `${stage.stream}/messages`, `{"messages":[{"data":${data}},{"dataBase64":"/w=="}]}`))
        .status,
    ).toBe(201);
    for (let round = 0; round < 2; round++) {
      const rejects = (await leases(stage)).map((lease) => ({ lease }));
      await ok("POST", `${stage.group}/settle`, { rejects });
      const { text } = await worker.call("GET", stage.letters);
      expect(text).toContain(`"data":${data}`);
      expect(text).toContain('"dataBase64":"/w=="');
      expect(await ok("POST", `${stage.letters}/redrive`, { all: true })).toMatchObject({ redriven: 2 });
    }
  });
});

describe("GET summary", () => {
  test("counts those of one kind together, most first, and each kind is redriven by what it says", async () => {
    const stage = await makeStage(5);
    const rejects = (await leases(stage)).map((lease, i) => (i < 4 ? { lease, reason: "no" } : { lease }));
    await ok("POST", `${stage.group}/settle`, { rejects });
    const letters = await lettersOf(stage);
    const { kinds, complete } = await ok("GET", `${stage.letters}/summary`);
    expect(complete).toBe(true);
    const kindOf = (type: string, detail: string | null, [first, last]: [number, number], count: number) => {
      const at = { oldestAt: letters[first].deadAt, newestAt: letters[last].deadAt };
      return { reason: "rejected", type, detail, count, ...at, exampleId: letters[last].id };
    };
    expect(kinds).toEqual([kindOf("b", "no", [1, 3], 2), kindOf("a", "no", [0, 2], 2), kindOf("a", null, [4, 4], 1)]);
    for (const { reason, type, detail, count } of kinds)
      expect(await ok("POST", `${stage.letters}/redrive`, { reason, type, detail })).toMatchObject({ redriven: count });
    expect(await ok("GET", `${stage.letters}/summary`)).toEqual({ kinds: [], complete: true });
  });

  test("is not taken for a dead letter's id, and takes no query", async () => {
    const stage = await makeStage(0);
    expect(await ok("GET", `${stage.letters}/summary`)).toEqual({ kinds: [], complete: true });
    expectProblem(await worker.call("GET", `${stage.letters}/summary?limit=1`), "invalid-request");
    expectProblem(await worker.call("GET", `${stage.letters}/summaries`), "invalid-request");
    expectProblem(await worker.call("POST", `${stage.letters}/summary`), "method-not-allowed");
    expectProblem(await worker.call("GET", `${stage.stream}/groups/none/dead-letters/summary`), "unknown-group");
    expectProblem(await worker.call("GET", "/v1/streams/none/groups/mail/dead-letters/summary"), "unknown-stream");
  });

  test("is a conflict where a key of another type lies", async () => {
    const stage = await makeStage(0);
    await nativeClient().set(`${stage.key}:dead:mail`, "text");
    expectProblem(await worker.call("GET", `${stage.letters}/summary`), "conflict");
  });
});

describe("POST redrive", () => {
  test("by ids hands those to this group alone, from delivery 1, each once", async () => {
    const stage = await makeRejected(4);
    await ok("POST", `${stage.stream}/groups/other/consume`, { consumer: "o", batchSize: 100 });
    const [a, b] = (await lettersOf(stage)).map(({ id }) => id);
    expect(await ok("POST", `${stage.letters}/redrive`, { ids: [a, b, a, "1-1"] })).toMatchObject({ redriven: 2 });
    expect(await ok("POST", `${stage.letters}/redrive`, { ids: [a, b] })).toMatchObject({ redriven: 0 });
    expect(await ok("GET", stage.group)).toMatchObject({ deadLetters: 2, delayed: 2 });
    const { messages } = await ok("POST", `${stage.group}/consume`, { consumer: "d" });
    expect(messages).toMatchObject([
      { id: stage.ids[0], type: "a", data: 0, key: "k0", attributes: { n: "0" }, deliveries: 1 },
      { id: stage.ids[1], type: "b", data: 1, key: "k1", attributes: { n: "1" }, deliveries: 1 },
    ]);
    expect((await ok("POST", `${stage.stream}/groups/other/consume`, { consumer: "o" })).messages).toEqual([]);
    const acks = messages.map(({ lease }: { lease: string }) => lease);
    expect((await ok("POST", `${stage.group}/settle`, { acks })).settled.acked).toBe(2);
    expect(await ok("GET", stage.group)).toMatchObject({ deadLetters: 2, delayed: 0, pending: 0 });
  });

  test("without members takes all, by reason, type and limit the oldest that fit", async () => {
    const stage = await makeRejected(10);
    expect(await ok("POST", `${stage.letters}/redrive`, { type: "b", limit: 2 })).toMatchObject({ redriven: 2 });
    expect((await lettersOf(stage, "?type=b")).map(({ message }) => message.data)).toEqual([5, 7, 9]);
    expect(await ok("POST", `${stage.letters}/redrive`, { reason: "trimmed" })).toMatchObject({ redriven: 0 });
    expect(await ok("POST", `${stage.letters}/redrive`, { reason: "rejected", type: "a" })).toMatchObject({
      redriven: 5,
    });
    expect(await ok("POST", `${stage.letters}/redrive`, { all: true })).toMatchObject({ redriven: 3 });
  });

  test("by null takes those without type or words, and by unknown what other clients have put there", async () => {
    const stage = await makeStage(1);
    await ok("POST", `${stage.stream}/messages`, { messages: [{ data: 1 }, { data: 2 }] });
    const [typed, ...untyped] = await leases(stage);
    const rejects = [{ lease: typed }, { lease: untyped[0], reason: "no" }, { lease: untyped[1] }];
    await ok("POST", `${stage.group}/settle`, { rejects });
    await nativeClient().xadd(`${stage.key}:dead:mail`, "*", "type", "a", "data", "3");
    expect((await lettersOf(stage, "?reason=unknown")).map(({ message }) => message.data)).toEqual([3]);
    const count = async (filter: unknown) =>
      (await ok("POST", `${stage.letters}/redrive`, { ...Object(filter), dryRun: true })).redriven;
    expect(await count({ type: null })).toBe(2);
    expect(await count({ detail: null })).toBe(3);
    expect(await count({ type: null, detail: null })).toBe(1);
    expect(await count({ reason: "unknown" })).toBe(1);
    expect(await count({ reason: "rejected", type: "a", detail: null })).toBe(1);
  });

  test("works when the stream has lost the original", async () => {
    const stage = await makeRejected(3);
    await ok("POST", `${stage.stream}/groups/other/seek`, { to: "latest" });
    expect(await ok("POST", `${stage.stream}/trim`, { maxLength: 0, exact: true })).toEqual({
      trimmed: 3,
      keptFor: [],
      next: null,
    });
    expect(await ok("POST", `${stage.letters}/redrive`, { all: true })).toMatchObject({ redriven: 3 });
    const { messages } = await ok("POST", `${stage.group}/consume`, { consumer: "d" });
    expect(messages.map(({ id }: { id: string }) => id)).toEqual(stage.ids);
  });

  test("of 1,000 ids takes them all", async () => {
    const stage = await makeRejected(1_000);
    const ids = (await lettersOf(stage)).map(({ id }) => id);
    expect(await ok("POST", `${stage.letters}/redrive`, { ids })).toMatchObject({ redriven: 1_000 });
    expect(await ok("GET", stage.group)).toMatchObject({ deadLetters: 0, delayed: 1_000 });
  });
});

describe("DELETE dead letters", () => {
  test("by ids deletes those, for good", async () => {
    const stage = await makeRejected(4);
    const ids = (await lettersOf(stage)).map(({ id }) => id);
    expect(await ok("DELETE", stage.letters, { ids: [ids[1], ids[1], "1-1"] })).toMatchObject({ deleted: 1 });
    expect((await lettersOf(stage)).map(({ id }) => id)).toEqual([ids[0], ids[2], ids[3]]);
    expectProblem(await worker.call("GET", `${stage.letters}/${ids[1]}`), "unknown-dead-letter");
    expect(await ok("POST", `${stage.letters}/redrive`, { ids: [ids[1]] })).toMatchObject({ redriven: 0 });
  });

  test("by time deletes those before it, given as id, ms or ISO 8601 time", async () => {
    const key = (stage: Stage) => `${stage.key}:dead:mail`;
    const native = nativeClient();
    const bounds = ["2000-0", "2000", 2_000, "1970-01-01T00:00:02Z"];
    for (const before of bounds) {
      const stage = await makeStage(0);
      for (const id of ["1000-0", "1999-9", "2000-0", "3000-0"])
        await native.xadd(key(stage), id, "weir-id", id, "weir-reason", "rejected");
      expect(await ok("DELETE", stage.letters, { before })).toMatchObject({ deleted: 2 });
      expect((await lettersOf(stage)).map(({ id }) => id)).toEqual(["2000-0", "3000-0"]);
      expect(await ok("DELETE", stage.letters, { before: "18446744073709551615-18446744073709551615" })).toMatchObject({
        deleted: 2,
      });
      expect(await ok("GET", stage.letters)).toEqual({ deadLetters: [], next: null });
    }
  });

  test.each(["+", "-"])("before %s is no internal error", async (before) => {
    const stage = await makeRejected(2);
    expect((await worker.call("DELETE", stage.letters, { before })).status).toBeLessThan(500);
  });
});

describe("what is not valid", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await makeRejected(2);
  });

  const many = Array.from({ length: 1_001 }, (_, i) => `${i + 1}-0`);
  const redrives: [path: string, body: unknown][] = [
    ["", { ids: ["1-0"], reason: "rejected" }],
    ["", { ids: ["1-0"], type: "a" }],
    ["ids", { ids: [] }],
    ["ids", { ids: many }],
    ["ids", { ids: "1-0" }],
    ["ids", { ids: null }],
    ["ids[1]", { ids: ["1-0", "1"] }],
    ["ids[0]", { ids: ["18446744073709551616-0"] }],
    ["ids[0]", { ids: [1] }],
    ["ids[0]", { ids: ["*"] }],
    ["reason", { reason: "bad" }],
    ["reason", { reason: "" }],
    ["reason", { reason: ["rejected"] }],
    ["type", { type: "" }],
    ["type", { type: 1 }],
    ["type", { type: "x".repeat(1_025) }],
    ["detail", { detail: `${"x".repeat(1_024)}…` }],
    ["reason", { reason: null }],
    ["limit", { all: true, limit: 0 }],
    ["limit", { all: true, limit: 1_001 }],
    ["limit", { all: true, limit: 1.5 }],
    ["limit", { all: true, limit: "1" }],
    ["limit", { all: true, limit: Number.MAX_SAFE_INTEGER + 1 }],
    ["", {}],
    ["", { all: true, reason: "rejected" }],
    ["", { all: true, ids: ["1-0"] }],
    ["all", { all: false }],
    ["cursor", { all: true, cursor: "1" }],
    ["cursor", { all: true, cursor: "1-0" }],
    ["dryRun", { all: true, dryRun: 1 }],
    ["", []],
    ["", null],
  ];
  test.each(redrives)("at %j in a redrive is refused: %.80j", async (path, body) => {
    expect(
      paths(expectProblem(await worker.call("POST", `${stage.letters}/redrive`, body), "invalid-request")),
    ).toEqual([path]);
  });

  const deletes: [path: string, body: unknown][] = [
    ["", {}],
    ["", undefined],
    ["", { ids: ["1-0"], before: "1-0" }],
    ["ids", { ids: [] }],
    ["ids", { ids: many }],
    ["ids[0]", { ids: ["1-"] }],
    ["before", { before: "yesterday" }],
    ["before", { before: "" }],
    ["before", { before: -1 }],
    ["before", { before: 1.5 }],
    ["before", { before: "2024-02-30" }],
    ["before", { before: Number.MAX_SAFE_INTEGER + 1 }],
    ["before", { before: null, ids: ["1-0"] }],
    ["reason", { reason: "rejected", before: "1-0" }],
    ["limit", { ids: ["1-0"], limit: 1 }],
    ["", { all: true, before: "1-0" }],
    ["all", { all: false, ids: ["1-0"] }],
    ["cursor", { all: true, cursor: "1" }],
  ];
  test.each(deletes)("at %j in a delete is refused: %.80j", async (path, body) => {
    expect(paths(expectProblem(await worker.call("DELETE", stage.letters, body), "invalid-request"))).toEqual([path]);
    expect(await lettersOf(stage)).toHaveLength(2);
  });

  test.each([
    ["reason", "reason=bad"],
    ["reason", "reason="],
    ["cursor", "cursor=1"],
    ["cursor", "cursor="],
    ["limit", "limit=0"],
    ["limit", "limit=1001"],
    ["limit", "limit=1e2"],
    ["limit", "limit=99999999999999999999"],
    ["type", "type=a&type=b"],
    ["before", "before=1"],
  ])("at %s in ?%s is refused", async (path, query) => {
    expect(paths(expectProblem(await worker.call("GET", `${stage.letters}?${query}`), "invalid-request"))).toEqual([
      path,
    ]);
  });

  test.each(["1", "1-", "-", "*", "1-0-0", "18446744073709551616-0"])("%j is no id of a dead letter", async (id) => {
    expect(paths(expectProblem(await worker.call("GET", `${stage.letters}/${id}`), "invalid-request"))).toEqual(["id"]);
  });

  test("and what is not there is told apart", async () => {
    const routes: [method: string, path: string, body?: unknown][] = [
      ["GET", "dead-letters"],
      ["GET", "dead-letters/1-0"],
      ["POST", "dead-letters/redrive", { all: true }],
      ["POST", "dead-letters/redrive", { ids: ["1-0"] }],
      ["DELETE", "dead-letters", { ids: ["1-0"] }],
      ["DELETE", "dead-letters", { before: "1-0" }],
    ];
    for (const [method, path, body] of routes) {
      const at = (group: string) => worker.call(method, `${group}/${path}`, body);
      expectProblem(await at("/v1/streams/none/groups/mail"), "unknown-stream");
      expectProblem(await at(`${stage.stream}/groups/none`), "unknown-group");
      expect(paths(expectProblem(await at(`${stage.stream}/groups/%40held`), "invalid-request"))).toEqual(["group"]);
    }
    expectProblem(await worker.call("GET", `${stage.letters}/1-0`), "unknown-dead-letter");
    expectProblem(await worker.call("POST", stage.letters, {}), "method-not-allowed");
    expectProblem(
      await worker.call("GET", stage.letters, undefined, { authorization: "Bearer no" }),
      "unauthenticated",
    );
    expectProblem(
      await worker.call("POST", `${stage.letters}/redrive`, "{}", { "content-type": "text/plain" }),
      "unsupported-media-type",
    );
  });

  test("a dead letters' key of another type is a conflict, and stays", async () => {
    const other = await makeStage(1);
    const key = `${other.key}:dead:mail`;
    const native = nativeClient();
    await native.set(key, "of another client");
    for (const [method, path, body] of [
      ["GET", ""],
      ["GET", "/1-0"],
      ["POST", "/redrive", { all: true }],
      ["DELETE", "", { before: "1-0" }],
      ["DELETE", "", { ids: ["1-0"] }],
    ] as const) {
      expectProblem(await worker.call(method, `${other.letters}${path}`, body), "conflict");
    }
    expect(await native.get(key)).toBe("of another client");
  });
});
