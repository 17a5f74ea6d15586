// Where the Node server's time goes: V8's own profile, its functions by self time.
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Progress } from "../progress.ts";
import type { Stack } from "../stack.ts";
import { CORE, type Operation } from "./throughput.ts";

export type Profile = {
  operation: Operation;
  messagesPerSecond: number;
  /** Share of the time that was not idle. */
  functions: readonly Part[];
  /** The same by package, by file for the project's own. */
  owners: readonly Part[];
};

type Part = { name: string; place: string; share: number };

const DURATION_MS = 4_000;
const SHOWN = 40;

export async function measureProfile(dir: string, stack: Stack, progress: Progress): Promise<readonly Profile[]> {
  const profiles: Profile[] = [];
  for (const operation of ["produce", "consume"] as const) {
    progress.say(`profile of ${operation}`);
    const folder = join(dir, `profile-${operation}`);
    await mkdir(folder, { recursive: true });
    const { target, stop } = await stack.profiledNode([
      "--cpu-prof",
      "--cpu-prof-interval",
      "200",
      "--cpu-prof-dir",
      folder,
    ]);
    const body =
      operation === "produce"
        ? { kind: "weir-produce" as const }
        : { kind: "weir-consume" as const, settleApart: false };
    const run = (durationMs: number) => stack.load({ ...body, target, shape: CORE, durationMs });
    await run(500);
    const { messages, seconds } = await run(DURATION_MS);
    await stop();
    const [file = ""] = await readdir(folder);
    profiles.push({ operation, messagesPerSecond: messages / seconds, ...(await topOf(join(folder, file), seconds)) });
    await rm(folder, { recursive: true });
  }
  return profiles;
}

type CpuProfile = {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[];
  samples: number[];
  timeDeltas: number[];
};

/** @param seconds how long before its end the profile is looked at: what was before is starting and warming up */
async function topOf(file: string, seconds: number): Promise<Pick<Profile, "functions" | "owners">> {
  const { nodes, samples, timeDeltas }: CpuProfile = JSON.parse(await readFile(file, "utf8"));
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const byFunction = new Map<string, number>();
  const byOwner = new Map<string, number>();
  let leftUs = seconds * 1e6;
  let busyUs = 0;
  for (let i = samples.length - 1; i >= 0 && leftUs > 0; i--) {
    const us = timeDeltas[i] ?? 0;
    leftUs -= us;
    const frame = frames.get(samples[i] ?? -1);
    if (frame === undefined || frame.functionName === "(idle)") continue;
    const path = frame.url.replace(/^.*\/(?=[^/]+\/[^/]+$)/, "");
    const place = frame.url === "" ? "" : `${path}:${frame.lineNumber + 1}`;
    add(byFunction, JSON.stringify([frame.functionName || "(anonymous)", place]), us);
    add(byOwner, JSON.stringify([ownerOf(frame.functionName, frame.url), ""]), us);
    busyUs += us;
  }
  const shares = (sums: ReadonlyMap<string, number>) =>
    [...sums]
      .sort(([, a], [, b]) => b - a)
      .map(([key, us]): Part => {
        const [name, place]: [string, string] = JSON.parse(key);
        return { name, place, share: us / busyUs };
      });
  return { functions: shares(byFunction).slice(0, SHOWN), owners: shares(byOwner).slice(0, SHOWN / 2) };
}

function add(sums: Map<string, number>, key: string, us: number): void {
  sums.set(key, (sums.get(key) ?? 0) + us);
}

function ownerOf(name: string, url: string): string {
  const inPackage = /^.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1];
  if (inPackage !== undefined) return inPackage;
  if (url.startsWith("node:")) return "Node's own JavaScript";
  if (url === "") return name.startsWith("(") ? name : "native functions";
  return /(?:functions|shared|scheduled|bench)\/.*$/.exec(url)?.[0] ?? url;
}
