// The real `node functions/node.ts`, as `npm run serve` and the container run it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, describe, expect, inject, test } from "vitest";
import { SERVER_SETTINGS } from "../../functions/server/settings.ts";
import { ownRedis } from "../support/own-redis.ts";
import { uniquePrefix } from "../support/redis.ts";
import { eventually } from "../support/wait.ts";
import type { Answer } from "../support/worker.ts";

const ROOT_TOKEN = "root-token-of-the-server-tests";

interface Run {
  readonly child: ChildProcess;
  /** What it has logged so far, line by line. */
  log(): { message: string; level: string; url?: string }[];
  readonly exit: Promise<number | null>;
}

const runs: Run[] = [];

afterEach(async () => {
  for (const { child, exit } of runs.splice(0)) {
    child.kill("SIGKILL");
    await exit;
  }
});

function serve(env: Record<string, string | undefined>, cwd = process.cwd()): Run {
  const settings = {
    PATH: process.env.PATH,
    PORT: "0",
    ROOT_TOKEN,
    KEY_PREFIX: uniquePrefix(),
    REQUEST_LOG: "off",
    ...env,
  };
  const child = spawn(process.execPath, ["functions/node.ts"], { env: settings, cwd });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      text += chunk;
    });
  }
  const log = () => text.split("\n").flatMap((line) => (line.startsWith("{") ? [JSON.parse(line)] : []));
  const run = { child, log, exit: once(child, "close").then(() => child.exitCode) };
  runs.push(run);
  return run;
}

async function listening(run: Run): Promise<string> {
  return eventually("the server listens", async () => run.log().find(({ message }) => message === "listening")?.url);
}

async function call(url: string, method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(url + path, {
    method,
    headers: { authorization: `Bearer ${ROOT_TOKEN}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: JSON.parse(text) };
}

describe("a server of one's own", () => {
  test("serves the API on a Redis over TCP, and says what it cost", async () => {
    const url = await listening(serve({ REDIS_URL: inject("redisUrl") }));
    expect((await call(url, "PUT", "/v1/streams/orders")).status).toBe(201);
    await call(url, "PUT", "/v1/streams/orders/groups/mail", { start: "earliest" });
    const produced = await call(url, "POST", "/v1/streams/orders/messages", { messages: [{ data: 1 }] });
    const { json, headers } = await call(url, "POST", "/v1/streams/orders/groups/mail/consume", { consumer: "a" });
    expect(json.messages).toMatchObject([{ id: produced.json.ids[0], data: 1 }]);
    expect(headers.get("server-timing")).toMatch(/desc="\d+ commands, \d round trips?"/);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
  });

  test("serves it over Upstash's REST too", async () => {
    const { url: restUrl, token } = inject("upstash");
    const url = await listening(serve({ UPSTASH_REDIS_REST_URL: restUrl, UPSTASH_REDIS_REST_TOKEN: token }));
    expect((await call(url, "PUT", "/v1/streams/orders")).status).toBe(201);
  });

  test("ends on SIGTERM once what is under way is answered: nothing is cut off, exit code 0", async () => {
    const { native, redis } = await ownRedis();
    const run = serve({ REDIS_URL: redis.url });
    const url = await listening(run);
    await call(url, "PUT", "/v1/streams/orders");
    await native.call("CLIENT", "PAUSE", "700", "WRITE");
    const produced = call(url, "POST", "/v1/streams/orders/messages", { messages: [{ data: 1 }] });
    await eventually("the request is with Redis", async () => {
      return /blocked_clients:[1-9]/.test(await native.info("clients")) || undefined;
    });
    run.child.kill("SIGTERM");
    expect((await produced).status).toBe(201);
    expect(await run.exit).toBe(0);
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();
    expect(run.log().map(({ message }) => message)).toEqual([
      "listening",
      "stopping: requests under way are ended first",
      "stopped",
    ]);
  });

  test("stays up while Redis is away, says so, and goes on when it is back", async () => {
    const { native, redis } = await ownRedis();
    const run = serve({ REDIS_URL: redis.url, REDIS_TIMEOUT_MS: "200" });
    const url = await listening(run);
    await native.call("CLIENT", "PAUSE", "600", "ALL");
    expect((await call(url, "GET", "/v1/streams")).json).toMatchObject({ code: "redis-unavailable" });
    await eventually("Redis is back", async () => {
      return (await call(url, "GET", "/v1/streams")).status === 200 || undefined;
    });
    expect(run.log().some(({ level }) => level === "error")).toBe(true);
    expect(run.child.exitCode).toBeNull();
  });

  test("runs the reaper again and again; two servers side by side run it once an interval", async () => {
    const env = { REDIS_URL: inject("redisUrl"), KEY_PREFIX: uniquePrefix(), REAPER_INTERVAL_MS: "1000" };
    const [url] = await Promise.all([listening(serve(env)), listening(serve(env))]);
    const runsListed = await eventually("three runs", async () => {
      const { json } = await call(url, "GET", "/v1/reaper");
      return json.runs.length >= 3 ? json.runs : undefined;
    });
    const starts = runsListed.map(({ startedAt }: { startedAt: number }) => startedAt);
    for (const [i, startedAt] of starts.entries()) {
      if (i > 0) expect(starts[i - 1] - startedAt).toBeGreaterThanOrEqual(500);
    }
  });

  test("refuses settings that are wrong, all at once, and shows no secret", async () => {
    const own = serve({ PORT: "99999", REAPER_INTERVAL_MS: "soon" });
    expect(await own.exit).toBe(1);
    expect(own.log()).toMatchObject([{ level: "error", message: expect.stringMatching(/PORT.*REAPER_INTERVAL_MS/) }]);
    const weir = serve({ ROOT_TOKEN: "", REDIS_URL: "hunter2" });
    expect(await weir.exit).toBe(1);
    expect(weir.log()).toMatchObject([{ level: "error", message: expect.stringMatching(/REDIS_URL.*ROOT_TOKEN/) }]);
    expect(JSON.stringify(weir.log())).not.toContain("hunter2");
  });

  test("says which address it cannot have", async () => {
    const url = await listening(serve({ REDIS_URL: inject("redisUrl") }));
    const second = serve({ REDIS_URL: inject("redisUrl"), PORT: new URL(url).port });
    expect(await second.exit).toBe(1);
    expect(second.log()).toMatchObject([{ message: expect.stringContaining("EADDRINUSE") }]);
  });
});

describe("the container", () => {
  test("holds all files that the server needs, and its packages are no development packages", async () => {
    const containerfile = await readFile("Containerfile", "utf8");
    const dir = await mkdtemp(join(tmpdir(), "weir-container-"));
    try {
      for (const [, from = "", to = ""] of containerfile.matchAll(/^COPY (\w+) (\w+)$/gm)) {
        await cp(from, join(dir, to), { recursive: true });
      }
      await cp("package.json", join(dir, "package.json"));
      await symlink(resolve("node_modules"), join(dir, "node_modules"));
      await listening(serve({ REDIS_URL: inject("redisUrl") }, dir));
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });
});

test("the page's table of settings is the one that is parsed", async () => {
  const page = await readFile("docs/server.md", "utf8");
  for (const [name, { default: fallback, about }] of Object.entries(SERVER_SETTINGS)) {
    expect(page).toContain(`| \`${name}\` | \`${fallback}\` | ${about} |`);
  }
});
