import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { ReplyError } from "../../shared/redis/connection.ts";
import { asWeirError, type Call } from "../../shared/redis/redis.ts";
import { defineScript } from "../../shared/redis/script.ts";
import { failure } from "../support/failure.ts";
import { type OwnRedis, ownRedis } from "../support/own-redis.ts";
import { BOTH_TRANSPORTS, nativeClient, openRedis, uniquePrefix } from "../support/redis.ts";
import { eventually } from "../support/wait.ts";

const appendTwice = defineScript(
  "append-twice",
  [],
  /* lua */ `call("RPUSH", KEYS[1], ARGV[1]) call("RPUSH", KEYS[1], ARGV[1]) return reply(1)`,
);

describe.each(BOTH_TRANSPORTS)("over %s", (transport) => {
  test("a key of another type is a conflict", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    await redis.send(["SET", key, "text"]);
    expect(await failure(redis.send(["XADD", key, "*", "a", "1"]))).toMatchObject({ code: "conflict" });
  });

  test("a missing group, and a missing stream, is an unknown group", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    const read: Call = ["XREADGROUP", "GROUP", "g", "c", "STREAMS", key, ">"];
    expect(await failure(redis.send(read))).toMatchObject({ code: "unknown-group" });
    await redis.send(["XADD", key, "*", "a", "1"]);
    expect(await failure(redis.send(read))).toMatchObject({ code: "unknown-group" });
  });

  test("a group that is already there keeps its word, which is not BUSY", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    const create: Call = ["XGROUP", "CREATE", key, "g", "0", "MKSTREAM"];
    const [, again] = await redis.pipeline([create, create]);
    expect(again).toMatchObject({ name: "ReplyError", word: "BUSYGROUP" });
  });

  test("a full Redis says so and nothing is written, by a command or by a script", async () => {
    const own = await ownRedis();
    const redis = own.open(transport);
    await redis.send(["XADD", "s", "1-1", "a", "1"]);
    await redis.send(["XGROUP", "CREATE", "s", "g", "0"]);
    await redis.send(["XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">"]);
    await own.native.config("SET", "maxmemory", "1");
    const writes: Call[] = [["XADD", "s", "*", "data", "x"], { script: appendTwice, keys: ["list"], args: ["x"] }];
    for (const write of writes) {
      const error = await failure(redis.send(write));
      expect(error).toMatchObject({ code: "redis-full", options: { retryAfterS: expect.any(Number) } });
    }
    expect(
      await redis.pipeline([
        ["XLEN", "s"],
        ["EXISTS", "list"],
      ]),
    ).toEqual([1, 0]);
    expect(await redis.send(["XACK", "s", "g", "1-1"])).toBe(1);
    await own.native.config("SET", "maxmemory", "0");
    expect(await redis.send({ script: appendTwice, keys: ["list"], args: ["x"] })).toBe(1);
  });

  test("a read-only replica refuses writes and serves reads", async () => {
    const own = await ownRedis();
    const redis = own.open(transport);
    await redis.send(["SET", "k", "v"]);
    await own.native.replicaof("127.0.0.1", 1);
    for (const write of writesOf("k")) {
      const error = await failure(redis.send(write));
      expect(error).toMatchObject({ code: "redis-unavailable", message: expect.stringContaining("READONLY") });
    }
    expect(await redis.send(["GET", "k"])).toBe("v");
  });

  test("a replica that lost its master and must not serve old data is unavailable", async () => {
    const own = await ownRedis();
    const redis = own.open(transport);
    await own.native.config("SET", "replica-serve-stale-data", "no");
    await own.native.replicaof("127.0.0.1", 1);
    const error = await failure(redis.send(["GET", "k"]));
    expect(error).toMatchObject({ code: "redis-unavailable", message: expect.stringContaining("MASTERDOWN") });
  });

  test("a Redis that can not save refuses writes", async () => {
    const own = await ownRedis();
    const redis = own.open(transport);
    await breakSaving(own);
    for (const write of writesOf("k")) {
      const error = await failure(redis.send(write));
      expect(error).toMatchObject({ code: "redis-unavailable", message: expect.stringContaining("MISCONF") });
    }
    expect(await redis.send(["EXISTS", "k"])).toBe(0);
  });

  test("a Redis that is loading its data is unavailable, and works afterwards", async () => {
    const own = await ownRedis(["--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"]);
    const redis = own.open(transport);
    const filler = Array.from({ length: 200 }, (_, i): Call => ["SET", `k${i}`, "x".repeat(512)]);
    await redis.pipeline(filler);
    await own.native.config("SET", "key-load-delay", "5000");
    const reloaded = own.native.call("DEBUG", "RELOAD");
    const error = await eventually("Redis is loading", async () => {
      const outcome = await redis.send(["GET", "k1"]).catch((error: unknown) => error);
      return outcome instanceof Error ? outcome : undefined;
    });
    expect(error).toMatchObject({
      code: "redis-unavailable",
      message: expect.stringContaining("LOADING"),
      options: { retryAfterS: expect.any(Number) },
    });
    expect(await failure(redis.send(["SET", "k1", "y"]))).toMatchObject({ code: "redis-unavailable" });
    await reloaded;
    expect(await redis.send(["GET", "k1"])).toBe("x".repeat(512));
  });

  test("a Redis that is busy with somebody's script is unavailable, and works afterwards", async () => {
    const own = await ownRedis();
    const redis = own.open(transport);
    await redis.send(["PING"]);
    await own.native.config("SET", "busy-reply-threshold", "20");
    const other = own.native.duplicate();
    onTestFinished(() => other.disconnect());
    const endless = other.eval("while true do end", 0).catch((error: unknown) => String(error));
    const error = await eventually("Redis is busy", async () => {
      const outcome = await redis.send(["GET", "k"]).catch((error: unknown) => error);
      return outcome instanceof Error ? outcome : undefined;
    });
    expect(error).toMatchObject({ code: "redis-unavailable", message: expect.stringContaining("BUSY") });
    await own.native.script("KILL");
    expect(await endless).toContain("Script killed");
    expect(await redis.send(["SET", "k", "v"])).toBe("OK");
  });

  test("the arguments that Redis quotes of a command it does not know are in no error", async () => {
    const redis = openRedis(transport);
    const [outcome] = await redis.pipeline([["NOSUCHCOMMAND", "secret-one", "secret-two"]]);
    expect(outcome).toMatchObject({
      name: "ReplyError",
      word: "ERR",
      message: expect.stringContaining("NOSUCHCOMMAND"),
    });
    const error = await failure(redis.send(["NOSUCHCOMMAND", "secret-one", "secret-two"]));
    expect(error).toMatchObject({ code: "internal-error" });
    for (const text of messages(error)) expect(text).not.toContain("secret");
  });

  test("no error of a command or script that got a payload has it in a message", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    await nativeClient().set(key, "text");
    const failing: Call[] = [
      ["XADD", key, "*", "data", "secret"],
      ["XADD", key, "secret", "data"],
      ["XADD", key, "*", "data", "secret", "odd"],
      ["SET", key, "v", "secret"],
      ["INCRBY", key, "secret"],
      ["XPENDING", key, "secret"],
      ["EVAL", "return redis.call('XADD', KEYS[1], '*', 'data', ARGV[1])", 1, key, "secret"],
      ["EVAL", "return cjson.decode(ARGV[1])", 0, "{secret"],
      ["EVAL", "return ARGV[1] + 1", 0, "secret"],
      ["EVAL", "return redis.call('NOSUCH', ARGV[1])", 0, "secret"],
      { script: appendTwice, keys: [key], args: ["secret"] },
    ];
    for (const call of failing) {
      const error = await failure(redis.send(call));
      for (const text of messages(error)) expect(text).not.toContain("secret");
    }
  });
});

