import { createHash } from "node:crypto";
import { Redis as UpstashClient } from "@upstash/redis";
import Redis from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { type RunningRedis, startRedis } from "../../local/redis.ts";
import { startUpstash, type UpstashEndpoint } from "../../local/upstash.ts";
import { temporaryFolder } from "../support/folder.ts";
import { type Answer, post } from "../support/rest.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let redis: RunningRedis;
let endpoint: UpstashEndpoint;
let native: Redis;

beforeAll(async () => {
  folder = await temporaryFolder();
  redis = await startRedis({ dir: folder.dir });
  endpoint = await startUpstash({ redisUrl: redis.url, token: "secret" });
  native = new Redis(redis.url, { protocol: 2 });
});

afterAll(async () => {
  native.disconnect();
  await endpoint.close();
  await redis.stop();
  await folder.remove();
});

beforeEach(() => native.flushall());

const send = (command: unknown[], headers?: Record<string, string>) => post(endpoint, "/", command, headers);
const pipeline = (commands: unknown[][], headers?: Record<string, string>) =>
  post(endpoint, "/pipeline", commands, headers);
const transaction = (commands: unknown[][]) => post(endpoint, "/multi-exec", commands);
const base64 = { "Upstash-Encoding": "base64" };
const encoded = (text: string) => Buffer.from(text).toString("base64");
const sha1 = (text: string) => createHash("sha1").update(text).digest("hex");

function errorOf(answer: Answer): string {
  const { body } = answer;
  if (typeof body !== "object" || body === null || !("error" in body)) throw new Error(JSON.stringify(body));
  return String(body.error);
}

describe("a single command", () => {
  it("answers 200 with the result: text, integers, null and nested arrays", async () => {
    expect(await send(["SET", "k", "v", "EX", 100])).toMatchObject({ status: 200, body: { result: "OK" } });
    expect((await send(["GET", "k"])).body).toEqual({ result: "v" });
    expect((await send(["GET", "none"])).body).toEqual({ result: null });
    expect((await send(["APPEND", "k", "w"])).body).toEqual({ result: 2 });
    expect((await send(["EVAL", "return {1, {'a', false}, {}}", 0])).body).toEqual({ result: [1, ["a", null], []] });
  });

  it("takes numbers and booleans as arguments, as Upstash's client sends them", async () => {
    await send(["MSET", "n", 12.5, "b", true]);
    expect((await send(["MGET", "n", "b"])).body).toEqual({ result: ["12.5", "true"] });
  });

  it("answers 400 with Redis' error", async () => {
    await send(["SET", "k", "v"]);
    expect(await send(["INCR", "k"])).toMatchObject({
      status: 400,
      body: { error: "ERR value is not an integer or out of range" },
    });
    expect(errorOf(await send(["GET"]))).toBe("ERR wrong number of arguments for 'get' command");
  });

  it("may be a path, with a body as the last argument and the query after it", async () => {
    expect((await post(endpoint, "/set/a%2Fb?EX=100", "the value")).body).toEqual({ result: "OK" });
    expect(await native.get("a/b")).toBe("the value");
    expect(await native.ttl("a/b")).toBeGreaterThan(90);
    const get = await fetch(`${endpoint.url}/get/a%2Fb?_token=secret`);
    expect(await get.json()).toEqual({ result: "the value" });
  });

  it("keeps every text as it is", async () => {
    for (const text of ["OK", "null", "-0", "12345678901234567890", "\u2028 \u0000 \r\n", "🙂", ""]) {
      await send(["SET", "k", text]);
      expect((await send(["GET", "k"])).body).toEqual({ result: text });
      expect((await send(["GET", "k"], base64)).body).toEqual({ result: encoded(text) });
    }
  });
});

