// A version's own server, `functions/node.ts`: what `npm run serve` starts.
import { access } from "node:fs/promises";
import { join } from "node:path";
import { type Program, startProgram } from "../../local/child-process.ts";

export interface RunningNode extends Program {
  readonly port: number;
}

const READY_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 15_000;

/** Whether the version in that folder has a server: the first ones had none. */
export async function hasServer(root: string): Promise<boolean> {
  return access(serverOf(root)).then(
    () => true,
    () => false,
  );
}

/**
 * @param execArgv options of Node itself, such as `--inspect`
 * @throws Error with the server's last words when it does not start
 */
export async function startNode(
  root: string,
  settings: Readonly<Record<string, string>>,
  execArgv: readonly string[] = [],
): Promise<RunningNode> {
  const listening = Promise.withResolvers<number>();
  const server = startProgram(process.execPath, {
    args: [...execArgv, serverOf(root)],
    // As in workerd, whose cron does not run here either, nothing is measured while the reaper is at work.
    env: { ...process.env, ...settings, HOST: "127.0.0.1", PORT: "0", REAPER_INTERVAL_MS: "86400000" },
    stopTimeoutMs: STOP_TIMEOUT_MS,
    onLine(line) {
      const port = /"listening".*"url":"http:\/\/127\.0\.0\.1:(\d+)"/.exec(line)?.[1];
      if (port !== undefined) listening.resolve(Number(port));
    },
  });
  const fail = () => listening.reject(new Error(`${serverOf(root)} did not start:\n${server.lastOutput()}`));
  void server.exited.then(fail);
  const timer = setTimeout(fail, READY_TIMEOUT_MS);
  try {
    return Object.assign(server, { port: await listening.promise });
  } catch (error) {
    await server.stop();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function serverOf(root: string): string {
  return join(root, "functions", "node.ts");
}
