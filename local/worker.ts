// The Worker under `wrangler dev`, in a process group of its own.
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SETTINGS } from "../shared/config.ts";
import { exitText, type Program, startProgram } from "./child-process.ts";

/** A Worker that answers: wrangler, with workerd and esbuild in its process group. */
export interface RunningWorker extends Program {
  readonly url: string;
}

/** `vars` are the Worker's variables and secrets; `dir` gets the local state; `log` is called with what wrangler says. */
export interface WorkerOptions {
  dir: string;
  port: number;
  vars: Record<string, string>;
  log: (line: string) => void;
  signal?: AbortSignal;
}

const ROOT = dirname(import.meta.dirname);
const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 5_000;
const HEALTH_TIMEOUT_MS = 5_000;

/**
 * Starts wrangler and waits until `GET /healthz` answers 200.
 *
 * A process of its own rather than wrangler's `unstable_startWorker` in this one: workerd and esbuild are then in a
 * process group that Ctrl-C does not reach and that can be ended as a whole, also when this process is killed.
 *
 * @throws Error with the end of wrangler's output when it ends, or is not ready within 60 s; the signal's reason
 */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  // With a file named, wrangler leaves a developer's .dev.vars alone. It is empty: settings come by the environment.
  const envFile = join(options.dir, "empty.env");
  await writeFile(envFile, "");
  const worker = launch(options, envFile);
  try {
    await untilHealthy(worker, options.signal);
    return worker;
  } catch (error) {
    await worker.stop();
    throw error;
  }
}

function launch({ dir, port, vars, log }: WorkerOptions, envFile: string): RunningWorker {
  // Not the shim in .bin, which would leave workerd behind when it is killed.
  const wrangler = join(ROOT, "node_modules", "wrangler", "wrangler-dist", "cli.js");
  const args = [wrangler, "dev", "--config", join(ROOT, "wrangler.toml"), "--ip", "127.0.0.1", "--port", String(port)];
  // Below `log`, wrangler keeps what the Worker writes there to itself: the lines of requests.
  const level = vars.REQUEST_LOG === "on" ? "log" : "error";
  args.push("--inspector-port", "0", "--show-interactive-dev-session=false", "--log-level", level);
  args.push("--persist-to", join(dir, "wrangler"));
  args.push("--env-file", envFile);
  const program = startProgram(process.execPath, {
    args,
    cwd: ROOT,
    env: environment(vars),
    hasChildren: true,
    stopTimeoutMs: STOP_TIMEOUT_MS,
    onLine: (line) => (line.trim() === "" ? undefined : log(line)),
  });
  return Object.assign(program, { url: `http://127.0.0.1:${port}` });
}

/**
 * Hands the Worker its settings by the environment, which only this user can read; what stands on a command line,
 * everybody can. Settings that are not handed over here must not come from this process' own environment.
 */
function environment(vars: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !(name in SETTINGS)));
  const quiet = { WRANGLER_SEND_METRICS: "false", WRANGLER_HIDE_BANNER: "true", CLOUDFLARE_CF_FETCH_ENABLED: "false" };
  return { ...own, ...quiet, CLOUDFLARE_INCLUDE_PROCESS_ENV: "true", ...vars };
}

async function untilHealthy(worker: RunningWorker, signal: AbortSignal | undefined): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (!(await isHealthy(worker.url, HEALTH_TIMEOUT_MS))) {
    signal?.throwIfAborted();
    const { exit } = worker;
    if (exit) throw new Error(`wrangler ended at its start (${exitText(exit)}):\n${worker.lastOutput()}`);
    if (Date.now() > deadline) {
      throw new Error(`the Worker was not ready within ${READY_TIMEOUT_MS} ms:\n${worker.lastOutput()}`);
    }
    await sleep(50);
  }
}

/** Whether the Worker answers its health check in time. */
export async function isHealthy(url: string, timeoutMs: number): Promise<boolean> {
  try {
    const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(timeoutMs) });
    await response.arrayBuffer();
    return response.status === 200;
  } catch (error) {
    // Nothing listens (TypeError), or it listens and is still building (TimeoutError).
    if (error instanceof TypeError || (error instanceof Error && error.name === "TimeoutError")) return false;
    throw error;
  }
}
