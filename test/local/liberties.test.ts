import Redis from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, it, test } from "vitest";
import { LIBERTIES, type Liberties, type Liberty, parseLiberties } from "../../local/liberties.ts";
import { type RunningRedis, startRedis } from "../../local/redis.ts";
import { startUpstash, type UpstashEndpoint } from "../../local/upstash.ts";
import { temporaryFolder } from "../support/folder.ts";
import { post } from "../support/rest.ts";

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let redis: RunningRedis;
let strict: UpstashEndpoint;
let native: Redis;

beforeAll(async () => {
  folder = await temporaryFolder();
  redis = await startRedis({ dir: folder.dir });
  strict = await endpoint(new Set());
  native = new Redis(redis.url, { protocol: 2 });
});

afterAll(async () => {
  native.disconnect();
  await strict.close();
  await redis.stop();
  await folder.remove();
});

beforeEach(async () => {
  await native.flushall();
  for (let i = 1; i <= 3; i++) await native.xadd("s", `${i}-0`, "f", "v");
  await native.xgroup("CREATE", "s", "g", "0");
  await native.xreadgroup("GROUP", "g", "c", "COUNT", 2, "STREAMS", "s", ">");
});

function endpoint(liberties: Liberties): Promise<UpstashEndpoint> {
  return startUpstash({ redisUrl: redis.url, token: "secret", liberties });
}

const CALL = "return redis.call(unpack(ARGV))";
const PCALL = "return redis.pcall(unpack(ARGV))";

/** The ways in which a command comes; each answers what became of it. */
const WAYS: Record<string, (at: UpstashEndpoint, command: unknown[]) => Promise<unknown>> = {
  alone: async (at, command) => (await post(at, "/", command)).body,
  "in a pipeline": async (at, command) => first((await post(at, "/pipeline", [command])).body),
  "in a transaction": async (at, command) => first((await post(at, "/multi-exec", [command])).body),
  "by call in a script": async (at, command) => (await post(at, "/", ["EVAL", CALL, 1, "s", ...command])).body,
  "by pcall in a script": async (at, command) => (await post(at, "/", ["EVAL", PCALL, 1, "s", ...command])).body,
};

function first(body: unknown): unknown {
  return Array.isArray(body) ? body[0] : body;
}

/** What the strict endpoint refuses, with the liberty that lets it through. */
const REFUSED: [Liberty, unknown[]][] = [
  ["entriesread", ["XGROUP", "CREATE", "s", "h", "$", "ENTRIESREAD", "3"]],
  ["entriesread", ["XGROUP", "SETID", "s", "g", "$", "entriesread", "3"]],
  ["xclaim-options", ["XCLAIM", "s", "g", "d", "0", "1-0", "IDLE", "9"]],
  ["xclaim-options", ["XCLAIM", "s", "g", "d", "0", "1-0", "2-0", "TIME", "9"]],
  ["xclaim-options", ["XCLAIM", "s", "g", "d", "0", "1-0", "RETRYCOUNT", "9"]],
  ["xclaim-options", ["XCLAIM", "s", "g", "d", "0", "3-0", "FORCE"]],
  ["xclaim-options", ["XCLAIM", "s", "g", "d", "0", "1-0", "LASTID", "1-0"]],
];

describe.each(Object.entries(WAYS))("a command %s", (_, send) => {
  it.each(REFUSED)("needs the liberty %s: %j", async (liberty, command) => {
    expect(await send(strict, command)).toMatchObject({ error: expect.stringContaining("ERR syntax error") });
    const at = await endpoint(new Set([liberty]));
    expect(await send(at, command)).toHaveProperty("result");
    await at.close();
  });

  it("may claim with JUSTID alone, whatever consumers are called", async () => {
    expect(await send(strict, ["XCLAIM", "s", "g", "FORCE", "0", "1-0", "JUSTID"])).toEqual({ result: ["1-0"] });
  });

  it("sees no counts of XINFO, unless that liberty is taken", async () => {
    const all = await endpoint(new Set(["xinfo-counts"]));
    for (const what of ["STREAM", "GROUPS"]) {
      const [hidden, shown] = [await send(strict, ["XINFO", what, "s"]), await send(all, ["XINFO", what, "s"])];
      const text = JSON.stringify(hidden);
      for (const name of ["entries-added", "entries-read", "lag", "max-deleted-entry-id"])
        expect(text).not.toContain(name);
      expect(text).toContain(what === "STREAM" ? "last-generated-id" : "last-delivered-id");
      expect(JSON.stringify(shown)).toContain(what === "STREAM" ? "entries-added" : "entries-read");
    }
    await all.close();
  });

  it("sees no consumers of a group that is not there, and an error if that liberty is taken", async () => {
    const all = await endpoint(new Set(["xinfo-missing-group"]));
    expect(await send(strict, ["XINFO", "CONSUMERS", "s", "none"])).toEqual({ result: [] });
    expect(await send(all, ["XINFO", "CONSUMERS", "s", "none"])).toMatchObject({
      error: expect.stringContaining("NOGROUP"),
    });
    for (const at of [strict, all]) {
      expect(await send(at, ["XINFO", "CONSUMERS", "s", "g"])).toMatchObject({
        result: [["name", "c", "pending", 2, "idle", expect.any(Number)]],
      });
      expect(await send(at, ["XINFO", "STREAM", "missing"])).toHaveProperty("error");
    }
    await all.close();
  });
});