describe("what is not a command", () => {
  it.each([
    ["/", "{", "ERR failed to parse command"],
    ["/", '{"a":1}', "ERR failed to parse command"],
    ["/", '["GET",{"a":1}]', "ERR failed to parse command"],
    ["/", "[]", "ERR empty command"],
    ["/pipeline", '["GET","k"]', "ERR failed to parse pipeline request"],
    ["/pipeline", "[]", "ERR empty pipeline request"],
    ["/multi-exec", "nonsense", "ERR failed to parse pipeline request"],
  ])("POST %s %s is 400", async (path, body, error) => {
    expect(await post(endpoint, path, body)).toMatchObject({ status: 400, body: { error } });
  });

  it("is 401 with a wrong token, or none", async () => {
    const wrong = await post({ url: endpoint.url, token: "guess" }, "/", ["GET", "k"]);
    expect(wrong.status).toBe(401);
    expect(errorOf(wrong)).toMatch(/^WRONGPASS invalid or missing auth token/);
    expect((await fetch(endpoint.url, { method: "POST", body: '["GET","k"]' })).status).toBe(401);
  });

  it("is 405 with another method", async () => {
    const response = await fetch(endpoint.url, { method: "DELETE", headers: { authorization: "Bearer secret" } });
    expect(response.status).toBe(405);
  });
});

describe("base64", () => {
  it("encodes every string but the status OK, however deep, and no integer or null", async () => {
    await native.xadd("s", "1-1", "f", "OK");
    expect((await send(["SET", "k", "OK"], base64)).body).toEqual({ result: "OK" });
    expect((await send(["GET", "k"], base64)).body).toEqual({ result: encoded("OK") });
    expect((await send(["PING"], base64)).body).toEqual({ result: encoded("PONG") });
    expect((await send(["XRANGE", "s", "-", "+"], base64)).body).toEqual({
      result: [[encoded("1-1"), [encoded("f"), encoded("OK")]]],
    });
    expect(
      (
        await pipeline(
          [
            ["INCR", "n"],
            ["GET", "none"],
          ],
          base64,
        )
      ).body,
    ).toEqual([{ result: 1 }, { result: null }]);
  });

  it("keeps bytes that are not UTF-8, which plain JSON replaces", async () => {
    const bytes = Buffer.from([0xff, 0x00, 0x41]);
    await native.set("k", bytes);
    expect((await send(["GET", "k"], base64)).body).toEqual({ result: bytes.toString("base64") });
    expect((await send(["GET", "k"])).body).toEqual({ result: "\ufffd\u0000A" });
  });

  it("is what Upstash's own client reads", async () => {
    const client = new UpstashClient({ url: endpoint.url, token: "secret", automaticDeserialization: false });
    await client.set("k", "zażółć 🙂");
    expect(await client.get("k")).toBe("zażółć 🙂");
    await client.set("k", "OK");
    expect(await client.get("k")).toBe("OK");
    expect(await client.multi().set("a", "1").incr("a").exec()).toEqual(["OK", 2]);
  });
});

describe("a pipeline", () => {
  it("runs in order, answers 200 and has each error in its place", async () => {
    const answer = await pipeline([["SET", "k", "v"], ["INCR", "k"], ["MONITOR"], [], ["GET", "k"]]);
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual([
      { result: "OK" },
      { error: "ERR value is not an integer or out of range" },
      { error: expect.stringContaining("MONITOR") },
      { error: "ERR empty pipeline command" },
      { result: "v" },
    ]);
  });

  it("is not undone by an error in the middle", async () => {
    await pipeline([["SET", "a", "1"], ["NOSUCH"], ["SET", "b", "2"]]);
    expect(await native.mget("a", "b")).toEqual(["1", "2"]);
  });

  it("gives each of many at once its own answers", async () => {
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        pipeline([
          ["SET", `k${i}`, i],
          ["GET", `k${i}`],
        ]),
      ),
    );
    answers.forEach((answer, i) => {
      expect(answer.body).toEqual([{ result: "OK" }, { result: String(i) }]);
    });
  });

  it("reads a reply of several megabytes whole", async () => {
    const text = "é".repeat(2_000_000);
    await native.set("big", text);
    expect((await pipeline([["GET", "big"], ["PING"]])).body).toEqual([{ result: text }, { result: "PONG" }]);
  });
});

