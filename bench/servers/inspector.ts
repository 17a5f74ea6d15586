// V8's profiler in another process, over its inspector: the same for Node and for workerd.
import { setTimeout as sleep } from "node:timers/promises";

export interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[];
  samples: number[];
  timeDeltas: number[];
}

const INTERVAL_US = 200;

/**
 * Profiles the process whose inspector listens on that port of 127.0.0.1, for as long as the work takes.
 * @throws Error when the inspector does not answer
 */
export async function profileWhile(port: number, work: () => Promise<unknown>): Promise<CpuProfile> {
  const socket = await open(await debuggerUrl(port));
  let asked = 0;
  const ask = (method: string, params: object = {}) => {
    const id = ++asked;
    const { promise, resolve } = Promise.withResolvers<{ profile: CpuProfile }>();
    const receive = ({ data }: MessageEvent) => {
      const answer: { id?: number; result: { profile: CpuProfile } } = JSON.parse(String(data));
      if (answer.id !== id) return;
      socket.removeEventListener("message", receive);
      resolve(answer.result);
    };
    socket.addEventListener("message", receive);
    socket.send(JSON.stringify({ id, method, params }));
    return promise;
  };
  try {
    await ask("Profiler.enable");
    await ask("Profiler.setSamplingInterval", { interval: INTERVAL_US });
    await ask("Profiler.start");
    await work();
    const { profile } = await ask("Profiler.stop");
    return profile;
  } finally {
    socket.close();
  }
}

async function debuggerUrl(port: number): Promise<string> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const response = await fetch(`http://127.0.0.1:${port}/json/list`).catch(() => undefined);
    const targets: { webSocketDebuggerUrl: string }[] = JSON.parse((await response?.text()) ?? "[]");
    if (targets[0] !== undefined) return targets[0].webSocketDebuggerUrl;
    await sleep(50);
  }
  throw new Error(`no inspector answers on port ${port}`);
}

async function open(url: string): Promise<WebSocket> {
  const socket = new WebSocket(url);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.addEventListener("open", () => resolve(), { once: true });
  socket.addEventListener("error", () => reject(new Error("the inspector refused the connection")), { once: true });
  await promise;
  return socket;
}