describe("a script", () => {
  const evaluate = async (at: UpstashEndpoint, script: string, keys: string[] = [], args: string[] = []) =>
    (await post(at, "/", ["EVAL", script, keys.length, ...keys, ...args])).body;

  it("is not told the time, unless that liberty is taken", async () => {
    const at = await endpoint(new Set(["time-in-scripts"]));
    expect(await evaluate(strict, "return redis.call('TIME')")).toHaveProperty("error");
    expect(await evaluate(strict, "return redis.pcall('time')")).toHaveProperty("error");
    expect(await evaluate(at, "return #redis.call('TIME')")).toEqual({ result: 2 });
    expect((await post(strict, "/", ["TIME"])).body).toHaveProperty("result");
    await at.close();
  });

  it.each([
    "redis.call('GET', 'other')",
    "redis.call('EXISTS', KEYS[1], 'other')",
    "redis.call('UNLINK', 'other')",
    "redis.call('XINFO', 'GROUPS', 'other')",
    "redis.call('XGROUP', 'CREATE', 'other', 'g', '$', 'MKSTREAM')",
    "redis.call('XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', 'other', '>')",
    "redis.call('XADD', KEYS[1] .. ':other', '*', 'f', 'v')",
  ])("touches its own keys only: %s", async (body) => {
    const at = await endpoint(new Set(["undeclared-keys"]));
    const refused = { error: expect.stringContaining("not among its KEYS") };
    expect(await evaluate(strict, `return ${body}`, ["s"])).toMatchObject(refused);
    expect(JSON.stringify(await evaluate(at, `return ${body}`, ["s"]))).not.toContain("not among its KEYS");
    await at.close();
  });

  it("does all of that with keys that are declared, and runs by its own digest", async () => {
    const script = `redis.call('XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', 1, 'STREAMS', KEYS[1], '>')
redis.call('PING') redis.call('SET', KEYS[2], 'x') return { redis.call('EXISTS', KEYS[1], KEYS[2]), redis.call('XLEN', KEYS[1]) }`;
    expect(await evaluate(strict, script, ["s", "k"])).toEqual({ result: [2, 3] });
    const { body } = await post(strict, "/", ["SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])"]);
    const sha = typeof body === "object" && body !== null && "result" in body ? body.result : undefined;
    expect((await post(strict, "/", ["EVALSHA", sha, 1, "k"])).body).toEqual({ result: "x" });
    expect((await post(strict, "/", ["EVALSHA", sha, 0])).body).toHaveProperty("error");
  });

  it("that was loaded past the endpoint is none, until its text comes this way", async () => {
    const source = "return redis.call('GET', 'undeclared')";
    const sha = await native.script("LOAD", source);
    expect((await post(strict, "/", ["EVALSHA", sha, 0])).body).toMatchObject({
      error: expect.stringContaining("NOSCRIPT"),
    });
    expect((await post(strict, "/", ["SCRIPT", "EXISTS", sha])).body).toEqual({ result: [0] });
    expect((await post(strict, "/", ["EVAL", "return 7", 0])).body).toEqual({ result: 7 });
    const { body } = await post(strict, "/", ["SCRIPT", "LOAD", "return 7"]);
    const plain = typeof body === "object" && body !== null && "result" in body ? body.result : undefined;
    expect((await post(strict, "/", ["EVALSHA", plain, 0])).body).toEqual({ result: 7 });
  });

  it("is billed what it ran, and nothing of what the endpoint looked at", async () => {
    await strict.resetUsage();
    await evaluate(strict, "redis.call('XINFO', 'STREAM', KEYS[1]) return redis.call('XLEN', KEYS[1])", ["s"]);
    expect(await strict.usage()).toEqual({ commands: 3, roundTrips: 1 });
    await post(strict, "/pipeline", [
      ["XINFO", "GROUPS", "s"],
      ["XINFO", "STREAM", "s"],
    ]);
    expect(await strict.usage()).toEqual({ commands: 5, roundTrips: 2 });
  });
});

test("UPSTASH_LIBERTIES takes none, all, or some by name, and refuses others", () => {
  expect(parseLiberties(undefined)).toEqual(new Set());
  expect(parseLiberties("")).toEqual(new Set());
  expect(parseLiberties("all")).toEqual(new Set(LIBERTIES));
  expect(parseLiberties("entriesread,time-in-scripts")).toEqual(new Set(["entriesread", "time-in-scripts"]));
  expect(parseLiberties("entriesread,everything")).toMatch(/^UPSTASH_LIBERTIES must be all or some of .*, got /);
});
