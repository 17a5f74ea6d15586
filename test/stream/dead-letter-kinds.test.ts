import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import { summarizeDeadLetters } from "../../shared/stream/dead-letter-kinds.ts";
import { getDeadLetter, redrive } from "../../shared/stream/dead-letters.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { nativeClient, type TransportName } from "../support/redis.ts";
import { leasesOf, makeStream, poll, produceNumbers, settleSome, type TestStream } from "../support/streams.ts";

/** The fields of a dead letter, flat; what another client may have written into it, too. */
type Fields = readonly (string | Buffer)[];

const rejected = (detail?: string, type?: string): Fields => [
  ...(type === undefined ? [] : ["type", type]),
  ...["data", "1", "weir-id", "1-1", "weir-reason", "rejected"],
  ...(detail === undefined ? [] : ["weir-detail", detail]),
];

/** A stream whose group `g` has these dead letters, of the times 1, 2, 3 and so on. */
async function withLetters(letters: readonly Fields[], transport: TransportName = "tcp"): Promise<TestStream> {
  const stream = await makeStream(["g"], { transport });
  const pipeline = nativeClient().pipeline();
  for (const [i, fields] of letters.entries()) pipeline.call("XADD", stream.keys.dead("g"), `${i + 1}-0`, ...fields);
  await pipeline.exec();
  return stream;
}

/** Natively, and quickly: `count` dead letters by a script, whose words are numbered where there are many kinds. */
async function fill(stream: TestStream, count: number, kinds: number, padding = 0): Promise<void> {
  const source = `
    for i = 1, ARGV[1] do
      local detail = (i % ARGV[2]) .. string.rep('x', ARGV[3])
      redis.call('XADD', KEYS[1], i .. '-0', 'data', '1', 'weir-reason', 'rejected', 'weir-detail', detail)
    end`;
  await nativeClient().eval(source, 1, stream.keys.dead("g"), count, kinds, padding);
}

test("dead letters of one kind are counted together, most first, with when they died and the last one's id", async () => {
  const letters = [rejected("no", "a"), rejected("no", "b"), rejected("no", "a"), rejected("yes", "a"), rejected("no")];
  const stream = await withLetters([...letters, rejected("no", "a")]);
  const { kinds, complete } = await summarizeDeadLetters(stream, "g");
  expect(complete).toBe(true);
  expect(kinds[0]).toEqual({
    reason: "rejected",
    type: "a",
    detail: "no",
    count: 3,
    oldestAt: 1,
    newestAt: 6,
    exampleId: "6-0",
  });
  // Of equally many those that came last.
  expect(kinds.slice(1)).toMatchObject([
    { type: null, detail: "no", count: 1, exampleId: "5-0" },
    { type: "a", detail: "yes", count: 1, exampleId: "4-0" },
    { type: "b", detail: "no", count: 1, exampleId: "2-0" },
  ]);
  expect(await getDeadLetter(stream, "g", kinds[0]?.exampleId ?? "")).toMatchObject({ deadAt: 6 });
});

test("a group without dead letters has no kinds, and nothing is made by asking", async () => {
  const stream = await makeStream(["g"]);
  expect(await summarizeDeadLetters(stream, "g")).toEqual({ kinds: [], complete: true });
  expect(await nativeClient().exists(stream.keys.dead("g"))).toBe(0);
});

test("what Weir itself records is told by its reasons and words", async () => {
  const stream = await makeStream(["g"]);
  const ids = await produceNumbers(stream, 3);
  const [first = "", second = "", third = ""] = leasesOf((await poll(stream, "g")).messages);
  await nativeClient().xdel(stream.keys.stream, ids[2] ?? "");
  const rejects = [{ lease: first, reason: "no" }, { lease: second }, { lease: third, reason: "gone" }];
  await settleSome(stream, "g", { rejects });
  const { kinds } = await summarizeDeadLetters(stream, "g");
  expect(new Set(kinds.map(({ reason, detail }) => `${reason} ${detail}`))).toEqual(
    new Set(["rejected no", "rejected null", "payload-missing gone"]),
  );
});

