import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { endWithParent } from "./watchdog.ts";

/** Programs that this process starts and ends: none outlives it, and each leaves its last words. */

/** How a process ended: its exit code, or the signal that ended it. Neither when it could not be started. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** @returns "exit code 1" or "signal SIGKILL" */
export function exitText({ code, signal }: Exit): string {
  return signal ? `signal ${signal}` : `exit code ${code ?? "unknown"}`;
}

export interface ProgramOptions {
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Whether it starts processes of its own: then all of its process group is ended. */
  readonly hasChildren?: boolean;
  /** How long it is given to end after SIGTERM; SIGKILL follows. */
  readonly stopTimeoutMs: number;
  /** Called with every line that it says. */
  readonly onLine?: (line: string) => void;
}

/** A program that was started. */
export interface Program {
  /** Of the process, and of its group; 0 when it could not be started. */
  readonly pid: number;
  /** Settles when it has ended, for whatever reason. Never rejects. */
  readonly exited: Promise<Exit>;
  /** Whether and how it has ended. */
  readonly exit: Exit | undefined;
  /** The last lines of what it said. */
  lastOutput(): string;
  /** Ends it: SIGTERM, then SIGKILL. May be called twice. */
  stop(): Promise<void>;
}

const LINES_KEPT = 40;

/**
 * Starts a program in a process group of its own: Ctrl-C in a terminal goes to the whole group of the shell's command,
 * and a program must not be gone before those that still need it.
 */
export function startProgram(command: string, options: ProgramOptions): Program {
  const { args, cwd, env, hasChildren = false, stopTimeoutMs } = options;
  const child = spawn(command, args, {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    ...(cwd !== undefined && { cwd }),
    ...(env !== undefined && { env }),
  });
  const lines = followLines(child, options.onLine);
  const pid = child.pid ?? 0;
  const watchdog = pid > 0 ? endWithParent(hasChildren ? -pid : pid) : undefined;
  let exit: Exit | undefined;
  const exited = exitOf(child, lines).then((ended) => {
    exit = ended;
    // What it started may live on: then the watchdog stays until all of the group is ended.
    if (!hasChildren) watchdog?.release();
    return ended;
  });
  return {
    pid,
    exited,
    get exit() {
      return exit;
    },
    lastOutput: () => lines.join("\n"),
    async stop() {
      if (hasChildren) await endGroup(pid, stopTimeoutMs);
      else await endProcess(child, exited, stopTimeoutMs);
      await exited;
      watchdog?.release();
    },
  };
}

/** Reads both outputs to their end, so that the program never waits for a full pipe; keeps the last lines. */
function followLines({ stdout, stderr }: ChildProcess, onLine?: (line: string) => void): string[] {
  const lines: string[] = [];
  for (const stream of [stdout, stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream }).on("line", (line) => {
      lines.push(line);
      if (lines.length > LINES_KEPT) lines.shift();
      onLine?.(line);
    });
  }
  return lines;
}

function exitOf(child: ChildProcess, lines: string[]): Promise<Exit> {
  const { promise, resolve } = Promise.withResolvers<Exit>();
  child.once("exit", (code, signal) => resolve({ code, signal }));
  child.once("error", (error) => {
    lines.push(error.message);
    if (child.pid === undefined) resolve({ code: null, signal: null });
  });
  return promise;
}

async function endProcess(child: ChildProcess, exited: Promise<Exit>, timeoutMs: number): Promise<void> {
  child.kill("SIGTERM");
  const force = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
  await exited.finally(() => clearTimeout(force));
}

/** The process itself may be gone before its children, so it is the group that is waited for. */
async function endGroup(pid: number, timeoutMs: number): Promise<void> {
  if (!signalGroup(pid, "SIGTERM")) return;
  const deadline = Date.now() + timeoutMs;
  // With a deadline: in a container without an init, ended processes stay in the group as zombies.
  while (signalGroup(pid, 0) && Date.now() < deadline) await sleep(20);
  signalGroup(pid, "SIGKILL");
}

/** @returns false when nobody is left in the group */
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
