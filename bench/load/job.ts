import type { Quantiles } from "../stats.ts";
import type { PayloadKind } from "./payloads.ts";

/** Where a Weir listens, and what it is asked with. */
export interface Target {
  port: number;
  token: string;
  prefix: string;
}

/** How much at once: messages in a batch, and batches in flight. */
export interface Shape {
  batch: number;
  connections: number;
  payload: PayloadKind;
}

/** Processes whose CPU time is measured, by their part. */
export type Watched = Partial<Record<"server" | "redis" | "endpoint", number>>;

/** One measurement for the load generator; `durationMs` is how long about, `redisPort` where everything lies. */
export type Job = { redisPort: number; durationMs: number; shape: Shape; watched: Watched } & (
  | { kind: "weir-produce"; target: Target }
  | { kind: "weir-consume"; target: Target; settleApart: boolean; batches?: number }
  | { kind: "client-consume"; target: Target }
  | { kind: "raw-produce"; how: "pipeline" | "script" | "demo" }
  | { kind: "raw-consume"; how: "read-then-ack" | "ack-and-read" | "demo" }
  | { kind: "bullmq-produce" }
  | { kind: "bullmq-consume"; concurrency: number }
  | { kind: "nats-produce" | "nats-consume"; natsPort: number }
  | { kind: "end-to-end"; target: Target; pauseMs: number | "as told"; messages: number; loadPerSecond: number }
  | { kind: "growth"; target: Target; entries: number }
  | { kind: "memory"; target: Target; messages: number }
);

/** What came of it. */
export interface Sample {
  messages: number;
  seconds: number;
  /** HTTP requests that were measured. */
  requests: number;
  /** Absent when nothing was timed. Of one request, or of what stands for one: a pipeline, an addBulk, a read with its acknowledgement. */
  latencyMs?: Quantiles;
  /** As Weir's Server-Timing says, of the measured requests. */
  redisCommands: number;
  redisRoundTrips: number;
  /** CPU time by part, all threads of it; in steps of 10 ms, but for the generator's. */
  cpuMs: Partial<Record<keyof Watched | "generator", number>>;
  /** Results of another kind, by name. */
  figures?: Record<string, number>;
}
