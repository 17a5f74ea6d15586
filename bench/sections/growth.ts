// What single operations take with more and more in the stream and pending.

import type { Progress } from "../../local/progress.ts";
import type { Options } from "../options.ts";
import type { Stack } from "../stack.ts";
import { CORE } from "./throughput.ts";

export interface Growth {
  operation: string;
  msByEntries: Record<string, number>;
}

/** Through Node and TCP: the least that is not Redis' own. */
export async function measureGrowth(stack: Stack, options: Options, progress: Progress): Promise<Growth[]> {
  const server = stack.servers[0];
  if (server === undefined) return [];
  const rows = new Map<string, Growth>();
  for (const entries of options.quick ? [1_000, 100_000] : [1_000, 100_000, 1_000_000]) {
    progress.status(`growth: ${entries} entries, all pending`);
    const { figures = {} } = await stack.load({
      kind: "growth",
      target: server.target,
      entries,
      shape: CORE,
      durationMs: 0,
    });
    for (const [operation, ms] of Object.entries(figures)) {
      const row = rows.get(operation) ?? { operation, msByEntries: {} };
      row.msByEntries[entries] = ms;
      rows.set(operation, row);
    }
  }
  return [...rows.values()];
}
