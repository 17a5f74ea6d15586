// The Worker under `wrangler dev`, in a process group of its own.
import { type ChildProcess, spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { LastLines } from "./last-lines.ts";
import { type Exit, exitText } from "./redis.ts";
import { endWithParent } from "./watchdog.ts";

/** A Worker that answers. */
export type RunningWorker = {
  url: string;
  pid: number;
  /** Ends wrangler with workerd and esbuild: SIGTERM to the group, SIGKILL to what is left of it after 5 s. */
  stop(): Promise<void>;
  /** Settles when wrangler has ended, for whatever reason. Never rejects. */
  exited: Promise<Exit>;
  lastOutput(): string;
};

/** `vars` are the Worker's variables and secrets; `dir` gets the local state; `log` is called with what wrangler says. */
export type WorkerOptions = {
  dir: string;
  port: number;
  vars: Record<string, string>;
  log: (line: string) => void;
  signal?: AbortSignal;
};

const root = dirname(import.meta.dirname);
const readyTimeoutMs = 60_000;
const stopTimeoutMs = 5_000;

/**
 * Starts wrangler and waits until `GET /healthz` answers 200.
 *
 * A process of its own rather than wrangler's `unstable_startWorker` in this one: workerd and esbuild are then in a
 * process group that Ctrl-C does not reach and that can be ended as a whole, also when this process is killed.
 *
 * @throws Error with the end of wrangler's output when it ends, or is not ready within 60 s; the signal's reason
 */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  const worker = launch(options);
  try {
    await healthy(worker, options.signal);
    return worker;
  } catch (error) {
    await worker.stop();
    throw error;
  }
}

function launch({ dir, port, vars, log }: WorkerOptions): RunningWorker {
  // Not the shim in .bin, which would leave workerd behind when it is killed.
  const wrangler = join(root, "node_modules", "wrangler", "wrangler-dist", "cli.js");
  const args = [wrangler, "dev", "--config", join(root, "wrangler.toml"), "--ip", "127.0.0.1", "--port", String(port)];
  args.push("--inspector-port", "0", "--show-interactive-dev-session=false", "--log-level", "error");
  args.push("--persist-to", join(dir, "wrangler"));
  for (const [name, value] of Object.entries(vars)) args.push("--var", `${name}:${value}`);
  const quiet = { WRANGLER_SEND_METRICS: "false", WRANGLER_HIDE_BANNER: "true", CLOUDFLARE_CF_FETCH_ENABLED: "false" };
  const child = spawn(process.execPath, args, {
    cwd: root,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...quiet },
  });
  const output = new LastLines(40);
  const shown = (line: string) => (line.trim() === "" ? undefined : log(line));
  output.follow(child.stdout, shown);
  output.follow(child.stderr, shown);
  const pid = child.pid ?? 0;
  const watchdog = pid > 0 ? endWithParent(-pid) : undefined;
  const exited = exitOf(child, output);
  return {
    url: `http://127.0.0.1:${port}`,
    pid,
    exited,
    lastOutput: () => output.text(),
    stop: async () => {
      await endGroup(pid);
      await exited;
      watchdog?.release();
    },
  };
}

function exitOf(child: ChildProcess, output: LastLines): Promise<Exit> {
  const { promise, resolve } = Promise.withResolvers<Exit>();
  child.once("exit", (code, signal) => resolve({ code, signal }));
  child.once("error", (error) => {
    output.add(error.message);
    if (child.pid === undefined) resolve({ code: null, signal: null });
  });
  return promise;
}

async function healthy(worker: RunningWorker, signal: AbortSignal | undefined): Promise<void> {
  let ended: Exit | undefined;
  worker.exited.then((exit) => {
    ended = exit;
  });
  const deadline = Date.now() + readyTimeoutMs;
  while (!(await isHealthy(worker.url))) {
    signal?.throwIfAborted();
    if (ended) throw new Error(`wrangler ended at its start (${exitText(ended)}):\n${worker.lastOutput()}`);
    if (Date.now() > deadline) {
      throw new Error(`the Worker was not ready within ${readyTimeoutMs} ms:\n${worker.lastOutput()}`);
    }
    await sleep(50);
  }
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(5_000) });
    await response.arrayBuffer();
    return response.status === 200;
  } catch (error) {
    // Nothing listens yet (TypeError), or it listens and is still building (TimeoutError).
    if (error instanceof TypeError || (error instanceof Error && error.name === "TimeoutError")) return false;
    throw error;
  }
}

/** wrangler may be gone before workerd is, so it is the group that is waited for. */
async function endGroup(pid: number): Promise<void> {
  if (!signalGroup(pid, "SIGTERM")) return;
  const deadline = Date.now() + stopTimeoutMs;
  // Not until the group is empty: in a container without an init, ended processes stay in it as zombies.
  while (signalGroup(pid, 0) && Date.now() < deadline) await sleep(20);
  signalGroup(pid, "SIGKILL");
}

/** False when nobody is left in the group. */
function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  if (pid <= 0) return false;
  try {
    process.kill(-pid, signal);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false;
    throw error;
  }
}
