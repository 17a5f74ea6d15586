// The real `node local/start.ts`, as `npm start` runs it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import Redis from "ioredis";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { freePort } from "../../local/ports.ts";
import { startRedis } from "../../local/redis.ts";
import { temporaryFolder } from "../support/folder.ts";
import { isAlive } from "../support/processes.ts";
import { eventually } from "../support/wait.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

const script = join(import.meta.dirname, "..", "..", "local", "start.ts");

type Run = { child: ChildProcess; port: number; out: () => string; err: () => string; exit: Promise<number | null> };

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
const runs: Run[] = [];

beforeEach(async () => {
  folder = await temporaryFolder();
});

afterEach(async () => {
  for (const run of runs.splice(0)) {
    run.child.kill("SIGKILL");
    await run.exit;
  }
  await eventually("nothing of this test runs any more", () => leftovers().length === 0);
  await folder.remove();
});

async function start(env: Record<string, string> = {}): Promise<Run> {
  const port = Number(env.PORT ?? (await freePort()));
  const settings = { WEIR_DATA_DIR: folder.dir, PORT: String(port), ...env };
  // Detached as a terminal would run it: a signal to the group does not reach the test.
  const child = spawn(process.execPath, [script], { env: { ...process.env, ...settings }, detached: true });
  const text = { out: "", err: "" };
  child.stdout.on("data", (chunk) => {
    text.out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    text.err += chunk;
  });
  const exit = once(child, "close").then(() => child.exitCode);
  const run = { child, port, out: () => text.out, err: () => text.err, exit };
  runs.push(run);
  return run;
}

async function ready(run: Run): Promise<Run> {
  await eventually(
    "the ready line",
    () => {
      if (run.child.exitCode !== null) throw new Error(`ended with ${run.child.exitCode}: ${run.err()}`);
      return run.out().includes("\n");
    },
    60_000,
  );
  return run;
}

/** Processes that belong to this test: all of them, and nobody else's, name its folder or port. */
function leftovers(): number[] {
  const marks = [folder.dir, ...runs.map((run) => `127.0.0.1:${run.port}`)];
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => {
      return pid > 0 && pid !== process.pid && marks.some((mark) => commandOf(pid).includes(mark)) && isAlive(pid);
    });
}

function commandOf(pid: number): string {
  return `${procFile(pid, "cmdline")} ${procFile(pid, "environ")}`;
}

function procFile(pid: number, name: "cmdline" | "environ"): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "latin1");
  } catch (error) {
    // It has ended, or is somebody else's.
    if (error instanceof Error) return "";
    throw error;
  }
}

function wranglerPid(): number {
  const found = leftovers().find((pid) => /wrangler-dist.cli\.js\0dev/.test(commandOf(pid)));
  if (found === undefined) throw new Error("wrangler is not running");
  return found;
}

