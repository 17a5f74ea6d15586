// The run as text.
import type { Throughput } from "../sections/throughput.ts";
import type { Spread } from "../stats.ts";
import type { Results } from "./results.ts";

/** Columns as wide as their widest cell; numbers to the right. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [heads, ...rows];
  const widths = heads.map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)));
  const isNumber = heads.map((_, i) => rows.every((row) => /^[\d.,<-]|^$/.test(row[i] ?? "")));
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => (isNumber[i] ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd();
  return [line(heads), widths.map((width) => "-".repeat(width)).join("  "), ...rows.map(line)].join("\n");
}

export function report(results: Results): string {
  const sections = [
    Object.entries(results.surroundings)
      .map(([name, value]) => `${name}: ${value}`)
      .join("\n"),
    throughputTables(results.throughput),
    comparison(results.throughput),
    distanceTable(results),
    endToEndTable(results),
    growthTable(results),
    coldStartTable(results),
    memoryLine(results),
    profileTables(results),
    aimsTable(results),
  ];
  return sections.filter((section) => section !== "").join("\n\n");
}

function throughputTables(throughput: readonly Throughput[]): string {
  const groups = Map.groupBy(throughput, ({ operation, shape }) => {
    const what = operation === "produce" ? "Produce" : "Consume and acknowledge";
    return `${what}, ${shape.payload}, batches of ${shape.batch}, ${shape.connections} at once`;
  });
  return [...groups]
    .map(([title, rows]) => {
      const sorted = [...rows].sort((a, b) => b.messagesPerSecond.median - a.messagesPerSecond.median);
      return `${title}\n${table(HEADS, sorted.map(cellsOf))}`;
    })
    .join("\n\n");
}

const HEADS = [
  "",
  "messages/s",
  "range",
  "p50 ms",
  "p95 ms",
  "p99 ms",
  "commands/message",
  "round trips/message",
  "server CPU ms/request",
  "CPU us/message: generator + server + endpoint + Redis",
];

function cellsOf(row: Throughput): string[] {
  return [
    row.system,
    thousands(row.messagesPerSecond.median),
    range(row.messagesPerSecond),
    ...[row.p50Ms, row.p95Ms, row.p99Ms].map((ms) => (ms === undefined ? "" : ms.toFixed(2))),
    row.commandsPerMessage?.toFixed(3) ?? "",
    row.roundTripsPerMessage?.toFixed(3) ?? "",
    row.cpuMsPerRequest?.median.toFixed(2) ?? "",
    Object.values(row.cpuUsPerMessage)
      .map((us) => us.toFixed(1))
      .join(" + "),
  ];
}

/** With --against: this version and the other one side by side. */
function comparison(throughput: readonly Throughput[]): string {
  const rows = throughput.flatMap((other) => {
    const system = other.system.replace(/@.*$/, "");
    if (system === other.system) return [];
    const ours = throughput.find(
      (row) =>
        row.system === system &&
        row.operation === other.operation &&
        JSON.stringify(row.shape) === JSON.stringify(other.shape),
    );
    if (ours === undefined) return [];
    const { batch, connections, payload } = other.shape;
    return [
      [
        `${other.operation} ${batch} x ${connections}, ${payload}, ${system}`,
        thousands(ours.messagesPerSecond.median),
        thousands(other.messagesPerSecond.median),
        (ours.messagesPerSecond.median / other.messagesPerSecond.median).toFixed(2),
        ours.cpuMsPerRequest?.median.toFixed(2) ?? "",
        other.cpuMsPerRequest?.median.toFixed(2) ?? "",
      ],
    ];
  });
  if (rows.length === 0) return "";
  const ref = throughput.find(({ system }) => system.includes("@"))?.system.replace(/^.*@/, "") ?? "";
  const heads = ["", "messages/s", `at ${ref}`, "ratio", "CPU ms/request", `at ${ref}`];
  return `This checkout against ${ref}\n${table(heads, rows)}`;
}

