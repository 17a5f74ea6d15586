// Messages a second: Weir over HTTP, and beside it on the same Redis what users would pick instead.

import type { Progress } from "../../local/progress.ts";
import type { Sample, Shape } from "../load/job.ts";
import type { Options } from "../options.ts";
import type { JobBody, Server, Stack } from "../stack.ts";
import { median, type Spread, shuffled, spreadOf } from "../stats.ts";

export type Operation = "produce" | "consume";

/** What is measured, again in every round. */
interface Cell {
  operation: Operation;
  system: string;
  shape: Shape;
  server?: Server;
  job: Omitted<JobBody>;
}
type Omitted<Each> = Each extends unknown ? Omit<Each, "durationMs" | "shape"> : never;

/** What came of it over all rounds. */
export interface Throughput {
  operation: Operation;
  system: string;
  shape: Shape;
  messagesPerSecond: Spread;
  /** Medians of the rounds' quantiles; absent where nothing stands for a request. */
  p50Ms?: number;
  p95Ms?: number;
  p99Ms?: number;
  /** CPU time of the server's process per request, all its threads; absent for what has no server. */
  cpuMsPerRequest?: Spread;
  commandsPerMessage?: number;
  roundTripsPerMessage?: number;
  /** CPU time per message by part, medians. */
  cpuUsPerMessage: Sample["cpuMs"];
  /** Share of one core that the load generator used. */
  generatorCpu: number;
}

export const CORE: Shape = { batch: 100, connections: 16, payload: "200 B" };

/** The name by which `--only` picks. */
export function nameOf({ operation, system, shape }: Pick<Cell, "operation" | "system" | "shape">): string {
  return `${operation} ${shape.batch} x ${shape.connections} ${shape.payload} ${system}`;
}

export async function measureThroughput(stack: Stack, options: Options, progress: Progress): Promise<Throughput[]> {
  const cells = cellsFor(stack, options).filter((cell) => options.only?.test(nameOf(cell)) ?? true);
  const runs = new Map<Cell, Sample[]>(cells.map((cell) => [cell, []]));
  const run = async (cell: Cell, which: string): Promise<Sample | undefined> => {
    progress.status(`${which}: ${nameOf(cell)}`);
    const { job, shape, server } = cell;
    try {
      return await stack.load({ ...job, shape, durationMs: DURATION_MS }, server);
    } catch (error) {
      // One failed measurement must not lose the others.
      progress.say(`${nameOf(cell)}: ${error instanceof Error ? error.message : error}`);
      return undefined;
    }
  };
  for (const [number, cell] of shuffled(cells).entries()) {
    await warmUp(() => run(cell, `warm-up, ${number + 1} of ${cells.length}`));
  }
  for (let round = 1; round <= options.rounds; round++) {
    for (const [number, cell] of shuffled(cells).entries()) {
      const sample = await run(cell, `round ${round} of ${options.rounds}, ${number + 1} of ${cells.length}`);
      if (sample !== undefined) runs.get(cell)?.push(sample);
    }
  }
  return [...runs].flatMap(([cell, samples]) => (samples.length === 0 ? [] : [summary(cell, samples)]));
}

/** How long about one measurement takes. */
const DURATION_MS = 700;

const MOST_WARM_UPS = 12;
/** A run counts as faster if it beats the best by this; so many that do not end the warm-up. */
const [GAIN, RUNS_WITHOUT_GAIN] = [1.03, 3];

/** Runs until it gets no faster: V8 compiles what is hot only in the course of seconds. */
async function warmUp(run: () => Promise<Sample | undefined>): Promise<void> {
  let best = 0;
  for (let i = 0, without = 0; i < MOST_WARM_UPS && without < RUNS_WITHOUT_GAIN; i++) {
    const sample = await run();
    const rate = sample === undefined ? 0 : sample.messages / sample.seconds;
    without = rate < best * GAIN ? without + 1 : 0;
    best = Math.max(best, rate);
  }
}

function summary({ operation, system, shape, server }: Cell, samples: readonly Sample[]): Throughput {
  const over = (value: (sample: Sample) => number) => spreadOf(samples.map(value)).median;
  const quantiles = samples.flatMap(({ latencyMs }) => latencyMs ?? []);
  const parts = ["generator", "server", "endpoint", "redis"] as const;
  const known = parts.filter((part) => samples.every(({ cpuMs }) => Number.isFinite(cpuMs[part])));
  const cpuUs = (part: (typeof parts)[number]) =>
    over(({ cpuMs, messages }) => ((cpuMs[part] ?? Number.NaN) * 1_000) / messages);
  return {
    operation,
    system,
    shape,
    messagesPerSecond: spreadOf(samples.map(({ messages, seconds }) => messages / seconds)),
    ...(quantiles.length > 0 && {
      p50Ms: median(quantiles.map(({ p50 }) => p50)),
      p95Ms: median(quantiles.map(({ p95 }) => p95)),
      p99Ms: median(quantiles.map(({ p99 }) => p99)),
    }),
    cpuUsPerMessage: Object.fromEntries(known.map((part) => [part, cpuUs(part)])),
    generatorCpu: over(({ cpuMs, seconds }) => (cpuMs.generator ?? Number.NaN) / 1_000 / seconds),
    ...(known.includes("server") && {
      cpuMsPerRequest: spreadOf(samples.map(({ cpuMs, requests }) => (cpuMs.server ?? Number.NaN) / requests)),
    }),
    ...(server && {
      commandsPerMessage: over(({ redisCommands, messages }) => redisCommands / messages),
      roundTripsPerMessage: over(({ redisRoundTrips, messages }) => redisRoundTrips / messages),
    }),
  };
}

