import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { ReplyError } from "../../shared/redis/connection.ts";
import { asWeirError, type Call, unwrap } from "../../shared/redis/redis.ts";
import { defineReadingScript, defineScript } from "../../shared/redis/script.ts";
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

  test("a script that is killed has changed nothing, and is no fault of Weir's", async () => {
    const own = await ownRedis();
    const redis = own.open(transport);
    await own.native.config("SET", "busy-reply-threshold", "20");
    const endless = defineScript("endless", [], "while true do end");
    const killed = failure(redis.send({ script: endless, keys: [], args: [] }));
    await eventually("it is killed", () => own.native.script("KILL").catch(() => undefined));
    expect(await killed).toMatchObject({ code: "redis-unavailable" });
  });

  test("a user who may not run a command is a matter of credentials; in the middle of a script that writes, the outcome is unknown", async () => {
    const own = await ownRedis();
    await own.native.call("ACL", "SETUSER", "weir", "on", ">pw", "~*", "+@all", "-xclaim");
    await own.native.call("ACL", "SETUSER", "narrow", "on", ">pw", "~weir:*", "+@all");
    await own.native.xgroup("CREATE", "weir:s", "g", "0", "MKSTREAM");
    const keys = ["weir:s", "weir:list"];
    const claim = `call("XCLAIM", KEYS[1], "g", "c", 0, "1-1")`;
    const write = defineScript("writes-then-claims", [], `call("RPUSH", KEYS[2], "x") ${claim} return reply(1)`);
    const read = defineReadingScript("claims", [], `${claim} return reply(1)`);
    const elsewhere = defineScript("elsewhere", [], `call("RPUSH", KEYS[2], "x") call("DEL", "other") return reply(1)`);
    const cases: [user: string, call: Call, code: string][] = [
      ["weir", ["XCLAIM", "weir:s", "g", "c", 0, "1-1"], "redis-unavailable"],
      ["weir", { script: read, keys, args: [] }, "redis-unavailable"],
      ["weir", { script: write, keys, args: [] }, "outcome-unknown"],
      ["narrow", ["GET", "other"], "redis-unavailable"],
      ["narrow", { script: write, keys: ["other"], args: [] }, "redis-unavailable"],
    ];
    // The endpoint lets no script use a key that it was not given.
    if (transport === "tcp") cases.push(["narrow", { script: elsewhere, keys, args: [] }, "outcome-unknown"]);
    for (const [user, call, code] of cases) {
      const error = await failure(own.openAs(transport, `${user}:pw`).then((redis) => redis.send(call)));
      expect(error).toMatchObject({ code, options: { retryAfterS: 60 } });
    }
    // What came before was done, each time.
    expect(await own.native.llen("weir:list")).toBe(transport === "tcp" ? 2 : 1);
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

describe("over tcp", () => {
  test("no password is a matter of credentials, however long the commands are, and nothing runs", async () => {
    const own = await ownRedis();
    await own.native.config("SET", "requirepass", "right");
    const long = Array.from({ length: 20 }, (_, i) => `f${i}`);
    const calls: Call[][] = [
      [["GET", "k"]],
      [["XADD", "k", "*", ...long]],
      [["SET", "k", "x".repeat(20_000)]],
      [["HMGET", "k", ...long]],
      [
        ["SET", "k", "v"],
        ["XADD", "k", "*", ...long],
        ["SET", "k", "v"],
      ],
      [{ script: appendTwice, keys: ["k"], args: long }],
    ];
    for (const pipeline of calls) {
      const error = await failure(
        own
          .open("tcp")
          .pipeline(pipeline)
          .then(([outcome = null]) => unwrap(outcome)),
      );
      expect(error).toMatchObject({ code: "redis-unavailable", options: { retryAfterS: 60 } });
      expect(error.message).toContain("credentials");
    }
    expect(await own.native.dbsize()).toBe(0);
  });

  test("no room for another connection is told as such, and nothing runs", async () => {
    const own = await ownRedis();
    await own.native.config("SET", "maxclients", "1");
    for (let i = 0; i < 20; i++) {
      const error = await failure(
        own.open("tcp").pipeline([
          ["SET", "k", "v"],
          ["SET", "k", "v"],
        ]),
      );
      // Where the connection is reset before Redis' words are read, nobody knows.
      const isReset = /ECONNRESET|EPIPE/.test(String(error.cause));
      expect(error.code, String(error.cause)).toBe(isReset ? "outcome-unknown" : "redis-unavailable");
      expect(error.options.retryAfterS).toBe(1);
      if (!isReset) expect(error.message).toContain("too many connections");
    }
    expect(await own.native.dbsize()).toBe(0);
  });
});

describe("asWeirError", () => {
  test.each([
    ["WRONGTYPE Operation against a key holding the wrong kind of value", "conflict", undefined],
    ["NOGROUP No such key 's' or consumer group 'g'", "unknown-group", undefined],
    ["OOM command not allowed when used memory > 'maxmemory'.", "redis-full", 30],
    ["LOADING Redis is loading the dataset in memory", "redis-unavailable", 5],
    ["MASTERDOWN Link with MASTER is down", "redis-unavailable", 5],
    ["READONLY You can't write against a read only replica.", "redis-unavailable", 5],
    ["READONLY You can't write against a read only replica. script: 5c2a, on @user_script:1.", "redis-unavailable", 5],
    ["MISCONF Redis is configured to save RDB snapshots", "redis-unavailable", 60],
    ["BUSY Redis is busy running a script.", "redis-unavailable", 1],
    ["CLUSTERDOWN Hash slot not served", "redis-unavailable", 5],
    ["TRYAGAIN Multiple keys request during rehashing of slot", "redis-unavailable", 1],
    ["NOREPLICAS Not enough good replicas to write.", "redis-unavailable", 5],
    ["NOAUTH Authentication required.", "redis-unavailable", 60],
    ["WRONGPASS invalid or missing auth token.", "redis-unavailable", 60],
    ["NOPERM this user has no permissions to run the 'evalsha' command", "redis-unavailable", 60],
    ["Unauthorized", "redis-unavailable", 60],
    ["ERR Protocol error: unauthenticated multibulk length", "redis-unavailable", 60],
    ["ERR Protocol error: unauthenticated bulk length", "redis-unavailable", 60],
    ["ERR max number of clients reached", "redis-unavailable", 1],
    ["ERR Protocol error: invalid bulk length", "payload-too-large", undefined],
    ["ERR The user executing the script can't run this command or subcommand", "redis-unavailable", 60],
    ["ERR ACL failure in script: User weir has no permissions to run the 'xclaim' command", "redis-unavailable", 60],
    ["NOPERM ACL failure in script: User weir has no permissions to run the 'x' command", "redis-unavailable", 60],
    ["NOSCRIPT No matching script.", "redis-unavailable", 1],
    [
      "ERR Error running script (call to f_5c2a): @user_script:12: WRONGTYPE Operation against a key",
      "conflict",
      undefined,
    ],
    ["ERR Error running script (call to f_5c2a): @user_script:1: @user_script: 1: -OOM not allowed", "redis-full", 30],
    ["ERR Error running script (call to f_5c2a): @user_script: 2: NOGROUP No such key", "unknown-group", undefined],
    ["ERR Error running script (call to f_5c2a): Script killed by user with SCRIPT KILL...", "redis-unavailable", 1],
    ["ERR Error running script (call to f_5c2a): @user_script:1: attempt to index nil", "internal-error", undefined],
    ["ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.", "redis-unavailable", 60],
    ["ERR max requests limit exceeded. Limit: 500000, Usage: 500000.", "redis-unavailable", 60],
    ["ERR max concurrent connections exceeded", "redis-unavailable", 1],
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
    "ERR The user executing the script can't run this command or subcommand script: 5c2a, on @user_script:1.",
    "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments",
    "ERR The user executing the script can't publish to the channel mentioned in the command",
    "ERR ACL failure in script: User weir has no permissions to run the 'xclaim' command",
    "NOPERM ACL failure in script: User weir has no permissions to run the 'xclaim' command",
  ])("in a script that writes, what an ACL denies leaves what came before: %s", (text) => {
    const error = asWeirError(new ReplyError(text, { ofWritingScript: true }));
    expect(error).toMatchObject({ code: "outcome-unknown", options: { retryAfterS: 60 } });
  });

  test("what Redis refuses because of its own state, it refuses before a script's first write", () => {
    for (const word of ["OOM", "READONLY", "MISCONF", "NOREPLICAS", "NOPERM", "NOAUTH"]) {
      expect(asWeirError(new ReplyError(`${word} x`, { ofWritingScript: true })).code).toMatch(/^redis-/);
    }
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
