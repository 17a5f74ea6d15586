// Random requests, made from the API document, against the real app: on Node and in workerd, over TCP and over REST.
//   npm run fuzz -- --requests 10000 --seed 7 --on node
import { parseArgs } from "node:util";
import { type FuzzReport, fuzz } from "./run.ts";
import { type Place, startTarget, type Transport } from "./targets.ts";

const { values } = parseArgs({
  options: {
    requests: { type: "string", default: "100000" },
    seconds: { type: "string" },
    seed: { type: "string" },
    on: { type: "string", default: "both" },
  },
});

const requests = wholeNumber("requests", values.requests);
const seconds = values.seconds === undefined ? Number.POSITIVE_INFINITY : wholeNumber("seconds", values.seconds);
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : wholeNumber("seed", values.seed);
const TRANSPORTS: readonly Transport[] = ["tcp", "rest"];
const targets = placesOf(values.on).flatMap((place) => TRANSPORTS.map((transport) => ({ place, transport })));

console.log(`seed ${seed}`);
let faults = 0;
for (const { place, transport } of targets) {
  const target = await startTarget(place, transport);
  const startedMs = Date.now();
  try {
    const report = await fuzz(target, {
      seed,
      requests: Math.ceil(requests / targets.length),
      deadlineMs: Math.min(startedMs + (seconds * 1_000) / targets.length, Number.MAX_SAFE_INTEGER),
    });
    faults += report.faults.length;
    tell(target.name, report, (Date.now() - startedMs) / 1_000);
  } finally {
    await target.stop();
  }
}
if (faults > 0) process.exitCode = 1;

function tell(name: string, { requests, faults, answers, memory }: FuzzReport, seconds: number): void {
  console.log(`${name}: ${requests} requests in ${seconds.toFixed(0)} s, ${faults.length} faults; ${memory}`);
  const byOperation = Map.groupBy([...answers], ([counted]) => counted.split(" ")[0] ?? "");
  for (const [operation, counts] of [...byOperation].sort()) {
    const told = counts.sort().map(([counted, count]) => `${counted.split(" ")[1]} ${count}`);
    console.log(`  ${operation}: ${told.join(", ")}`);
  }
  for (const { signature } of faults) console.log(`  FAULT ${signature}`);
}

function placesOf(on: string): readonly Place[] {
  if (on === "both") return ["node", "workerd"];
  if (on === "node" || on === "workerd") return [on];
  throw new Error(`--on: expected node, workerd or both, got ${on}`);
}

function wholeNumber(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 0) throw new Error(`--${name}: expected a whole number, got ${text}`);
  return number;
}
