// A nats-server with JetStream, when one is installed.
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { connect } from "node:net";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../../local/ports.ts";
import { endWithParent } from "../../local/watchdog.ts";

export type RunningNats = { port: number; version: string; stop(): Promise<void> };

/** @returns undefined when none is on the PATH */
export async function startNats(dir: string): Promise<RunningNats | undefined> {
  const program = await findNats();
  if (program === undefined) return undefined;
  const port = await freePort();
  const child = spawn(program, ["-js", "-sd", join(dir, "nats"), "-a", "127.0.0.1", "-p", String(port)], {
    stdio: "ignore",
  });
  const watchdog = child.pid === undefined ? undefined : endWithParent(child.pid);
  const exited = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  }).finally(() => watchdog?.release());
  const stop = () => end(child, exited);
  for (let i = 0; i < 500; i++) {
    const greeting = await greetingOf(port);
    const version = /"version":"([^"]+)"/.exec(greeting)?.[1];
    if (version !== undefined) return { port, version, stop };
    await sleep(10);
  }
  await stop();
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

async function end(child: ChildProcess, exited: Promise<void>): Promise<void> {
  child.kill("SIGTERM");
  const force = setTimeout(() => child.kill("SIGKILL"), 5_000);
  await exited.finally(() => clearTimeout(force));
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
