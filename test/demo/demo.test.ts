// The real `node local/demo.ts`, as `npm run demo` runs it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { githubWebhooks } from "../../local/demo/payloads.ts";
import { freePort } from "../../local/ports.ts";
import { type Stack, startStack } from "../../local/stack.ts";
import { temporaryFolder } from "../support/folder.ts";
import { uniquePrefix } from "../support/redis.ts";
import { eventually } from "../support/wait.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const script = join(import.meta.dirname, "..", "..", "local", "demo.ts");
const ROOT_TOKEN = "root-token-of-the-demo-test";
const SECRET = "webhook-secret-of-the-demo-test";

type Run = { child: ChildProcess; out: () => string; err: () => string; exit: Promise<number | null> };

const runs: Run[] = [];
let folder: Awaited<ReturnType<typeof temporaryFolder>>;

beforeAll(async () => {
  folder = await temporaryFolder();
});

afterEach(async () => {
  for (const run of runs.splice(0)) {
    if (run.child.exitCode === null) run.child.kill("SIGKILL");
    await run.exit;
  }
});

afterAll(() => folder.remove());

/** Its temporary folders are made in `tmp`. */
function demo(env: Record<string, string>, tmp = folder.dir): Run {
  const { WEIR_URL: _, ROOT_TOKEN: __, WEBHOOK_SECRET_DEMO: ___, ...own } = process.env;
  // Detached as a terminal would run it: a signal to the group does not reach the test.
  const child = spawn(process.execPath, [script], { env: { ...own, TMPDIR: tmp, ...env }, detached: true });
  const text = { out: "", err: "" };
  child.stdout.on("data", (chunk) => {
    text.out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    text.err += chunk;
  });
  const exit = once(child, "close").then(() => child.exitCode);
  const run = { child, exit, out: () => text.out, err: () => text.err };
  runs.push(run);
  return run;
}

async function said(run: Run, text: string): Promise<void> {
  await eventually(`"${text}"`, () => {
    if (run.child.exitCode !== null) throw new Error(`ended with ${run.child.exitCode}: ${run.out()}${run.err()}`);
    return run.out().includes(text);
  });
}

/** The figures of a row of the table, from left to right. */
function row(run: Run, label: string): number[] {
  const line = run
    .out()
    .split("\n")
    .find((text) => text.startsWith(`${label}  `));
  return (line ?? "").slice(label.length).trim().split(/\s+/).map(Number);
}

test("npm run demo loses nothing: all arrives in both groups but the poison, which is kept as a dead letter", async () => {
  const { length } = await githubWebhooks();
  const tmp = join(folder.dir, "own-stack");
  await mkdir(tmp);
  const run = demo({}, tmp);
  expect(await run.exit, run.out() + run.err()).toBe(0);

  expect(length).toBeGreaterThan(300);
  expect(row(run, "produced")).toEqual([length]);
  expect(row(run, "handled")).toEqual([length, length - 1]);
  expect(row(run, "dead-lettered")).toEqual([0, 1]);
  expect(row(run, "  of them innocent")).toEqual([0, 0]);
  expect(row(run, "lost")).toEqual([0, 0]);
  expect(row(run, "pending or lag at the end")).toEqual([0, 0]);
  expect(row(run, "redelivered")[1]).toBeGreaterThanOrEqual(6 + 2);
  expect(row(run, "  on their last delivery")[1]).toBeGreaterThan(0);
  for (const cost of [...row(run, "commands per message"), ...row(run, "round trips per message")]) {
    expect(cost).toBeGreaterThan(0);
  }
  expect(run.out()).toContain("got 10, acknowledged 4, and never comes back");
  expect(run.out()).toContain("tampered with one on its way: refused, bad-signature");
  expect(run.out()).toContain("posted one again: the same answer, nothing appended");
  for (const delivery of [1, 2, 3]) expect(run.out()).toContain(`, delivery ${delivery}; starts again`);
  expect(run.out()).not.toContain(", delivery 4;");
  expect(run.out()).not.toContain("\x1b");
  expect(
    Math.max(
      ...run
        .out()
        .split("\n")
        .map((line) => line.length),
    ),
  ).toBeLessThanOrEqual(80);
  expect(run.err()).toBe("");
  expect(await readdir(tmp)).toEqual([]);
});

test("Ctrl-C, also as npm passes it on a second time, ends all of it and leaves nothing behind", async () => {
  const tmp = join(folder.dir, "interrupted");
  await mkdir(tmp);
  const run = demo({}, tmp);
  await said(run, "never comes back");
  process.kill(-(run.child.pid ?? 0), "SIGINT");
  run.child.kill("SIGINT");
  expect(await run.exit).toBe(130);
  expect(run.err()).toBe("interrupted\n");
  expect(await readdir(tmp)).toEqual([]);
});

