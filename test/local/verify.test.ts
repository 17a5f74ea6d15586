// The real `npm run verify`, as a process, against a server that runs and against the Upstash-compatible endpoint.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, inject, onTestFinished, test } from "vitest";
import { startServer } from "../../functions/server/server.ts";
import { LIBERTIES } from "../../local/liberties.ts";
import { startUpstash } from "../../local/upstash.ts";
import { nativeClient, uniquePrefix } from "../support/redis.ts";
import { eventually } from "../support/wait.ts";

const TOKEN = "root-token-of-these-tests";

async function serve(): Promise<{ url: string; prefix: string }> {
  const prefix = uniquePrefix();
  const env = { REDIS_URL: inject("redisUrl"), ROOT_TOKEN: TOKEN, KEY_PREFIX: prefix, REQUEST_LOG: "off" };
  const server = await startServer(env, { host: "127.0.0.1", port: 0, reaperIntervalMs: 3_600_000 });
  onTestFinished(() => server.stop());
  return { url: server.url, prefix };
}

function start(...args: string[]) {
  const env = { PATH: process.env.PATH };
  const child = spawn(process.execPath, ["local/verify.ts", ...args], { env });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (text += chunk));
  const ended = once(child, "close").then(() => ({ code: child.exitCode, text }));
  return { child, ended, text: () => text };
}

/** Weir behind a proxy that changes one answer. */
async function spoil(url: string, isSpoilt: (method: string, path: string) => boolean): Promise<string> {
  const proxy = createServer(async (request, response) => {
    const { method = "GET", url: path = "/" } = request;
    const body = Buffer.concat(await Array.fromAsync(request));
    const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
    const answer = await fetch(url + path, { method, headers, ...(body.length > 0 && { body }) });
    const text = await answer.text();
    const passed = [...answer.headers].filter(
      ([header]) => !/^(content-length|content-encoding|transfer-encoding|connection)$/.test(header),
    );
    response.writeHead(answer.status, Object.fromEntries(passed));
    response.end(isSpoilt(method, path) ? text.replace(/"lag":\d+/, '"lag":99') : text);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  onTestFinished(() => void proxy.close());
  const address: AddressInfo | string | null = proxy.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no port");
  return `http://127.0.0.1:${address.port}`;
}

/** What is left of the walk's stream, but for the idempotency key, which expires by itself. */
async function streamsLeft(prefix: string): Promise<string[]> {
  return (await nativeClient().keys(`${prefix}{verify-*`)).filter((key) => !key.includes(":once:"));
}

describe("a deployment", () => {
  test("that answers as the contract says passes, and nothing is left of it", async () => {
    const { url, prefix } = await serve();
    const { code, text } = await start("--url", url, "--token", TOKEN).ended;
    expect(text).toContain("All is as the contract says.");
    expect(text).not.toContain("FAILED");
    expect(text).not.toContain(TOKEN);
    expect(text).toMatch(/\d+ requests, \d+ Redis commands; a round trip to Redis took [\d.]+ ms \(median\)\./);
    expect(code).toBe(0);
    expect(await streamsLeft(prefix)).toEqual([]);
  });

  test("whose figures are wrong fails at the step that shows it, and nothing is left of it", async () => {
    const { url, prefix } = await serve();
    const wrong = await spoil(url, (method, path) => method === "GET" && path.endsWith("/groups/g"));
    const { code, text } = await start("--url", wrong, "--token", TOKEN).ended;
    expect(code).toBe(1);
    expect(text).toContain("FAILED seeks back");
    expect(text).toContain("lag: expected 8, got 99");
    expect(text).toContain("more steps were left out");
    expect(await streamsLeft(prefix)).toEqual([]);
  });

  test("that does not take the token, or is not there, fails and says so", async () => {
    const { url } = await serve();
    const refused = await start("--url", url, "--token", "wrong").ended;
    expect(refused).toMatchObject({ code: 1, text: expect.stringContaining("unauthenticated") });
    const gone = await start("--url", "http://127.0.0.1:9", "--token", TOKEN).ended;
    expect(gone).toMatchObject({ code: 1, text: expect.stringContaining("FAILED is up") });
  });

  test("is left as it was when it is interrupted", async () => {
    const { url, prefix } = await serve();
    const run = start("--url", url, "--token", TOKEN);
    await eventually("it is under way", () => run.text().includes("keeps what was rejected"));
    run.child.kill("SIGINT");
    const { code } = await run.ended;
    expect(code).not.toBe(0);
    expect(await streamsLeft(prefix)).toEqual([]);
  });
});

describe("a hosted Redis", () => {
  test.each([
    ["the strictest", new Set<never>()],
    ["the most liberal", new Set(LIBERTIES)],
  ])("as %s passes with Weir on it, says what it can do, and keeps no key", async (name, liberties) => {
    const endpoint = await startUpstash({ redisUrl: inject("redisUrl"), token: "hosted", liberties });
    onTestFinished(() => endpoint.close());
    const { code, text } = await start("--upstash-url", endpoint.url, "--upstash-token", "hosted").ended;
    expect(text).toContain("All is as the contract says.");
    expect(text).not.toContain("Weir needs what this Redis lacks");
    expect(text).not.toMatch(/hosted\b(?!.*capability)/);
    const rowOf = (capability: string) => text.split("\n").find((line) => line.includes(capability)) ?? "";
    const isStrict = name === "the strictest";
    for (const disputed of [
      "ENTRIESREAD",
      "XCLAIM … IDLE",
      "TIME in scripts",
      "keys that are not among KEYS",
      "GROUPS: lag",
    ]) {
      expect(rowOf(disputed)).toMatch(isStrict ? /^no / : /^yes/);
    }
    expect(rowOf("XCLAIM … JUSTID")).toMatch(/^yes +XCLAIM … JUSTID +needed/);
    expect(code).toBe(0);
    expect(await nativeClient().keys("weir-verify-*")).toEqual([]);
  });

  test("that refuses the token fails and says so", async () => {
    const { url } = inject("upstash");
    const { code, text } = await start("--upstash-url", url, "--upstash-token", "no").ended;
    expect(code).toBe(1);
    expect(text).toContain("Redis refuses Weir's credentials");
  });
});

test.each([
  [[]],
  [["--url", "x", "--token", "y"]],
  [["--url", "http://a", "--upstash-url", "http://b"]],
  [["--nonsense"]],
])("arguments %j get the usage, and exit code 2", async (args) => {
  const { code, text } = await start(...args).ended;
  expect(code).toBe(2);
  expect(text).toContain("npm run verify -- --url");
});