async function redisOf(): Promise<{ pid: number; port: number }> {
  const lock: unknown = JSON.parse(await readFile(join(folder.dir, "weir.lock"), "utf8"));
  const pid = Number(/"redis":\{"pid":(\d+)/.exec(JSON.stringify(lock))?.[1]);
  const port = Number(/--port\0(\d+)/.exec(commandOf(pid))?.[1] ?? /127\.0\.0\.1:(\d+)/.exec(commandOf(pid))?.[1]);
  return { pid, port };
}

async function inRedis<T>(work: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis({ port: (await redisOf()).port, host: "127.0.0.1", protocol: 2 });
  try {
    return await work(client);
  } finally {
    client.disconnect();
  }
}

describe("npm start", () => {
  it("says where it is, with what token and a first request, and is there", async () => {
    const run = await ready(await start({ ROOT_TOKEN: "let-me-in" }));
    const url = `http://127.0.0.1:${run.port}`;
    expect(run.out()).toContain(`ready ${url} root token let-me-in, try: curl -X PUT ${url}/v1/streams/orders `);
    expect(run.out()).toContain(`curl -X PUT ${url}/v1/streams/orders -H 'authorization: Bearer let-me-in'`);
    expect(run.err()).toBe("");
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
  });

  it.each(["SIGINT", "SIGTERM"] as const)("%s ends all of it in peace: exit code 0, nothing left", async (signal) => {
    const run = await ready(await start());
    expect(leftovers().length).toBeGreaterThan(3);
    // To the whole group, as the terminal does.
    process.kill(-(run.child.pid ?? 0), signal);
    expect(await run.exit).toBe(0);
    expect(leftovers()).toEqual([]);
    expect(run.err()).toBe("");
  });

  it("takes a signal that comes twice for one key press: npm passes on what the terminal has sent", async () => {
    const run = await ready(await start());
    run.child.kill("SIGINT");
    run.child.kill("SIGTERM");
    expect(await run.exit).toBe(0);
    expect(leftovers()).toEqual([]);
  });

  it("a second Ctrl-C ends it at once, and what hangs soon after", async () => {
    const run = await ready(await start());
    const wrangler = wranglerPid();
    process.kill(-wrangler, "SIGSTOP");
    run.child.kill("SIGINT");
    // Again and again, as one does: the first ones are still the same key press.
    const again = setInterval(() => run.child.kill("SIGINT"), 100);
    expect(await run.exit).toBe(130);
    clearInterval(again);
    await eventually("nothing left", () => leftovers().length === 0);
  });

  it("ends while it starts, too", async () => {
    const run = await start();
    await eventually("the first child", () => leftovers().length > 1);
    run.child.kill("SIGINT");
    expect(await run.exit).toBe(0);
    await eventually("nothing left", () => leftovers().length === 0);
  });

  it("keeps its data from run to run", async () => {
    const first = await ready(await start());
    await inRedis((client) => client.xadd("s", "1-1", "f", "kept"));
    first.child.kill("SIGINT");
    await first.exit;
    await ready(await start());
    expect(await inRedis((client) => client.xrange("s", "-", "+"))).toEqual([["1-1", ["f", "kept"]]]);
  });

  it("keeps its data and leaves nothing behind when it is killed", async () => {
    const first = await ready(await start());
    await inRedis((client) => client.set("k", "kept"));
    first.child.kill("SIGKILL");
    await first.exit;
    // At once: what the killed one left is waited for.
    await ready(await start());
    expect(await inRedis((client) => client.get("k"))).toBe("kept");
  });

  it("with REDIS_URL uses that Redis and leaves it running", async () => {
    const redis = await startRedis({ dir: join(folder.dir, "own") });
    const run = await ready(await start({ REDIS_URL: redis.url, WEIR_TRANSPORT: "tcp" }));
    run.child.kill("SIGINT");
    expect(await run.exit).toBe(0);
    expect(isAlive(redis.pid)).toBe(true);
    await redis.stop();
  });
});

describe("npm start keeps secrets", () => {
  it.each(["rest", "tcp"])(
    "off every command line, which all users of the machine can read, over %s",
    async (transport) => {
      const redis = await startRedis({ dir: join(folder.dir, "own") });
      const client = new Redis(redis.url, { protocol: 2 });
      await client.config("SET", "requirepass", "redis-pw4");
      client.disconnect();
      const secrets = {
        ROOT_TOKEN: "secret-root-token",
        TOKEN_SECRET: "secret-that-signs-tokens-of-32-characters",
        ALERT_WEBHOOK_SECRET: `whsec_${Buffer.alloc(32, "alert").toString("base64")}`,
        REDIS_URL: redis.url.replace("redis://", "redis://:redis-pw4@"),
      };
      const run = await ready(await start({ ...secrets, WEIR_TRANSPORT: transport }));
      // They have reached the Worker.
      const headers = { authorization: `Bearer ${secrets.ROOT_TOKEN}`, "content-type": "application/json" };
      const body = JSON.stringify({ subject: "x", scope: ["read:*"], expiresInMs: 60_000 });
      const issued = await fetch(`http://127.0.0.1:${run.port}/v1/tokens`, { method: "POST", headers, body });
      const { token }: { token: string } = JSON.parse(await issued.text());
      const bearer = { authorization: `Bearer ${token}` };
      expect((await fetch(`http://127.0.0.1:${run.port}/v1/streams`, { headers: bearer })).status).toBe(200);

      const all = readdirSync("/proc")
        .map(Number)
        .filter((pid) => pid > 0);
      const commands = all.map((pid) => procFile(pid, "cmdline"));
      expect(commands.some((command) => command.includes("workerd"))).toBe(true);
      for (const secret of [...Object.values(secrets), "redis-pw4"]) {
        expect(commands.filter((command) => command.includes(secret))).toEqual([]);
      }
      run.child.kill("SIGINT");
      await run.exit;
      await redis.stop();
    },
  );
});

describe("npm start refuses, with a message and an exit code", () => {
  it("a port that is taken, before it starts anything", async () => {
    const server: Server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address ? address.port : 0;
    const run = await start({ PORT: String(port) });
    expect(await run.exit).toBe(1);
    expect(run.err()).toBe(`Port ${port} is taken. Set PORT to another one.\n`);
    server.close();
  });

  it("a second start in the same folder, which the first one survives", async () => {
    const first = await ready(await start());
    const second = await start();
    expect(await second.exit).toBe(1);
    expect(second.err()).toContain(`Another Weir (process ${first.child.pid}) works in ${folder.dir}`);
    expect((await fetch(`http://127.0.0.1:${first.port}/healthz`)).status).toBe(200);
  });

  it("every setting that is wrong, all at once, and no password in the message", async () => {
    const run = await start({
      PORT: "99999",
      REAPER_INTERVAL_MS: "soon",
      WEIR_TRANSPORT: "pigeon",
      REDIS_URL: "hunter2",
    });
    expect(await run.exit).toBe(1);
    for (const name of ["PORT", "REAPER_INTERVAL_MS", "WEIR_TRANSPORT", "REDIS_URL"]) expect(run.err()).toContain(name);
    expect(run.err()).not.toContain("hunter2");
  });

  it("a Redis that is not there", async () => {
    const port = await freePort();
    const run = await start({ REDIS_URL: `redis://127.0.0.1:${port}` });
    expect(await run.exit).toBe(1);
    expect(run.err()).toContain(`no Redis at 127.0.0.1:${port}`);
  });
});

describe("npm start survives nothing by half", () => {
  it("ends with a message when its Redis dies", async () => {
    const run = await ready(await start());
    process.kill((await redisOf()).pid, "SIGKILL");
    expect(await run.exit).toBe(1);
    expect(run.err()).toContain("redis-server ended (signal SIGKILL)");
    expect(leftovers()).toEqual([]);
  });

  it("ends with a message when wrangler dies", async () => {
    const run = await ready(await start());
    process.kill(wranglerPid(), "SIGKILL");
    expect(await run.exit).toBe(1);
    expect(run.err()).toContain("wrangler ended (signal SIGKILL)");
    await eventually("nothing left", () => leftovers().length === 0);
  });

  it("takes over the lock of one that is gone", async () => {
    const gone = spawn(process.execPath, ["-e", ""]);
    await once(gone, "exit");
    await writeFile(join(folder.dir, "weir.lock"), JSON.stringify({ holder: { pid: gone.pid, startedAt: "1" } }));
    await ready(await start());
  });
});
