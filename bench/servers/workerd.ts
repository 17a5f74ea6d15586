// A Worker's bundle under `workerd serve`: the runtime itself, without wrangler's development server around it.
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { type Program, startProgram } from "../../local/child-process.ts";
import { freePort } from "../../local/ports.ts";

export interface RunningWorkerd extends Program {
  readonly port: number;
  /** From spawning to the first answer. */
  readonly firstAnswerMs: number;
}

const READY_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 5_000;
const COMPATIBILITY_DATE = "2026-10-01";

/** The program itself, not the shim of the npm package, which would be one more process to end. */
function workerdBinary(): string {
  const require = createRequire(createRequire(import.meta.url).resolve("wrangler/package.json"));
  const found: unknown = createRequire(require.resolve("workerd/package.json"))("./lib/main.js");
  if (typeof found === "object" && found !== null && "default" in found) return String(found.default);
  throw new Error("workerd's program was not found");
}

/**
 * @param bundle the entry module, which is all that there is
 * @param path is asked until it answers with 200
 * @param inspectorPort where V8's inspector is to listen
 * @throws Error with workerd's last words when it does not start
 */
export async function startWorkerd(
  bundle: string,
  env: Readonly<Record<string, string>>,
  path = "/healthz",
  inspectorPort?: number,
): Promise<RunningWorkerd> {
  const port = await freePort();
  const config = join(dirname(bundle), `${basename(bundle)}.${port}.capnp`);
  await writeFile(config, configuration(basename(bundle), port, env));
  const started = performance.now();
  const inspector = inspectorPort === undefined ? [] : [`--inspector-addr=127.0.0.1:${inspectorPort}`];
  const workerd = startProgram(workerdBinary(), {
    args: ["serve", ...inspector, config],
    stopTimeoutMs: STOP_TIMEOUT_MS,
  });
  while (!(await answers(`http://127.0.0.1:${port}${path}`))) {
    if (workerd.exit !== undefined || performance.now() - started > READY_TIMEOUT_MS) {
      await workerd.stop();
      throw new Error(`workerd did not start:\n${workerd.lastOutput()}`);
    }
    await sleep(2);
  }
  return Object.assign(workerd, { port, firstAnswerMs: performance.now() - started });
}

function configuration(bundle: string, port: number, env: Readonly<Record<string, string>>): string {
  const bindings = Object.entries(env).map(([name, value]) => `(name = ${text(name)}, text = ${text(value)})`);
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", network = (allow = ["public", "private", "local"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [(name = "index.js", esModule = embed ${text(bundle)})],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  compatibilityFlags = ["nodejs_compat"],
  bindings = [${bindings.join(", ")}],
);
`;
}

/** A text literal of Cap'n Proto, whose escapes are C's. */
function text(value: string): string {
  return JSON.stringify(value);
}

async function answers(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
  await response?.arrayBuffer();
  return response?.status === 200;
}
