// `npm start`: Weir on this machine with one command, until Ctrl-C.
import { type DataLock, lockDataDir } from "./data-lock.ts";
import { isPortFree } from "./ports.ts";
import { Interrupted, interruptible } from "./signals.ts";
import { startStack } from "./stack.ts";
import { parseStartSettings, type StartSettings } from "./start-settings.ts";

process.exitCode = await main();
// Done: what a library still holds open must not keep the terminal waiting.
process.exit();

async function main(): Promise<number> {
  const settings = parseStartSettings(process.env);
  if ("faults" in settings) return fail(settings.faults.join("\n"));
  const { signal } = interruptible();
  try {
    const lock = await lockDataDir(settings.dataDir);
    return await run(settings, lock, signal).finally(() => lock.release());
  } catch (error) {
    if (signal.reason instanceof Interrupted) return 0;
    return fail(error instanceof Error ? error.message : String(error));
  }
}

async function run(settings: StartSettings, lock: DataLock, signal: AbortSignal): Promise<number> {
  const { dataDir: dir, ignored, ...options } = settings;
  if (!(await isPortFree(settings.port))) return fail(`Port ${settings.port} is taken. Set PORT to another one.`);
  if (ignored.length > 0) console.error(`${ignored.join(" and ")}: not used here, where Redis is this machine's.`);
  const log = (line: string) => console.error(line);
  const stack = await startStack({ ...options, dir, log, signal });
  try {
    if (stack.redisPid !== undefined) await lock.noteRedis(stack.redisPid);
    console.log(readyText(stack.url, settings));
    const failure = await Promise.race([stack.failed, aborted(signal)]);
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

function readyText(url: string, { rootToken }: StartSettings): string {
  const headers = `-H 'authorization: Bearer ${rootToken}' -H 'content-type: application/json'`;
  return `ready ${url} root token ${rootToken}, try: curl -X PUT ${url}/v1/streams/orders ${headers} -d '{}'`;
}

function fail(message: string): number {
  console.error(message);
  return 1;
}
