// npm run bench: measures, prints, and writes bench/results/. It never passes or fails anything.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Progress } from "../local/progress.ts";
import { INTERRUPTED, interruptible } from "../local/signals.ts";
import { type Options, parseOptions, type Section, USAGE } from "./options.ts";
import type { Results } from "./report/results.ts";

const options = parseOrExplain();
installPackages();
const { compareWithAims } = await import("./report/aims.ts");
const { plot } = await import("./report/plot.ts");
const { report } = await import("./report/table.ts");
const { describeSurroundings } = await import("./machine.ts");
const { measureColdStart } = await import("./sections/cold-start.ts");
const { measureEndToEnd } = await import("./sections/end-to-end.ts");
const { measureGrowth } = await import("./sections/growth.ts");
const { measureLatency } = await import("./sections/latency.ts");
const { measureMemory } = await import("./sections/memory.ts");
const { measureProfile } = await import("./sections/profile.ts");
const { measureThroughput } = await import("./sections/throughput.ts");
const { startStack } = await import("./stack.ts");
const { currentVersion, otherVersion } = await import("./version.ts");

const progress = new Progress(process.stderr, 5_000);
const interruption = interruptible().signal;
const dir = await mkdtemp(join(tmpdir(), "weir-bench-"));
const cleanups: (() => Promise<void>)[] = [() => rm(dir, { recursive: true, force: true })];
let cleaning: Promise<void> | undefined;
interruption.addEventListener("abort", () => void cleanUp().then(() => process.exit(INTERRUPTED)));
try {
  const results = await measureAll();
  progress.end();
  console.log(`${report(results)}\n`);
  console.log(`Written: ${(await write(results)).join(", ")}`);
} finally {
  await cleanUp();
}

async function measureAll(): Promise<Results> {
  const startedAt = new Date().toISOString();
  progress.status("building");
  const versions = [await currentVersion(dir)];
  if (options.against !== undefined) {
    const other = await otherVersion(options.against, dir);
    cleanups.push(other.remove);
    versions.push(other.version);
  }
  const stack = await startStack(dir, versions);
  cleanups.push(stack.stop);
  if (stack.nats === undefined) progress.say("NATS JetStream is left out: no nats-server is installed");
  const surroundings = await describeSurroundings(stack);
  const wants = (section: Section) => options.sections.includes(section);
  // Before the big streams: Redis' memory is then as empty as it gets.
  const memory = wants("memory") ? await measureMemory(stack, options, progress) : undefined;
  const throughput = wants("throughput") ? await measureThroughput(stack, options, progress) : [];
  const distance = wants("latency") ? await measureLatency(stack, options, progress) : [];
  const endToEnd = wants("end-to-end") ? await measureEndToEnd(stack, options, progress, throughput) : [];
  const growth = wants("growth") ? await measureGrowth(stack, options, progress) : [];
  const coldStart = wants("cold-start") ? await measureColdStart(dir, stack, versions, options, progress) : [];
  const profile = wants("profile") ? await measureProfile(dir, stack, progress) : [];
  const measured = { startedAt, surroundings, throughput, distance, endToEnd, growth, memory, coldStart, profile };
  const whole = { ...measured, arguments: process.argv.slice(2) };
  return { ...whole, aims: compareWithAims(whole) };
}

async function write(results: Results): Promise<string[]> {
  const folder = join(import.meta.dirname, "results");
  await mkdir(folder, { recursive: true });
  const name = results.startedAt.replace(/[:.]/g, "-");
  const files: [name: string, content: string][] = [
    [`${name}.json`, `${JSON.stringify(results, null, 2)}\n`],
    [`${name}.txt`, `${report(results)}\n`],
  ];
  if (results.throughput.length > 0) files.push([`${name}.svg`, plot(results)]);
  for (const [file, content] of files) await writeFile(join(folder, file), content);
  return files.map(([file]) => `bench/results/${file}`);
}

async function cleanUp(): Promise<void> {
  cleaning ??= (async () => {
    for (const step of cleanups.reverse()) await step().catch((error: unknown) => progress.say(String(error)));
  })();
  await cleaning;
}

function parseOrExplain(): Options {
  try {
    const parsed = parseOptions(process.argv.slice(2));
    if (parsed !== "help") return parsed;
    console.log(USAGE);
    process.exit(0);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${USAGE}`);
    process.exit(2);
  }
}

/** The peers are not among the project's own packages, so they are installed when they are needed first. */
function installPackages(): void {
  if (existsSync(join(import.meta.dirname, "node_modules"))) return;
  console.error("Installing bench/'s own packages");
  execFileSync("npm", ["ci", "--prefix", import.meta.dirname], { stdio: ["ignore", "ignore", "inherit"] });
}