function distanceTable({ distance }: Results): string {
  if (distance.length === 0) return "";
  const rows = distance.map(({ latencyMs, system, onePipeline, readThenAck }) => [
    `${latencyMs} ms`,
    system,
    thousands(onePipeline.median),
    range(onePipeline),
    thousands(readThenAck.median),
    range(readThenAck),
    (onePipeline.median / readThenAck.median).toFixed(2),
  ]);
  const heads = ["to Redis", "", "one pipeline, messages/s", "range", "read then ack", "range", "ratio"];
  return `Distance to Redis: one consumer, batches of 100\n${table(heads, rows)}`;
}

function endToEndTable({ endToEnd }: Results): string {
  if (endToEnd.length === 0) return "";
  const rows = endToEnd.map((row) => [
    row.system,
    row.situation,
    String(row.messages),
    row.p50Ms.toFixed(1),
    row.p95Ms.toFixed(1),
    row.p99Ms.toFixed(1),
  ]);
  const heads = ["", "situation", "measured", "p50 ms", "p95 ms", "p99 ms"];
  return `End to end: from the produce request to the handler\n${table(heads, rows)}`;
}

function growthTable({ growth }: Results): string {
  const [first] = growth;
  if (first === undefined) return "";
  const sizes = Object.keys(first.msByEntries);
  const rows = growth.map(({ operation, msByEntries }) => [
    operation,
    ...sizes.map((size) => (msByEntries[size] ?? Number.NaN).toFixed(2)),
  ]);
  const heads = ["ms a request", ...sizes.map((size) => `${thousands(Number(size))} pending`)];
  return `Growth: a stream with so many entries, all pending (Weir Node, TCP, one connection)\n${table(heads, rows)}`;
}

function coldStartTable({ coldStart }: Results): string {
  if (coldStart.length === 0) return "";
  const rows = coldStart.map(({ what, firstAnswerMs, bundleBytes, bundleGzipBytes }) => [
    what,
    firstAnswerMs.median.toFixed(0),
    `${firstAnswerMs.least.toFixed(0)}-${firstAnswerMs.most.toFixed(0)}`,
    (bundleBytes / 1_024).toFixed(0),
    (bundleGzipBytes / 1_024).toFixed(0),
  ]);
  const heads = ["", "first answer ms", "range", "bundle KiB", "gzip KiB"];
  return `Cold start: a fresh workerd process, from spawning to the first answer\n${table(heads, rows)}`;
}

function memoryLine({ memory }: Results): string {
  if (memory === undefined) return "";
  const { bytesPerMessage, bytesPerPayload, bytesPerPending } = memory;
  return `Redis memory: ${bytesPerMessage.toFixed(0)} B for a message of ${bytesPerPayload} B, ${bytesPerPending.toFixed(0)} B while it is pending`;
}

function profileTables({ profile }: Results): string {
  return profile
    .map(({ runtime, operation, messagesPerSecond, functions, owners }) => {
      const rowsOf = (parts: typeof functions) =>
        table(
          ["self time", "", ""],
          parts.map(({ name, place, share }) => [`${(share * 100).toFixed(1)} %`, name, place]),
        );
      const title = `Profile of Weir ${runtime}: ${operation}, ${thousands(messagesPerSecond)} messages/s while profiled`;
      return `${title}\n${rowsOf(owners)}\n\n${rowsOf(functions)}`;
    })
    .join("\n\n");
}

function aimsTable({ aims }: Results): string {
  if (aims.every(({ measured }) => measured === undefined)) return "";
  const rows = aims.map(({ about, aim, measured }) => [about, aim, measured ?? "(not in this run)"]);
  return `Aims\n${table(["ratio of medians, batches of 100, 16 at once", "aim: at least", "measured"], rows)}`;
}

function thousands(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function range({ least, most }: Spread): string {
  return `${thousands(least)}-${thousands(most)}`;
}