describe("multi-exec", () => {
  it("runs all of it, an error at run time included", async () => {
    expect(
      await transaction([
        ["SET", "k", "v"],
        ["INCR", "k"],
        ["GET", "k"],
      ]),
    ).toMatchObject({
      status: 200,
      body: [{ result: "OK" }, { error: "ERR value is not an integer or out of range" }, { result: "v" }],
    });
  });

  it.each([
    ["an unknown number of arguments", ["GET"], "ERR wrong number of arguments for 'get' command"],
    ["a command that Upstash refuses", ["MONITOR"], expect.stringContaining("MONITOR")],
    ["no command", [], "ERR empty pipeline command"],
  ])("runs none of it with %s", async (_, command, error) => {
    const answer = await transaction([["SET", "k", "v"], command, ["SET", "l", "v"]]);
    expect(answer).toMatchObject({ status: 400, body: { error } });
    expect(await native.exists("k", "l")).toBe(0);
  });

  it("lets nothing of another request in between", async () => {
    const swap = () =>
      transaction([
        ["INCR", "n"],
        ["INCR", "n"],
        ["GET", "n"],
      ]);
    const answers = await Promise.all(Array.from({ length: 30 }, swap));
    const read = answers.map((answer) => (Array.isArray(answer.body) ? Number(answer.body[2].result) : Number.NaN));
    expect(read.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 30 }, (_, i) => 2 * (i + 1)));
  });
});

