// A redis-server of our own, on 127.0.0.1, that ends with this process.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { LastLines } from "./last-lines.ts";
import { freePort } from "./ports.ts";
import { environmentFor, findRedisServer, type RedisBinary } from "./redis-binary.ts";
import { endWithParent } from "./watchdog.ts";

/** How a process ended: its exit code, or the signal that ended it. */
export type Exit = { code: number | null; signal: NodeJS.Signals | null };

/** A Redis that answers. */
export type RunningRedis = {
  url: string;
  port: number;
  pid: number;
  /** Ends it by SIGTERM, which also writes and syncs the append-only file; by SIGKILL after 10 s. May be called twice. */
  stop(): Promise<void>;
  /** Settles when the process has ended, for whatever reason. Never rejects. */
  exited: Promise<Exit>;
  /** The last lines of Redis' own log. */
  lastOutput(): string;
};

/** `persistent` keeps the data in `dir` from run to run; `port` is a free one when left out; `args` go last. */
export type RedisOptions = { dir: string; port?: number; persistent?: boolean; args?: string[] };

const attempts = 5;
const stopTimeoutMs = 10_000;
const silenceTimeoutMs = 30_000;

/**
 * Starts redis-server and waits until it answers PING, which it does only once a persisted file is loaded.
 *
 * @throws Error with the end of Redis' log when it ends before it answers, or says nothing for 30 s
 */
export async function startRedis(options: RedisOptions): Promise<RunningRedis> {
  const binary = await findRedisServer();
  await mkdir(options.dir, { recursive: true });
  for (let attempt = 1; ; attempt++) {
    const redis = launch(binary, options, options.port ?? (await freePort()));
    try {
      await answering(redis);
      return redis;
    } catch (error) {
      await redis.stop();
      // Between finding a free port and binding it, somebody else may have taken it.
      const lostRace = options.port === undefined && /Address already in use/i.test(redis.lastOutput());
      if (!lostRace || attempt === attempts) throw error;
    }
  }
}

function serverArgs(options: RedisOptions, port: number): string[] {
  const args = ["--port", String(port), "--bind", "127.0.0.1", "--protected-mode", "yes", "--dir", options.dir];
  args.push("--daemonize", "no", "--save", "", "--maxmemory-policy", "noeviction");
  // everysec, not always: Redis writes the file before it answers, and an end by SIGTERM (Ctrl-C, the watchdog after a
  // kill -9 of this process) syncs it. What everysec can lose needs the machine, or Redis itself during a slow sync, to
  // be cut off, and `always` costs an fsync per round of the event loop.
  args.push("--appendonly", options.persistent ? "yes" : "no", "--appendfsync", "everysec");
  return [...args, ...(options.args ?? [])];
}

function launch(binary: RedisBinary, options: RedisOptions, port: number): RunningRedis {
  // Detached, in a process group of its own: Ctrl-C in a terminal goes to the whole group of the shell's command, and
  // Redis must not be gone before those who still write to it.
  const child = spawn(binary.path, serverArgs(options, port), {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: environmentFor(binary),
  });
  const log = new LastLines(15);
  log.follow(child.stdout);
  log.follow(child.stderr);
  const { pid } = child;
  const watchdog = pid === undefined ? undefined : endWithParent(pid);
  const exited = exitOf(child, log).finally(() => watchdog?.release());
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    pid: pid ?? 0,
    exited,
    lastOutput: () => log.text(),
    stop: () => stop(child, exited),
  };
}

function exitOf(child: ChildProcess, log: LastLines): Promise<Exit> {
  const { promise, resolve } = Promise.withResolvers<Exit>();
  child.once("exit", (code, signal) => resolve({ code, signal }));
  child.once("error", (error) => {
    log.add(error.message);
    if (child.pid === undefined) resolve({ code: null, signal: null });
  });
  return promise;
}

async function stop(child: ChildProcess, exited: Promise<Exit>): Promise<void> {
  child.kill("SIGTERM");
  const force = setTimeout(() => child.kill("SIGKILL"), stopTimeoutMs);
  await exited.finally(() => clearTimeout(force));
}

/** While a large file is loaded, Redis answers -LOADING: it is waited for as long as it answers anything. */
async function answering(redis: RunningRedis): Promise<void> {
  let ended: Exit | undefined;
  redis.exited.then((exit) => {
    ended = exit;
  });
  let heardAt = Date.now();
  while (true) {
    const answer = await ask(redis.port);
    if (ended) throw new Error(`redis-server ended at its start (${exitText(ended)}):\n${redis.lastOutput()}`);
    // Another Redis may have the port, and ours is about to say so.
    if (answer?.ready && answer.pid === redis.pid) return;
    if (answer !== undefined) heardAt = Date.now();
    if (Date.now() - heardAt > silenceTimeoutMs) {
      throw new Error(`redis-server did not answer within ${silenceTimeoutMs} ms:\n${redis.lastOutput()}`);
    }
    await sleep(10);
  }
}

/**
 * An exit in words.
 *
 * @returns "exit code 1" or "signal SIGKILL"
 */
export function exitText(exit: Exit): string {
  return exit.signal ? `signal ${exit.signal}` : `exit code ${exit.code ?? "unknown"}`;
}

/** Which process answers on the port, and whether it answers PING; undefined when no Redis does. */
function ask(port: number): Promise<{ ready: boolean; pid: number } | undefined> {
  const { promise, resolve } = Promise.withResolvers<{ ready: boolean; pid: number } | undefined>();
  // INFO is answered while the data is loaded, PING is not.
  const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\nINFO server\r\n"));
  let heard = "";
  socket.setTimeout(1_000, () => socket.destroy());
  socket.on("data", (data) => {
    heard += data.toString();
    const pid = /process_id:(\d+)\r/.exec(heard)?.[1];
    if (pid === undefined) return;
    resolve({ ready: heard.startsWith("+PONG"), pid: Number(pid) });
    socket.destroy();
  });
  socket.on("error", () => resolve(undefined));
  socket.on("close", () => resolve(undefined));
  return promise;
}