test.each([["tcp"], ["rest"]] as const)(
  "over %s each kind, given to a redrive, takes those counted and no others",
  async (transport) => {
    const long = "😀".repeat(1_024);
    const foreign: Fields[] = [
      ["data", "1"],
      ["type", "", "weir-detail", ""],
      ["weir-reason", "rejected", "weir-detail", ""],
      ["weir-reason", "bored", "type", "a", "type", "b", "weir-detail", "none", "weir-detail", "="],
      ["weir-fields", '["type","packed","x","1"]', "type", "not this"],
      ["weir-fields", "[[", "type", "not packed"],
      ["weir-fields", '["type",5]'],
      ["weir-fields", "null", "weir-id", "nonsense"],
    ];
    const own = [undefined, "none", "=", "no", "no ", "1 a", "\u0000", long].flatMap((detail) =>
      [undefined, "none", "1 a", long].map((type) => rejected(detail, type)),
    );
    const stream = await withLetters([...own, ...foreign, ...own, ...foreign], transport);
    const { kinds, complete } = await summarizeDeadLetters(stream, "g");
    expect(complete).toBe(true);
    expect(kinds.reduce((sum, { count }) => sum + count, 0)).toBe(2 * (own.length + foreign.length));
    expect(kinds.length).toBeGreaterThan(own.length);
    for (const { reason, type, detail, count } of kinds) {
      const kind = { reason, type, detail, limit: 1_000 };
      expect(await redrive(stream, "g", { ...kind, dryRun: true })).toMatchObject({ count });
      expect(await redrive(stream, "g", kind)).toMatchObject({ count, next: null });
    }
    expect(await groupInfo(stream, "g", 0)).toMatchObject({ deadLetters: 0 });
  },
);

test("those without payload are counted, and stay where they are", async () => {
  const stream = await withLetters([["weir-reason", "payload-missing", "weir-detail", "no"]]);
  const { kinds } = await summarizeDeadLetters(stream, "g");
  expect(kinds).toMatchObject([{ reason: "payload-missing", type: null, detail: "no", count: 1 }]);
  expect(await redrive(stream, "g", { reason: "payload-missing", type: null, detail: "no", limit: 9 })).toMatchObject({
    count: 0,
  });
});

describe.each(["tcp", "rest"] as const)("over %s what other clients wrote breaks nothing:", (transport) => {
  test("words of a megabyte are counted together where they begin alike, cut, and too long for a redrive", async () => {
    const words = (end: string) => "\u20ac".repeat(350_000) + end;
    const others = [rejected("no", words("t")), rejected("x".repeat(1_025)), rejected("x".repeat(1_026))];
    const stream = await withLetters([rejected(words("a")), rejected(words("b")), ...others], transport);
    const { kinds, complete } = await summarizeDeadLetters(stream, "g");
    expect(complete).toBe(true);
    expect(kinds).toMatchObject([
      { detail: `${"x".repeat(1_024)}…`, count: 2, oldestAt: 4, newestAt: 5 },
      { detail: `${"\u20ac".repeat(1_024)}…`, count: 2, oldestAt: 1, newestAt: 2 },
      { detail: "no", type: `${"\u20ac".repeat(1_024)}…`, count: 1 },
    ]);
  });

  test("bytes that are not UTF-8 are shown as such, and a redrive by them takes nothing else", async () => {
    const bytes = Buffer.from([255, 0, 192]);
    const stream = await withLetters(
      [["type", bytes, "weir-reason", bytes, "weir-detail", bytes, bytes, "x"]],
      transport,
    );
    const { kinds } = await summarizeDeadLetters(stream, "g");
    const shown = "\ufffd\u0000\ufffd";
    expect(kinds).toMatchObject([{ reason: "unknown", type: shown, detail: shown, count: 1 }]);
    expect(await redrive(stream, "g", { type: shown, detail: shown, limit: 9 })).toMatchObject({ count: 0 });
  });

  test("an entry with 10,000 fields is a dead letter like any other, and so is one with the last id that there may be", async () => {
    const wide = Array.from({ length: 10_000 }, (_, i) => [`f${i}`, "v"]).flat();
    const stream = await withLetters([["weir-reason", "trimmed", ...wide, "type", "wide"]], transport);
    const last = "18446744073709551615-18446744073709551615";
    await nativeClient().call("XADD", stream.keys.dead("g"), last, "x", "1");
    const { kinds, complete } = await summarizeDeadLetters(stream, "g");
    expect(complete).toBe(true);
    expect(kinds).toMatchObject([
      { reason: "unknown", type: null, count: 1, exampleId: last },
      { reason: "trimmed", type: "wide", count: 1, exampleId: "1-0" },
    ]);
  });
});

