// Distance to Redis: one pipeline per batch, as consume does it, against reading and acknowledging apart.

import type { Progress } from "../../local/progress.ts";
import type { Options } from "../options.ts";
import type { Stack } from "../stack.ts";
import { type Spread, shuffled, spreadOf } from "../stats.ts";
import { CORE } from "./throughput.ts";

export interface Distance {
  latencyMs: number;
  system: string;
  onePipeline: Spread;
  readThenAck: Spread;
}

/** One consumer, batches of 100, through workerd and the REST endpoint, which adds the latency to each round trip. */
export async function measureLatency(stack: Stack, options: Options, progress: Progress): Promise<Distance[]> {
  const rounds = Math.min(options.rounds, options.quick ? 3 : 7);
  const batches = options.quick ? 8 : 25;
  const cells = stack.servers
    .filter(({ runtime }) => runtime === "workerd, REST")
    .flatMap((server) => [0, 1, 20, 80].map((latencyMs) => ({ server, latencyMs })))
    .map((cell) => ({ ...cell, one: [] as number[], two: [] as number[] }));
  for (let round = 0; round <= rounds; round++) {
    for (const { server, latencyMs, one, two } of shuffled(cells)) {
      progress.status(`${latencyMs} ms to Redis, ${round === 0 ? "warm-up" : `round ${round} of ${rounds}`}`);
      await stack.setLatency(latencyMs);
      for (const settleApart of shuffled([false, true])) {
        const { messages, seconds } = await stack.load({
          kind: "weir-consume",
          target: server.target,
          settleApart,
          batches: round === 0 ? 2 : batches,
          shape: { ...CORE, connections: 1 },
          durationMs: 0,
        });
        if (round > 0) (settleApart ? two : one).push(messages / seconds);
      }
    }
  }
  await stack.setLatency(0);
  return cells.map(({ server, latencyMs, one, two }) => ({
    latencyMs,
    system: `Weir ${server.runtime}${server.version.label}`,
    onePipeline: spreadOf(one),
    readThenAck: spreadOf(two),
  }));
}
