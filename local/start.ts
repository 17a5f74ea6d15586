// `npm start`: Weir on this machine with one command, until Ctrl-C.
import { type DataLock, lockDataDir } from "./data-lock.ts";
import { isPortFree } from "./ports.ts";
import { parseSettings, type Settings } from "./settings.ts";
import { startStack } from "./stack.ts";

/** Signals this close together are one key press. */
const samePressMs = 500;

const stopping = new AbortController();
let firstSignalAt = 0;

process.exitCode = await main();
// Nothing is left to do; what a library still holds open must not keep the terminal waiting.
process.exit();

async function main(): Promise<number> {
  const parsed = parseSettings(process.env);
  if ("faults" in parsed) return fail(parsed.faults.join("\n"));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  try {
    const lock = await lockDataDir(parsed.settings.dataDir);
    return await run(parsed.settings, lock).finally(() => lock.release());
  } catch (error) {
    if (stopping.signal.aborted) return 0;
    return fail(error instanceof Error ? error.message : String(error));
  }
}

/** The first one ends everything in order, a second one at once: the children's watchdogs then see to them. */
function onSignal(): void {
  if (!stopping.signal.aborted) {
    firstSignalAt = Date.now();
    stopping.abort();
    return;
  }
  // npm passes a Ctrl-C on that the terminal has already sent here: one key press, two signals.
  if (Date.now() - firstSignalAt > samePressMs) process.exit(130);
}

async function run(settings: Settings, lock: DataLock): Promise<number> {
  if (!(await isPortFree(settings.port))) return fail(`Port ${settings.port} is taken. Set PORT to another one.`);
  const { dataDir, ...options } = settings;
  const log = (line: string) => console.error(line);
  const stack = await startStack({ ...options, dir: dataDir, log, signal: stopping.signal });
  try {
    if (stack.redisPid !== undefined) await lock.noteRedis(stack.redisPid);
    console.log(readyText(stack.url, settings));
    const failure = await Promise.race([stack.failed, aborted(stopping.signal)]);
    return failure === undefined ? 0 : fail(failure);
  } finally {
    await stack.stop();
  }
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
}

function readyText(url: string, { rootToken }: Settings): string {
  const headers = `-H 'authorization: Bearer ${rootToken}' -H 'content-type: application/json'`;
  return `ready ${url} root token ${rootToken}, try: curl -X PUT ${url}/v1/streams/orders ${headers} -d '{}'`;
}

function fail(message: string): number {
  console.error(message);
  return 1;
}
