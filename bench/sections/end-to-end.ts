// From the producer's request to the handler that polls.

import type { Progress } from "../../local/progress.ts";
import type { Options } from "../options.ts";
import type { Stack } from "../stack.ts";
import { median } from "../stats.ts";
import { CORE, type Throughput } from "./throughput.ts";

export interface EndToEnd {
  system: string;
  situation: string;
  messages: number;
  p50Ms: number;
  p95Ms: number;
  p99Ms: number;
}

/** @param throughput for how much half load is; without it, that is left out */
export async function measureEndToEnd(
  stack: Stack,
  options: Options,
  progress: Progress,
  throughput: readonly Throughput[],
): Promise<EndToEnd[]> {
  const results: EndToEnd[] = [];
  const messages = options.quick ? 15 : 100;
  for (const server of stack.servers) {
    const system = `Weir ${server.runtime}${server.version.label}`;
    const run = async (situation: string, pauseMs: number | "as told", loadPerSecond = 0, count = messages) => {
      progress.status(`end to end, ${situation}: ${system}`);
      const sample = await stack.load({
        kind: "end-to-end",
        target: server.target,
        pauseMs,
        messages: count,
        loadPerSecond,
        shape: CORE,
        durationMs: options.quick ? 1_000 : 4_000,
      });
      const { p50, p95, p99 } = sample.latencyMs ?? { p50: Number.NaN, p95: Number.NaN, p99: Number.NaN };
      results.push({ system, situation, messages: sample.messages, p50Ms: p50, p95Ms: p95, p99Ms: p99 });
    };
    await run("idle, polling every 10 ms", 10);
    if (!options.quick) await run("idle, pausing as pollAfterMs says", "as told", 0, 20);
    const half = halfLoad(throughput, system);
    if (half !== undefined)
      await run(`under load (${Math.round(half)} messages/s in batches of 10, in and out)`, 1, half);
  }
  return results;
}

/**
 * About half of what the machine can do in batches of 10, both ways at once. Where batches of 10 were not measured
 * (--quick), it is guessed low by those of 100.
 */
function halfLoad(throughput: readonly Throughput[], system: string): number | undefined {
  const reached = (batch: number) =>
    throughput
      .filter((row) => row.system === system && row.shape.batch === batch && row.shape.connections === 16)
      .filter((row) => row.shape.payload === "200 B")
      .map((row) => row.messagesPerSecond.median);
  const [tens, hundreds] = [reached(10), reached(100)];
  // Producing and consuming at once share the machine: half of half of the slower one.
  if (tens.length === 2) return Math.min(...tens) / 4;
  return hundreds.length === 2 ? median(hundreds) / 20 : undefined;
}