describe("is bounded:", () => {
  test.each([
    [10_000, 10_000, true],
    [10_001, 10_000, false],
  ])("of %i dead letters %i are counted, the newest; complete: %s", async (count, counted, isComplete) => {
    const stream = await makeStream(["g"]);
    await fill(stream, count, 4);
    const { kinds, complete } = await summarizeDeadLetters(stream, "g");
    expect(complete).toBe(isComplete);
    expect(kinds).toHaveLength(4);
    expect(kinds.reduce((sum, kind) => sum + kind.count, 0)).toBe(counted);
    expect(Math.max(...kinds.map(({ newestAt }) => newestAt))).toBe(count);
    expect(Math.min(...kinds.map(({ oldestAt }) => oldestAt))).toBe(count - counted + 1);
  });

  test.each([
    [100, true],
    [101, false],
  ])("of %i kinds 100 are answered, those with most; complete: %s", async (count, isComplete) => {
    const stream = await makeStream(["g"]);
    // 2,000 of number 0, and the oldest: found only by who counts all kinds.
    const letters = Array.from({ length: count - 1 }, (_, i) => rejected(`kind ${i}`));
    await fill(stream, 2_000, 1);
    const pipeline = nativeClient().pipeline();
    for (const [i, fields] of letters.entries())
      pipeline.call("XADD", stream.keys.dead("g"), `${i + 5_000}-0`, ...fields);
    await pipeline.exec();
    const { kinds, complete } = await summarizeDeadLetters(stream, "g");
    expect(complete).toBe(isComplete);
    expect(kinds).toHaveLength(100);
    expect(kinds[0]).toMatchObject({ detail: "0", count: 2_000, oldestAt: 1, newestAt: 2_000 });
    expect(kinds[1]).toMatchObject({ detail: `kind ${count - 2}` });
  });

  test("where each has long words of its own, it stops before they fill the memory", async () => {
    const stream = await makeStream(["g"]);
    await fill(stream, 8_000, 1_000_000, 1_000);
    const before = stream.redis.usage.roundTrips;
    const { kinds, complete } = await summarizeDeadLetters(stream, "g");
    expect({ complete, kinds: kinds.length }).toEqual({ complete: false, kinds: 100 });
    // Of eight steps that all would take.
    expect(stream.redis.usage.roundTrips - before).toBe(5);
  });
});

test.each([
  [1, 65_536, 4],
  [17, 65_536, 5],
  [45, 65_536, 6],
  [10_000, 65_536, 380],
  [10_000, 1_024, 70],
])("of %i dead letters, of messages up to %i bytes, it costs %i commands", async (count, maxMessageBytes, commands) => {
  const stream = await makeStream(["g"], { settings: { maxMessageBytes } });
  await fill(stream, count, 4);
  const before = stream.redis.usage.commands;
  await summarizeDeadLetters(stream, "g");
  expect(stream.redis.usage.commands - before).toBe(commands);
});

test("a missing group or stream is said, and a key of another type is a conflict", async () => {
  const stream = await makeStream(["g"]);
  await expect(summarizeDeadLetters(stream, "none")).rejects.toMatchObject({ code: "unknown-group" });
  await nativeClient().set(stream.keys.dead("g"), "text");
  await expect(summarizeDeadLetters(stream, "g")).rejects.toMatchObject({ code: "conflict" });
  await nativeClient().del(stream.keys.stream);
  await expect(summarizeDeadLetters(stream, "g")).rejects.toMatchObject({ code: "unknown-stream" });
});