describe("asWeirError", () => {
  test.each([
    ["WRONGTYPE Operation against a key holding the wrong kind of value", "conflict", undefined],
    ["NOGROUP No such key 's' or consumer group 'g'", "unknown-group", undefined],
    ["OOM command not allowed when used memory > 'maxmemory'.", "redis-full", 5],
    ["LOADING Redis is loading the dataset in memory", "redis-unavailable", 5],
    ["MASTERDOWN Link with MASTER is down", "redis-unavailable", 5],
    ["READONLY You can't write against a read only replica.", "redis-unavailable", 5],
    ["READONLY You can't write against a read only replica. script: 5c2a, on @user_script:1.", "redis-unavailable", 5],
    ["MISCONF Redis is configured to save RDB snapshots", "redis-unavailable", 5],
    ["BUSY Redis is busy running a script.", "redis-unavailable", 5],
    ["CLUSTERDOWN Hash slot not served", "redis-unavailable", 5],
    ["TRYAGAIN Multiple keys request during rehashing of slot", "redis-unavailable", 5],
    ["NOREPLICAS Not enough good replicas to write.", "redis-unavailable", 5],
    ["NOAUTH Authentication required.", "redis-unavailable", 5],
    ["WRONGPASS invalid or missing auth token.", "redis-unavailable", 5],
    ["NOPERM this user has no permissions to run the 'evalsha' command", "redis-unavailable", 5],
    ["Unauthorized", "redis-unavailable", 5],
    ["ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.", "redis-unavailable", 60],
    ["ERR max requests limit exceeded. Limit: 500000, Usage: 500000.", "redis-unavailable", 60],
    ["ERR max concurrent connections exceeded", "redis-unavailable", 5],
    ["ERR max request size exceeded. Limit: 10485760 bytes, Actual: 10485761 bytes.", "payload-too-large", undefined],
    ["ERR max key size exceeded. Limit: 32768 bytes, Actual: 40000 bytes", "payload-too-large", undefined],
    ["ERR max single record size exceeded", "redis-full", 60],
    ["ERR DB capacity quota exceeded", "redis-full", 60],
    ["ERR syntax error", "internal-error", undefined],
    ["BUSYGROUP Consumer Group name already exists", "internal-error", undefined],
    ["OOMPH is no code word of Redis", "internal-error", undefined],
    ["something in no known form", "internal-error", undefined],
    ["", "internal-error", undefined],
  ])("%s → %s", (text, code, retryAfterS) => {
    const cause = new ReplyError(text);
    const error = asWeirError(cause);
    expect(error).toMatchObject({ code, cause });
    expect(error.options.retryAfterS).toBe(retryAfterS);
  });

  test.each([
    "WRONGTYPE secret",
    "NOGROUP secret",
    "OOM secret",
    "READONLY secret",
    "ERR secret",
    "ERR max x limit exceeded secret",
  ])("tells a client nothing of Redis' own text: %s", (text) => {
    expect(asWeirError(new ReplyError(text)).message).not.toContain("secret");
  });

  test.each([
    ["WRONGTYPE Operation", "WRONGTYPE"],
    ["NOSCRIPT", "NOSCRIPT"],
    ["XReadGroup is cancelled.", "ERR"],
    ["Unauthorized", "ERR"],
    ["", "ERR"],
  ])("the word of %j is %s", (text, word) => {
    expect(new ReplyError(text).word).toBe(word);
  });
});

function writesOf(key: string): Call[] {
  return [["SET", key, "w"], { script: appendTwice, keys: [`${key}-list`], args: ["x"] }];
}

function messages(error: unknown): string[] {
  return error instanceof Error ? [error.message, ...messages(error.cause)] : [];
}

/** The file can not be written where the folder is gone. */
async function breakSaving({ native, dir }: OwnRedis): Promise<void> {
  await mkdir(join(dir, "left"), { recursive: true });
  await rm(dir, { recursive: true, force: true });
  await native.config("SET", "save", "900 1");
  // Else it would not end either, as long as it can not save.
  onTestFinished(async () => {
    await native.config("SET", "save", "");
  });
  await native.bgsave();
  await eventually("the failed save is noticed", async () => {
    return (await native.info("persistence")).includes("rdb_last_bgsave_status:err") || undefined;
  });
}