describe("against a Weir that runs already", () => {
  let stack: Stack;
  let weir: { WEIR_URL: string; ROOT_TOKEN: string; WEBHOOK_SECRET_DEMO: string };

  beforeAll(async () => {
    stack = await startStack({
      dir: folder.dir,
      port: await freePort(),
      rootToken: ROOT_TOKEN,
      reaperIntervalMs: 60_000,
      transport: "rest",
      log: (line) => console.error(line),
      redisUrl: inject("redisUrl"),
      vars: { KEY_PREFIX: uniquePrefix(), WEBHOOK_SECRET_DEMO: SECRET },
    });
    weir = { WEIR_URL: `${stack.url}/`, ROOT_TOKEN, WEBHOOK_SECRET_DEMO: SECRET };
  });

  afterAll(() => stack?.stop());

  async function call(method: string, path: string, body?: object): Promise<string> {
    const headers = { authorization: `Bearer ${ROOT_TOKEN}`, "content-type": "application/json" };
    return (await fetch(stack.url + path, { method, headers, ...(body && { body: JSON.stringify(body) }) })).text();
  }

  /** Deletes dead letters, and, once all is there, what nobody has touched for long: what a dead consumer holds. */
  async function deleteAbandoned(run: Run): Promise<void> {
    const stream = /into (demo-webhooks-\w+) at/.exec(run.out())?.[1];
    while (run.child.exitCode === null) {
      await call("DELETE", `/v1/streams/${stream}/groups/alerts/dead-letters`, { all: true });
      await sleep(50);
      if (!run.out().includes("the stream holds")) continue;
      const pending = await call("GET", `/v1/streams/${stream}/groups/alerts/pending?minIdleMs=400`);
      for (const [, id] of pending.matchAll(/"id":"(\d+-\d+)"/g)) {
        await call("DELETE", `/v1/streams/${stream}/messages/${id}`);
      }
      await sleep(50);
    }
  }

  test("it CAN fail: messages that vanish while it runs are named as lost, and its exit code is 1", async () => {
    const run = demo(weir);
    await said(run, "never comes back");
    await deleteAbandoned(run);
    expect(await run.exit, run.out() + run.err()).toBe(1);
    expect(row(run, "lost")).toEqual([0, expect.toSatisfy((lost: number) => lost > 0)]);
    expect(run.out()).toMatch(/^\d+-\d+ lost in alerts$/m);
    expect(run.out()).toContain("NOT every message arrived");
  });

  test("it deletes its stream at the end, so that it can run again", async () => {
    const run = demo(weir);
    expect(await run.exit, run.out() + run.err()).toBe(0);
    expect(JSON.parse(await call("GET", "/v1/streams"))).toMatchObject({ streams: [] });
    expect(JSON.parse(await call("GET", "/v1/webhooks"))).toMatchObject({ webhooks: [] });
  });

  test("another secret than the deployment's is told as what it is", async () => {
    const run = demo({ ...weir, WEBHOOK_SECRET_DEMO: "another secret" });
    expect(await run.exit).toBe(1);
    expect(run.err()).toMatch(/HTTP 401 bad-signature/);
    expect(JSON.parse(await call("GET", "/v1/streams"))).toMatchObject({ streams: [] });
  });

  test("it deletes its stream also when it is interrupted", async () => {
    const run = demo(weir);
    await said(run, "never comes back");
    run.child.kill("SIGTERM");
    expect(await run.exit).toBe(130);
    expect(JSON.parse(await call("GET", "/v1/streams"))).toMatchObject({ streams: [] });
  });

  test("a wrong token is told as such", async () => {
    const run = demo({ ...weir, ROOT_TOKEN: "wrong" });
    expect(await run.exit).toBe(1);
    expect(run.err()).toMatch(/: unauthenticated: .*\. Set ROOT_TOKEN to the root token of http/);
  });
});

test("where no Weir is, it says so", async () => {
  const run = demo({ WEIR_URL: `http://127.0.0.1:${await freePort()}`, WEBHOOK_SECRET_DEMO: SECRET });
  expect(await run.exit).toBe(1);
  expect(run.err()).toMatch(
    /: no answer from http:\/\/127\.0\.0\.1:\d+ \(.*ECONNREFUSED.*\)\. Is Weir running there\?/,
  );
});

test("without the secret that webhooks are signed with, it says which setting that is", async () => {
  const run = demo({ WEIR_URL: "http://127.0.0.1:1" });
  expect(await run.exit).toBe(1);
  expect(run.err()).toMatch(/^set WEBHOOK_SECRET_DEMO here and for the Weir at http:\/\/127\.0\.0\.1:1/);
});

test("a WEIR_URL that is none is refused", async () => {
  const run = demo({ WEIR_URL: "127.0.0.1:8787" });
  expect(await run.exit).toBe(1);
  expect(run.err()).toBe("WEIR_URL must be an http:// or https:// URL\n");
});
