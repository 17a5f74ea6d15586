// Redis' own memory, by its used_memory before and after.

import type { Progress } from "../../local/progress.ts";
import type { Options } from "../options.ts";
import type { Stack } from "../stack.ts";
import { CORE } from "./throughput.ts";

export interface Memory {
  bytesPerMessage: number;
  bytesPerPayload: number;
  bytesPerPending: number;
}

export async function measureMemory(stack: Stack, { quick }: Options, progress: Progress): Promise<Memory | undefined> {
  const server = stack.servers[0];
  if (server === undefined) return undefined;
  progress.status("memory");
  const { figures = {} } = await stack.load({
    kind: "memory",
    target: server.target,
    messages: quick ? 50_000 : 200_000,
    shape: { ...CORE, batch: 1_000 },
    durationMs: 0,
  });
  const { bytesPerMessage = Number.NaN, bytesPerPending = Number.NaN } = figures;
  return { bytesPerMessage, bytesPerPayload: 200, bytesPerPending };
}
