import { performance } from "node:perf_hooks";
import { quantilesOf } from "../stats.ts";
import { cpuMsOf } from "./cpu.ts";
import type { Sample, Watched } from "./job.ts";
import type { PayloadKind } from "./payloads.ts";

const PARTS = ["generator", "server", "redis", "endpoint"] as const;

/** Counts and times what a measurement does. */
export class Meter {
  messages = 0;
  requests = 0;
  redisCommands = 0;
  redisRoundTrips = 0;
  readonly #latencies: number[] = [];
  #startedAt = performance.now();
  #cpuAtStart: Sample["cpuMs"] = {};
  readonly #watched: Watched;

  constructor(watched: Watched = {}) {
    this.#watched = watched;
  }

  /** Everything before it was preparation. */
  start(): void {
    this.requests = 0;
    this.#startedAt = performance.now();
    this.#cpuAtStart = this.#cpu();
  }

  elapsedMs(): number {
    return performance.now() - this.#startedAt;
  }

  noteLatency(ms: number): void {
    this.#latencies.push(ms);
  }

  /** Times one step. */
  async time<Result>(step: Promise<Result>): Promise<Result> {
    const started = performance.now();
    const result = await step;
    this.noteLatency(performance.now() - started);
    return result;
  }

  /** Reads `Server-Timing` out of an answer's head. */
  noteServerTiming(head: string): void {
    const match = /desc="(\d+) commands?, (\d+) round/.exec(head);
    if (match === null) return;
    this.redisCommands += Number(match[1]);
    this.redisRoundTrips += Number(match[2]);
  }

  stop(): Sample {
    const seconds = this.elapsedMs() / 1_000;
    const cpuMs = this.#cpu();
    for (const part of PARTS) if (cpuMs[part] !== undefined) cpuMs[part] -= this.#cpuAtStart[part] ?? 0;
    return {
      messages: this.messages,
      seconds,
      requests: this.requests,
      ...(this.#latencies.length > 0 && { latencyMs: quantilesOf(this.#latencies) }),
      redisCommands: this.redisCommands,
      redisRoundTrips: this.redisRoundTrips,
      cpuMs,
    };
  }

  #cpu(): Sample["cpuMs"] {
    const { user, system } = process.cpuUsage();
    const cpuMs: Sample["cpuMs"] = { generator: (user + system) / 1_000 };
    for (const part of PARTS) {
      const pid = part === "generator" ? undefined : this.#watched[part];
      if (pid !== undefined) cpuMs[part] = cpuMsOf(pid);
    }
    return cpuMs;
  }
}

const rates = new Map<string, number>();

/**
 * How many messages take about that long, by what the same measurement did before; whole batches, and bounded in bytes.
 * @param what names the measurement
 */
export function messagesFor(
  what: string,
  durationMs: number,
  batch: number,
  connections: number,
  payload: PayloadKind,
): number {
  const perSecond = rates.get(what) ?? 10_000;
  const round = batch * connections;
  const wanted = Math.max(Math.ceil((perSecond * durationMs) / 1_000 / round), 2) * round;
  const most = payload === "200 B" ? 400_000 : 20_000;
  return Math.min(wanted, Math.max(most, 2 * round));
}

export function noteRate(what: string, { messages, seconds }: Sample): void {
  rates.set(what, messages / seconds);
}
