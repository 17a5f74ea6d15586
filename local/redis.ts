// A redis-server of our own, on 127.0.0.1, that ends with this process.
import { mkdir } from "node:fs/promises";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { exitText, type Program, startProgram } from "./child-process.ts";
import { freePort } from "./ports.ts";
import { environmentFor, findRedisServer, type RedisBinary } from "./redis-binary.ts";

/** A Redis that answers. Ended by SIGTERM, it writes and syncs the append-only file first. */
export interface RunningRedis extends Program {
  readonly url: string;
  readonly port: number;
}

/** `persistent` keeps the data in `dir` from run to run; `port` is a free one when left out; `args` go last. */
export interface RedisOptions {
  dir: string;
  port?: number;
  persistent?: boolean;
  args?: string[];
}

const ATTEMPTS = 5;
const STOP_TIMEOUT_MS = 10_000;
const SILENCE_TIMEOUT_MS = 30_000;

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
      if (!lostRace || attempt === ATTEMPTS) throw error;
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
  const program = startProgram(binary.path, {
    args: serverArgs(options, port),
    env: environmentFor(binary),
    stopTimeoutMs: STOP_TIMEOUT_MS,
  });
  return Object.assign(program, { url: `redis://127.0.0.1:${port}`, port });
}

/** While a large file is loaded, Redis answers -LOADING: it is waited for as long as it answers anything. */
async function answering(redis: RunningRedis): Promise<void> {
  let heardAt = Date.now();
  for (;;) {
    const answer = await ask(redis.port);
    const { exit } = redis;
    if (exit) throw new Error(`redis-server ended at its start (${exitText(exit)}):\n${redis.lastOutput()}`);
    // Another Redis may have the port, and ours is about to say so.
    if (answer?.ready && answer.pid === redis.pid) return;
    if (answer !== undefined) heardAt = Date.now();
    if (Date.now() - heardAt > SILENCE_TIMEOUT_MS) {
      throw new Error(`redis-server did not answer within ${SILENCE_TIMEOUT_MS} ms:\n${redis.lastOutput()}`);
    }
    await sleep(10);
  }
}

/** Whether a Redis answers in time on that port of 127.0.0.1, be it that it is loading its data. */
export async function isAnswering(port: number, timeoutMs: number): Promise<boolean> {
  return (await ask(port, timeoutMs)) !== undefined;
}

/** Which process answers on the port, and whether it answers PING; undefined when no Redis does. */
function ask(port: number, timeoutMs = 1_000): Promise<{ ready: boolean; pid: number } | undefined> {
  const { promise, resolve } = Promise.withResolvers<{ ready: boolean; pid: number } | undefined>();
  // INFO is answered while the data is loaded, PING is not.
  const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\nINFO server\r\n"));
  let heard = "";
  socket.setTimeout(timeoutMs, () => socket.destroy());
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
