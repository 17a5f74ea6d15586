// A nats-server with JetStream, when one is installed.
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { connect } from "node:net";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Program, startProgram } from "../../local/child-process.ts";
import { freePort } from "../../local/ports.ts";

export interface RunningNats extends Program {
  readonly port: number;
  readonly version: string;
}

const STOP_TIMEOUT_MS = 5_000;

/** @returns undefined when none is on the PATH */
export async function startNats(dir: string): Promise<RunningNats | undefined> {
  const program = await findNats();
  if (program === undefined) return undefined;
  const port = await freePort();
  const nats = startProgram(program, {
    args: ["-js", "-sd", join(dir, "nats"), "-a", "127.0.0.1", "-p", String(port)],
    stopTimeoutMs: STOP_TIMEOUT_MS,
  });
  for (let i = 0; i < 500; i++) {
    const greeting = await greetingOf(port);
    const version = /"version":"([^"]+)"/.exec(greeting)?.[1];
    if (version !== undefined) return Object.assign(nats, { port, version });
    await sleep(10);
  }
  await nats.stop();
  return undefined;
}

async function findNats(): Promise<string | undefined> {
  // Debian puts it where ordinary users do not look.
  for (const dir of [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"]) {
    const program = join(dir, "nats-server");
    const isThere = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return program;
  }
  return undefined;
}

/** The server speaks first, and tells about itself. */
function greetingOf(port: number): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const socket = connect(port, "127.0.0.1");
  socket.setTimeout(1_000, () => socket.destroy());
  socket.once("data", (data) => {
    resolve(data.toString());
    socket.destroy();
  });
  socket.on("error", () => resolve(""));
  socket.on("close", () => resolve(""));
  return promise;
}
