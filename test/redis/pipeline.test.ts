import { describe, expect, test } from "vitest";
import { type Outcome, ReplyError } from "../../shared/redis/connection.ts";
import type { Call } from "../../shared/redis/redis.ts";
import { defineScript } from "../../shared/redis/script.ts";
import { failure } from "../support/failure.ts";
import { ownRedis } from "../support/own-redis.ts";
import { BOTH_TRANSPORTS, nativeClient, openRedis, uniquePrefix } from "../support/redis.ts";

const increment = defineScript("increment", [], /* lua */ `return reply(call("INCR", KEYS[1]))`);
const append = defineScript(
  "append",
  [],
  /* lua */ `call("RPUSH", KEYS[1], ARGV[1]) return reply(call("LLEN", KEYS[1]))`,
);
const forgiving = defineScript(
  "forgiving",
  [],
  /* lua */ `
local failed = try("LPUSH", KEYS[1], "x")
return reply({ failed.err, call("GET", KEYS[1]) })`,
);

const word = (outcome: Outcome | undefined) => (outcome instanceof ReplyError ? outcome.word : outcome);

describe.each(BOTH_TRANSPORTS)("over %s", (transport) => {
  test("an error of one command leaves the other outcomes as they are", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    const outcomes = await redis.pipeline([
      ["SET", key, "text"],
      ["INCR", key],
      ["LPUSH", key, "x"],
      ["NOSUCHCOMMAND", key],
      ["XREADGROUP", "GROUP", "g", "c", "STREAMS", `${key}none`, ">"],
      ["GET", key],
    ]);
    expect(outcomes.map(word)).toEqual(["OK", "ERR", "WRONGTYPE", "ERR", "NOGROUP", "text"]);
    expect(redis.usage.roundTrips).toBe(1);
  });

  test("1,000 commands run in order, in one round trip", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    const calls = Array.from({ length: 1000 }, (_, i): Call => (i % 2 ? ["RPUSH", key, i] : ["LLEN", key]));
    const outcomes = await redis.pipeline(calls);
    expect(outcomes).toEqual(Array.from({ length: 1000 }, (_, i) => (i % 2 ? (i + 1) / 2 : i / 2)));
    const pushed = Array.from({ length: 500 }, (_, i) => String(2 * i + 1));
    expect(await nativeClient().lrange(key, 0, -1)).toEqual(pushed);
    expect(redis.usage).toMatchObject({ commands: 1000, roundTrips: 1 });
  });

  test("pipelines under way at the same time get their own answers", async () => {
    const redis = openRedis(transport);
    const texts = Array.from({ length: 50 }, (_, i) => `text ${i}`);
    const answers = await Promise.all(texts.map((text) => redis.pipeline([["PING", text], ["PING"]])));
    expect(answers).toEqual(texts.map((text) => [text, "PONG"]));
  });

  test("an empty pipeline makes no round trip and counts nothing", async () => {
    const redis = openRedis(transport);
    expect(await redis.pipeline([])).toEqual([]);
    expect(redis.usage).toEqual({ commands: 0, roundTrips: 0, durationMs: 0 });
  });

  describe("a script", () => {
    test("that Redis has never seen runs once, and from then on in one round trip", async () => {
      const { open, native } = await ownRedis();
      const redis = open(transport);
      expect(await redis.send({ script: increment, keys: ["n"], args: [] })).toBe(1);
      expect(redis.usage.roundTrips).toBe(2);
      expect(await redis.send({ script: increment, keys: ["n"], args: [] })).toBe(2);
      expect(redis.usage.roundTrips).toBe(3);
      expect(await native.get("n")).toBe("2");
    });

    test("runs once when the cache was flushed, and so do two, and one twice, in one pipeline", async () => {
      const { open, native } = await ownRedis();
      const redis = open(transport);
      const calls: Call[] = [
        { script: increment, keys: ["n"], args: [] },
        ["INCR", "plain"],
        { script: append, keys: ["list"], args: ["a"] },
        { script: increment, keys: ["n"], args: [] },
        { script: append, keys: ["list"], args: ["b"] },
      ];
      for (const runs of [1, 2, 3]) {
        await native.script("FLUSH");
        expect(await redis.pipeline(calls)).toEqual([2 * runs - 1, runs, 2 * runs - 1, 2 * runs, 2 * runs]);
        expect(redis.usage.roundTrips).toBe(2 * runs);
      }
      expect(await native.lrange("list", 0, -1)).toEqual(["a", "b", "a", "b", "a", "b"]);
      expect(await native.mget("n", "plain")).toEqual(["6", "3"]);
    });

    test("that is cached keeps its outcome when another one of the pipeline is not", async () => {
      const { open } = await ownRedis();
      const redis = open(transport);
      await redis.send({ script: increment, keys: ["n"], args: [] });
      const outcomes = await redis.pipeline([
        { script: append, keys: ["list"], args: ["a"] },
        { script: increment, keys: ["n"], args: [] },
        ["LPUSH", "n", "x"],
      ]);
      expect(outcomes.map(word)).toEqual([1, 2, "WRONGTYPE"]);
    });

    test("that fails keeps the code word of what failed in it", async () => {
      const redis = openRedis(transport);
      const key = uniquePrefix();
      await redis.send(["SET", key, "text"]);
      const call = { script: append, keys: [key], args: ["a"] };
      // The first run goes by source, the second by hash.
      for (const _ of [1, 2]) expect((await redis.pipeline([call])).map(word)).toEqual(["WRONGTYPE"]);
      expect(await failure(redis.send(call))).toMatchObject({ code: "conflict" });
    });

    test("sees an error that it tries as a value", async () => {
      const redis = openRedis(transport);
      const key = uniquePrefix();
      await redis.send(["SET", key, "text"]);
      const reply = await redis.send({ script: forgiving, keys: [key], args: [] });
      expect(reply).toEqual([expect.stringMatching(/^WRONGTYPE /), "text"]);
    });

    test("that returns nothing answers nil", async () => {
      const silent = defineScript("silent", [], "return reply(nil)");
      expect(await openRedis(transport).send({ script: silent, keys: [], args: [] })).toBeNull();
    });

    test("that forgets to count its commands is a fault, not an answer", async () => {
      const uncounted = defineScript("uncounted", [], "return 'x'");
      const run = openRedis(transport).send({ script: uncounted, keys: [], args: [] });
      const cause = { message: expect.stringContaining("uncounted") };
      await expect(run).rejects.toMatchObject({ code: "outcome-unknown", cause });
    });
  });

  test("usage counts commands, those inside scripts too, and round trips exactly as the endpoint bills them", async () => {
    const { open, upstash, native } = await ownRedis();
    const redis = open(transport);
    const check = async (calls: readonly Call[]) => {
      const before = { ...redis.usage };
      await upstash.resetUsage();
      await redis.pipeline(calls);
      const billed = await upstash.usage();
      expect(redis.usage.commands - before.commands).toBe(billed.commands);
      if (transport === "rest") expect(redis.usage.roundTrips - before.roundTrips).toBe(billed.roundTrips);
      return billed.commands;
    };
    const all: Call[] = [
      ["SET", "text", "x"],
      { script: increment, keys: ["n"], args: [] },
      { script: append, keys: ["list"], args: ["a"] },
      { script: forgiving, keys: ["text"], args: [] },
      ["LPUSH", "text", "fails, and is billed"],
      ["XLEN", "none"],
    ];
    expect(await check([["PING"]])).toBe(1);
    const first = await check(all);
    // What is not cached costs a refused EVALSHA more.
    expect(await check(all)).toBe(first - 3);
    await native.script("FLUSH");
    await check(all);
    expect(redis.usage.durationMs).toBeGreaterThan(0);
  });
});

test("the time waited for Redis is in the usage", async () => {
  const { open, upstash } = await ownRedis();
  upstash.latencyMs = 100;
  const redis = open("rest");
  await redis.send(["PING"]);
  expect(redis.usage.durationMs).toBeGreaterThanOrEqual(95);
});
