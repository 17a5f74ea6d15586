import { readdirSync, readFileSync } from "node:fs";
import { Redis } from "ioredis";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { freePort } from "../../local/ports.ts";
import { type Stack, startStack } from "../../local/stack.ts";
import { type TemporaryFolder, temporaryFolder } from "../support/folder.ts";
import { eventually } from "../support/wait.ts";

vi.setConfig({ testTimeout: 120_000 });

let folder: TemporaryFolder;
let stack: Stack | undefined;

beforeEach(async () => {
  folder = await temporaryFolder();
});

afterEach(async () => {
  await stack?.stop();
  await folder.remove();
});

async function start(
  vars: Record<string, string> = {},
  log: (line: string) => unknown = () => undefined,
): Promise<Stack> {
  stack = await startStack({
    dir: folder.dir,
    port: await freePort(),
    rootToken: "root-token-of-the-stack-test",
    reaperIntervalMs: 60_000,
    transport: "rest",
    log,
    vars,
    health: { everyMs: 100, timeoutMs: 1_000, maxFailures: 3 },
  });
  return stack;
}

/** Command lines of all processes, by pid. */
function commandLines(): Map<number, string> {
  const found = new Map<number, string>();
  for (const pid of readdirSync("/proc").map(Number)) {
    if (!(pid > 0)) continue;
    try {
      found.set(pid, readFileSync(`/proc/${pid}/cmdline`, "latin1"));
    } catch (error) {
      // It has ended meanwhile.
      if (!(error instanceof Error && "code" in error)) throw error;
    }
  }
  return found;
}

/** The processes called workerd in wrangler's process group. */
function workerdPids({ workerPid }: Stack): number[] {
  return [...commandLines().keys()].filter((pid) => {
    try {
      const [, name = "", group = ""] =
        /^\d+ \((.*)\) \S \d+ (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, "latin1")) ?? [];
      return name === "workerd" && Number(group) === workerPid;
    } catch (error) {
      if (error instanceof Error && "code" in error) return false;
      throw error;
    }
  });
}

test("settings reach the Worker, and no secret stands on a command line", async () => {
  const TOKEN_SECRET = `a 'secret' "with" $signs #and \`quotes\`, long enough`;
  const { url, redisUrl } = await start({ TOKEN_SECRET, KEY_PREFIX: "own:" });
  const headers = { authorization: "Bearer root-token-of-the-stack-test", "content-type": "application/json" };
  const body = JSON.stringify({ subject: "shop", scope: ["read:*"], expiresInMs: 60_000 });
  const issued = await fetch(`${url}/v1/tokens`, { method: "POST", headers, body });
  const { token }: { token: string } = JSON.parse(await issued.text());
  const listed = await fetch(`${url}/v1/streams`, { headers: { authorization: `Bearer ${token}` } });
  expect(listed.status).toBe(200);
  await fetch(`${url}/v1/streams/orders`, { method: "PUT", headers });
  const native = new Redis(redisUrl, { protocol: 2 });
  expect((await native.keys("*")).sort()).toEqual(["own:streams", "own:{orders}", "own:{orders}:config"]);
  native.disconnect();
  for (const line of commandLines().values()) {
    expect(line).not.toContain("'secret'");
    expect(line).not.toContain("root-token-of-the-stack-test");
  }
});

test.each([
  [undefined, []],
  ["on", [expect.objectContaining({ route: "/v1/streams", status: 401 })]],
])("with REQUEST_LOG %s it prints as many lines for a request as that says", async (REQUEST_LOG, expected) => {
  const lines: string[] = [];
  const { url } = await start(REQUEST_LOG === undefined ? {} : { REQUEST_LOG }, (line) => lines.push(line));
  const requests = () => lines.filter((line) => line.startsWith("{")).map((line): unknown => JSON.parse(line));
  expect((await fetch(`${url}/v1/streams`)).status).toBe(401);
  if (expected.length > 0) await eventually("the line", async () => requests().length > 0);
  await stack?.stop();
  expect(requests()).toEqual(expected);
});

describe("the stack says so and does not stay up deaf", () => {
  test.each(["SIGKILL", "SIGSTOP"] as const)("when workerd gets %s", async (signal) => {
    const running = await start();
    const pids = workerdPids(running);
    expect(pids.length).toBeGreaterThan(0);
    for (const pid of pids) process.kill(pid, signal);
    expect(await running.failed).toMatch(/the Worker \(wrangler or workerd\) does not answer any more|wrangler ended/);
  });

  test("when Redis hangs", async () => {
    const running = await start();
    process.kill(running.redisPid ?? 0, "SIGSTOP");
    expect(await running.failed).toBe("redis-server does not answer any more");
    process.kill(running.redisPid ?? 0, "SIGCONT");
  });
});