const QUICK_SHAPES: readonly Shape[] = [CORE];
const FULL_SHAPES: readonly Shape[] = [
  ...[1, 10, 100, 1_000].flatMap((batch) => [1, 16, 64].map((connections): Shape => ({ ...CORE, batch, connections }))),
  ...[1, 100].map((batch): Shape => ({ ...CORE, batch, payload: "4 KB" })),
  { ...CORE, payload: "webhooks" },
];
/** Further numbers of consumers. */
const CONSUMERS: readonly Shape[] = [2, 4, 8, 32].map((connections) => ({ ...CORE, connections }));

function cellsFor(stack: Stack, { quick }: Options): Cell[] {
  const shapes = quick ? QUICK_SHAPES : FULL_SHAPES;
  const weir = shapes.flatMap((shape) =>
    stack.servers
      // TCP from workerd opens a connection a request: how that goes is seen at 16.
      .filter(({ runtime }) => runtime !== "workerd, TCP" || (shape.connections === 16 && !quick))
      .flatMap((server) => weirCells(server, shape)),
  );
  const consumers = (quick ? [] : CONSUMERS).flatMap((shape) =>
    stack.servers
      .filter(({ runtime }) => runtime !== "workerd, TCP")
      .flatMap((server) => weirCells(server, shape))
      .filter(({ operation }) => operation === "consume"),
  );
  // The peers at 16 connections, or as many batches in flight; one connection is what the raw commands have anyway.
  const peers = shapes.filter(({ connections }) => connections === 16).flatMap((shape) => peerCells(stack, shape));
  return [...weir, ...consumers, ...peers.filter(({ system }) => !quick || AIMED_AT.includes(system))];
}

/** What a system's name ends in where messages are consumed by `weir-client`. */
export const CLIENT = ", by the client's Consumer";

function weirCells(server: Server, shape: Shape): Cell[] {
  const { target, runtime, version } = server;
  const system = `Weir ${runtime}${version.label}`;
  // The hand-written loop is what the client is measured against.
  const isClients = shape.batch === 100 && shape.connections <= 16 && shape.payload === "200 B";
  const client: Cell[] = isClients
    ? [{ operation: "consume", system: `${system}${CLIENT}`, shape, server, job: { kind: "client-consume", target } }]
    : [];
  return [
    ...client,
    { operation: "produce", system, shape, server, job: { kind: "weir-produce", target } },
    { operation: "consume", system, shape, server, job: { kind: "weir-consume", target, settleApart: false } },
  ];
}

export const RAW_PRODUCE = "ioredis pipelined XADD";
export const RAW_CONSUME = "ioredis XREADGROUP, then XACK";
export const BULLMQ = "BullMQ";
export const BULLMQ_100 = "BullMQ, concurrency 100";
/** What the aims are ratios to. */
const AIMED_AT: readonly string[] = [RAW_PRODUCE, RAW_CONSUME, BULLMQ, BULLMQ_100];

function peerCells({ nats }: Stack, shape: Shape): Cell[] {
  const produce = { operation: "produce" as const, shape };
  const consume = { operation: "consume" as const, shape };
  const inFlight = shape.batch * shape.connections;
  const cells: Cell[] = [
    { ...produce, system: RAW_PRODUCE, job: { kind: "raw-produce", how: "pipeline" } },
    { ...consume, system: RAW_CONSUME, job: { kind: "raw-consume", how: "read-then-ack" } },
    { ...consume, system: "ioredis [XACK, XREADGROUP]", job: { kind: "raw-consume", how: "ack-and-read" } },
    { ...produce, system: BULLMQ, job: { kind: "bullmq-produce" } },
    { ...consume, system: BULLMQ, job: { kind: "bullmq-consume", concurrency: inFlight } },
  ];
  // As many jobs at once as Weir has messages are not what suits it best.
  if (inFlight > 100) {
    cells.push({ ...consume, system: BULLMQ_100, job: { kind: "bullmq-consume", concurrency: 100 } });
  }
  if (shape.batch <= 100) {
    cells.push(
      { ...produce, system: "Redis' demo pattern", job: { kind: "raw-produce", how: "demo" } },
      { ...consume, system: "Redis' demo pattern", job: { kind: "raw-consume", how: "demo" } },
    );
  }
  cells.push({ ...produce, system: "ioredis EVALSHA of XADDs", job: { kind: "raw-produce", how: "script" } });
  if (nats !== undefined) {
    cells.push(
      { ...produce, system: "NATS JetStream", job: { kind: "nats-produce", natsPort: nats.port } },
      { ...consume, system: "NATS JetStream", job: { kind: "nats-consume", natsPort: nats.port } },
    );
  }
  return cells;
}
