// `npm run serve`: Weir as a server of one's own, until SIGTERM or SIGINT.
import { WeirError } from "../shared/errors.ts";
import { log } from "./log.ts";
import { type RunningServer, startServer } from "./server/server.ts";
import { parseServerSettings } from "./server/settings.ts";

/** npm passes a Ctrl-C on that the terminal has sent here already: one key press, two signals. */
const SAME_PRESS_MS = 500;

await main();

async function main(): Promise<void> {
  const server = await start();
  if (server === undefined) return;
  log("info", "listening", { url: server.url });
  const signal = await firstSignal();
  log("info", "stopping: requests under way are ended first", { signal });
  await server.stop();
  log("info", "stopped");
}

async function start(): Promise<RunningServer | undefined> {
  const settings = parseServerSettings(process.env);
  if ("faults" in settings) return refuse(settings.faults.join("; "));
  try {
    return await startServer(process.env, settings);
  } catch (error) {
    if (error instanceof WeirError || (error instanceof Error && "code" in error)) return refuse(error.message);
    throw error;
  }
}

function refuse(message: string): undefined {
  log("error", message);
  process.exitCode = 1;
}

/** A second press ends the process at once. */
function firstSignal(): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  let pressedMs: number | undefined;
  const onSignal = (signal: NodeJS.Signals) => {
    pressedMs ??= performance.now();
    if (performance.now() - pressedMs > SAME_PRESS_MS) process.exit(130);
    resolve(signal);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, onSignal);
  return promise;
}