describe("what Upstash refuses over REST", () => {
  it.each([
    ["MONITOR"],
    ["SUBSCRIBE", "c"],
    ["MULTI"],
    ["EXEC"],
    ["WATCH", "k"],
    ["CLIENT", "LIST"],
    ["BLPOP", "k", "0"],
  ])("%s needs a connection of its own", async (...command) => {
    expect(errorOf(await send(command))).toBe(
      `ERR Command "${command[0]}" is not allowed in REST or it has a special context path`,
    );
  });

  it.each([
    ["CONFIG", "GET", "*"],
    ["debug", "SLEEP", "0"],
    ["SHUTDOWN"],
    ["BGSAVE"],
    ["REPLICAOF", "NO", "ONE"],
    ["XSETID"],
  ])("%s is not available", async (...command) => {
    expect(errorOf(await send(command))).toBe(
      `ERR Command is not available: '${command[0]?.toUpperCase()}'. See https://upstash.com/docs/redis/overall/rediscompatibility for details`,
    );
  });

  it("blocking reads are refused, names that look like it are not", async () => {
    await native.xgroup("CREATE", "s", "block", "$", "MKSTREAM");
    expect(errorOf(await send(["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]))).toContain("BLOCK");
    const blocking = ["XREADGROUP", "GROUP", "block", "block", "COUNT", "1", "BLOCK", "0", "STREAMS", "s", ">"];
    expect(errorOf(await send(blocking))).toContain("BLOCK");
    expect((await send(["XREADGROUP", "GROUP", "block", "block", "STREAMS", "s", ">"])).body).toEqual({ result: null });
  });

  it("XREADGROUP with its options in another order is a syntax error", async () => {
    await native.xgroup("CREATE", "s", "g", "0", "MKSTREAM");
    const swapped = await send(["XREADGROUP", "COUNT", "1", "GROUP", "g", "c", "STREAMS", "s", ">"]);
    expect(errorOf(swapped)).toBe("ERR syntax error");
    const late = await send(["XREADGROUP", "GROUP", "g", "c", "NOACK", "COUNT", "1", "STREAMS", "s", ">"]);
    expect(errorOf(late)).toBe("ERR syntax error");
    const right = await send(["XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "NOACK", "STREAMS", "s", ">"]);
    expect(right.body).toEqual({ result: null });
  });
});

describe("requests and replies above 10 MB", () => {
  const limit = 10 * 1024 * 1024;

  it("a request is refused with its size", async () => {
    const answer = await send(["SET", "k", "x".repeat(limit)]);
    expect(answer.status).toBe(400);
    expect(errorOf(answer)).toMatch(/^ERR max request size exceeded\. Limit: 10485760 bytes, Actual: 10485774 bytes/);
    expect(await native.exists("k")).toBe(0);
  });

  it("a request just below is not", async () => {
    expect((await send(["SET", "k", "x".repeat(limit - 100)])).status).toBe(200);
  });

  it("a reply is refused, too", async () => {
    await native.mset("a", "x".repeat(limit / 2), "b", "x".repeat(limit / 2));
    const [both, one] = Object.values(
      (
        await pipeline([
          ["MGET", "a", "b"],
          ["STRLEN", "a"],
        ])
      ).body ?? {},
    );
    expect(both).toEqual({ error: expect.stringMatching(/^ERR max request size exceeded/) });
    expect(one).toEqual({ result: limit / 2 });
  });
});

describe("1,000 pending entries per consumer", () => {
  const script = "return redis.call('XREADGROUP', 'GROUP', 'g', KEYS[2], 'COUNT', ARGV[1], 'STREAMS', KEYS[1], '>')";
  const ways: Record<string, (count: number, consumer: string) => Promise<Answer>> = {
    directly: (count, c) => send(["XREADGROUP", "GROUP", "g", c, "COUNT", count, "STREAMS", "s", ">"]),
    "in a transaction": async (count, c) => {
      const answer = await transaction([["XREADGROUP", "GROUP", "g", c, "COUNT", count, "STREAMS", "s", ">"]]);
      return { ...answer, body: Array.isArray(answer.body) ? answer.body[0] : answer.body };
    },
    "by EVAL": (count, c) => send(["EVAL", script, 2, "s", c, count]),
    "by EVALSHA": async (count, c) => {
      await send(["SCRIPT", "LOAD", script]);
      return send(["EVALSHA", sha1(script), 2, "s", c, count]);
    },
    "by redis.pcall": (count, c) => send(["EVAL", script.replace("redis.call", "redis.pcall"), 2, "s", c, count]),
  };

  beforeEach(async () => {
    await native.xgroup("CREATE", "s", "g", "0", "MKSTREAM");
    await native.eval("for i = 1, 1500 do redis.call('XADD', KEYS[1], i .. '-0', 'f', i) end", 1, "s");
  });

  const pending = async (): Promise<unknown> => (await native.xpending("s", "g"))[0];

  it.each(Object.keys(ways))("holds %s", async (way) => {
    const read = ways[way] ?? (() => Promise.reject(new Error(way)));
    expect(errorOf(await read(1001, "c"))).toMatch(
      /^ERR XReadGroup is cancelled\. Pending Entries List limit per consumer is about to be reached\. Limit: 1000, Current PEL size: 0, Requested Read: 1001, Key: s, Group: g, Consumer: c/,
    );
    expect(await pending()).toBe(0);
    expect((await read(900, "c")).body).toMatchObject({ result: [["s", expect.any(Array)]] });
    expect(errorOf(await read(101, "c"))).toContain("Current PEL size: 900");
    expect(await pending()).toBe(900);
    expect((await read(100, "c")).body).toMatchObject({ result: [["s", expect.any(Array)]] });
    expect(errorOf(await read(1, "c"))).toContain("Current PEL size: 1000");
    expect((await read(1, "another")).body).toMatchObject({ result: [["s", expect.any(Array)]] });
    expect(await pending()).toBe(1001);
  });

  it("counts what another client holds under that name", async () => {
    await native.xreadgroup("GROUP", "g", "c", "COUNT", 1000, "STREAMS", "s", ">");
    expect(errorOf(await send(["XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", "s", ">"]))).toContain("1000");
  });

  it("does not forbid asking for more than there is", async () => {
    await native.xgroup("CREATE", "s", "late", "1400-0");
    const answer = await send(["XREADGROUP", "GROUP", "late", "c", "COUNT", 5000, "STREAMS", "s", ">"]);
    expect(answer.body).toMatchObject({ result: [["s", { length: 100 }]] });
    expect((await send(["XREADGROUP", "GROUP", "late", "c", "STREAMS", "s", ">"])).body).toEqual({ result: null });
  });

  it("forbids neither reading one's own again nor reading after acknowledging", async () => {
    await native.xreadgroup("GROUP", "g", "c", "COUNT", 1000, "STREAMS", "s", ">");
    const own = await send(["XREADGROUP", "GROUP", "g", "c", "COUNT", 10, "STREAMS", "s", "0"]);
    expect(own.body).toMatchObject({ result: [["s", { length: 10 }]] });
    const ids = Array.from({ length: 10 }, (_, i) => `${i + 1}-0`);
    const read = ["XREADGROUP", "GROUP", "g", "c", "COUNT", 10, "STREAMS", "s", ">"];
    expect((await pipeline([["XACK", "s", "g", ...ids], read])).body).toEqual([
      { result: 10 },
      { result: [["s", expect.any(Array)]] },
    ]);
  });

  it("leaves Redis' own errors as they are", async () => {
    const answer = await send(["XREADGROUP", "GROUP", "none", "c", "STREAMS", "s", ">"]);
    expect(errorOf(answer)).toBe("NOGROUP No such key 's' or consumer group 'none' in XREADGROUP with GROUP option");
  });
});

describe("a full Redis", () => {
  const read = (count: number, consumer: string) => [
    ...["XREADGROUP", "GROUP", "g", consumer, "COUNT", count],
    ...["STREAMS", "s", ">"],
  ];

  beforeEach(async () => {
    await native.xgroup("CREATE", "s", "g", "0", "MKSTREAM");
    await native.eval("for i = 1, 1500 do redis.call('XADD', KEYS[1], i .. '-0', 'f', i) end", 1, "s");
    await native.config("SET", "maxmemory", "1");
  });
  afterEach(() => native.config("SET", "maxmemory", "0"));

  it("hands out what a group has not read, and acknowledges, as Redis itself does", async () => {
    const entry = (i: number) => [`${i}-0`, ["f", String(i)]];
    expect((await send(read(1, "c"))).body).toEqual({ result: [["s", [entry(1)]]] });
    const answer = await pipeline([["XACK", "s", "g", "1-0"], ["SET", "k", "v"], read(2, "c"), ["XLEN", "s"]]);
    expect(answer.body).toEqual([
      { result: 1 },
      { error: expect.stringMatching(/^OOM /) },
      { result: [["s", [entry(2), entry(3)]]] },
      { result: 1500 },
    ]);
    expect((await native.xpending("s", "g"))[0]).toBe(2);
  });

  it("holds the limit of pending entries all the same", async () => {
    await send(read(1000, "c"));
    expect(errorOf(await send(read(1, "c")))).toMatch(/^ERR XReadGroup is cancelled/);
    expect((await native.xpending("s", "g"))[0]).toBe(1000);
  });

  it("counts what it runs once", async () => {
    await endpoint.resetUsage();
    await send(read(1, "c"));
    expect((await endpoint.usage()).commands).toBe(1);
  });
});

describe("scripts", () => {
  const script = "-- XREADGROUP\nlocal n = tonumber(ARGV[1])\nif n == 0 then return nil + 1 end\nreturn n";

  it("are found by the digest of what was sent, and gone after SCRIPT FLUSH", async () => {
    const sha = sha1(script);
    expect(errorOf(await send(["EVALSHA", sha, 0, 7]))).toMatch(/^NOSCRIPT /);
    expect((await send(["SCRIPT", "LOAD", script])).body).toEqual({ result: sha });
    expect((await send(["EVALSHA", sha, 0, 7])).body).toEqual({ result: 7 });
    expect((await send(["SCRIPT", "EXISTS", sha, "0".repeat(40)])).body).toEqual({ result: [1, 0] });
    expect((await send(["SCRIPT", "FLUSH"])).body).toEqual({ result: "OK" });
    expect((await send(["SCRIPT", "EXISTS", sha])).body).toEqual({ result: [0] });
    expect(errorOf(await send(["EVALSHA", sha, 0, 7]))).toMatch(/^NOSCRIPT /);
    await send(["EVAL", script, 0, 7]);
    expect((await send(["EVALSHA", sha.toUpperCase(), 0, 8])).body).toEqual({ result: 8 });
  });

  it("name themselves and their line in errors", async () => {
    const text = errorOf(await send(["EVAL", script, 0, 0]));
    expect(text).toMatch(/^ERR user_script:3: attempt to perform arithmetic on a nil value/);
    expect(text).toContain(`script: ${sha1(script)}, on @user_script:3.`);
  });

  it("may carry Upstash's own flag, which Redis does not know", async () => {
    const shebang = "#!lua flags=allow-key-locking\nreturn redis.call('INCR', KEYS[1])";
    expect((await send(["EVAL", shebang, 1, "k"])).body).toEqual({ result: 1 });
    expect((await send(["EVALSHA", sha1(shebang), 1, "k"])).body).toEqual({ result: 2 });
    const both = "#!lua flags=no-writes,allow-key-locking\nreturn redis.call('INCR', KEYS[1])";
    expect(errorOf(await send(["EVAL", both, 1, "k"]))).toContain("Write commands are not allowed");
  });
});

describe("usage", () => {
  const counted = async (work: () => Promise<unknown>) => {
    await endpoint.resetUsage();
    await work();
    return endpoint.usage();
  };

  it("is nothing when nothing was asked", async () => {
    expect(await counted(async () => undefined)).toEqual({ commands: 0, roundTrips: 0 });
    expect(await endpoint.usage()).toEqual({ commands: 0, roundTrips: 0 });
  });

  it("counts each command, each in a pipeline and each in a transaction, and requests", async () => {
    expect(await counted(() => send(["SET", "k", "v"]))).toEqual({ commands: 1, roundTrips: 1 });
    expect(
      await counted(() =>
        pipeline([
          ["GET", "k"],
          ["INCR", "k"],
          ["GET", "k"],
        ]),
      ),
    ).toEqual({
      commands: 3,
      roundTrips: 1,
    });
    expect(
      await counted(() =>
        transaction([
          ["SET", "k", "1"],
          ["INCR", "k"],
        ]),
      ),
    ).toEqual({ commands: 2, roundTrips: 1 });
    expect(await counted(() => send(["MONITOR"]))).toEqual({ commands: 0, roundTrips: 1 });
  });

  it.each(["redis.call", "redis.pcall"])("counts a script and what it runs by %s", async (call) => {
    const script = `for i = 1, ARGV[1] do ${call}('INCR', KEYS[1]) end return 1`;
    expect(await counted(() => send(["EVAL", script, 1, "n", 7]))).toEqual({ commands: 8, roundTrips: 1 });
    expect(await counted(() => send(["EVALSHA", sha1(script), 1, "n", 0]))).toEqual({ commands: 1, roundTrips: 1 });
  });

  it("does not count the endpoint's own checks, however the read is sent and ends", async () => {
    await native.xgroup("CREATE", "s", "g", "0", "MKSTREAM");
    await native.eval("for i = 1, 1200 do redis.call('XADD', KEYS[1], '*', 'f', i) end", 1, "s");
    const read = ["XREADGROUP", "GROUP", "g", "c", "COUNT", 10, "STREAMS", "s", ">"];
    const script = "redis.call('XLEN', KEYS[1]) return redis.call(unpack(ARGV))--XREADGROUP";
    expect(await counted(() => send(read))).toEqual({ commands: 1, roundTrips: 1 });
    expect(await counted(() => transaction([read, ["XLEN", "s"]]))).toEqual({ commands: 2, roundTrips: 1 });
    expect(await counted(() => send(["EVAL", script, 1, "s", ...read]))).toEqual({ commands: 3, roundTrips: 1 });
    const tooMany = read.with(5, 1100);
    expect(await counted(() => send(tooMany))).toEqual({ commands: 0, roundTrips: 1 });
    expect(await counted(() => transaction([tooMany]))).toEqual({ commands: 0, roundTrips: 1 });
    expect(await counted(() => send(["EVAL", script, 1, "s", ...tooMany]))).toEqual({ commands: 2, roundTrips: 1 });
  });

  it("counts other clients of the same Redis, but not their connecting", async () => {
    const usage = await counted(async () => {
      const other = new Redis(redis.url, { protocol: 2 });
      await other.set("k", "v");
      other.disconnect();
    });
    expect(usage).toEqual({ commands: 1, roundTrips: 0 });
  });
});

describe("the endpoint", () => {
  it("answers another sync token each time", async () => {
    const tokens = [await send(["PING"]), await send(["PING"])].map((a) => a.headers.get("upstash-sync-token"));
    expect(tokens[0]).toMatch(/^zC=/);
    expect(tokens[0]).not.toBe(tokens[1]);
  });

  it("adds the latency that it is set to, and none again", async () => {
    endpoint.latencyMs = 120;
    const before = performance.now();
    await send(["PING"]);
    // Timers may fire a millisecond early.
    expect(performance.now() - before).toBeGreaterThanOrEqual(118);
    endpoint.latencyMs = 0;
  });

  it("answers 503 while its Redis is gone, and works again with it", async () => {
    const own = await temporaryFolder();
    let backend = await startRedis({ dir: own.dir });
    const front = await startUpstash({ redisUrl: backend.url, token: "t" });
    await backend.stop();
    expect(await post(front, "/", ["PING"])).toMatchObject({ status: 503, body: { error: /^ERR/ } });
    backend = await startRedis({ dir: own.dir, port: backend.port });
    expect((await post(front, "/", ["PING"])).body).toEqual({ result: "PONG" });
    await front.close();
    await backend.stop();
    await own.remove();
  });
});
