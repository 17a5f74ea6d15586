// Where a server's time goes: V8's own profile, its functions by self time.
import { readFile } from "node:fs/promises";
import { freePort } from "../../local/ports.ts";
import type { Progress } from "../../local/progress.ts";
import { type CpuProfile, profileWhile } from "../servers/inspector.ts";
import type { Runtime, Stack } from "../stack.ts";
import { readableBundle } from "../version.ts";
import { CORE, type Operation } from "./throughput.ts";

export interface Profile {
  runtime: Runtime;
  operation: Operation;
  messagesPerSecond: number;
  /** Share of the time that was not idle. */
  functions: readonly Part[];
  /** The same by package, by file for the project's own. */
  owners: readonly Part[];
}

interface Part {
  name: string;
  place: string;
  share: number;
}

const DURATION_MS = 4_000;
// By then V8 has compiled what is hot.
const WARM_UP_MS = 5_000;
const SHOWN = 40;

export async function measureProfile(dir: string, stack: Stack, progress: Progress): Promise<readonly Profile[]> {
  const bundle = await readableBundle(dir);
  const [nodePort, workerdPort] = [await freePort(), await freePort()];
  const modules = await modulesOf(bundle);
  const inspected = [
    { runtime: "Node, TCP" as const, port: nodePort, target: await stack.inspectedNode(nodePort) },
    { runtime: "workerd, REST" as const, port: workerdPort, target: await stack.inspectedWorkerd(bundle, workerdPort) },
  ];
  const profiles: Profile[] = [];
  for (const { runtime, port, target } of inspected) {
    for (const operation of ["produce", "consume"] as const) {
      progress.status(`profile of ${operation}, ${runtime}`);
      const body =
        operation === "produce"
          ? { kind: "weir-produce" as const }
          : { kind: "weir-consume" as const, settleApart: false };
      const run = (durationMs: number) => stack.load({ ...body, target, shape: CORE, durationMs });
      await run(WARM_UP_MS);
      let messagesPerSecond = 0;
      const profile = await profileWhile(port, async () => {
        const { messages, seconds } = await run(DURATION_MS);
        messagesPerSecond = messages / seconds;
      });
      profiles.push({ runtime, operation, messagesPerSecond, ...topOf(profile, modules) });
    }
  }
  return profiles;
}

/** The modules of a bundle, by the line that each begins at. */
async function modulesOf(bundle: string): Promise<readonly { line: number; path: string }[]> {
  const lines = (await readFile(bundle, "utf8")).split("\n");
  return lines.flatMap((text, line) => {
    const path = /^\/\/ (\S+\.[cm]?[jt]s)$/.exec(text)?.[1];
    return path === undefined ? [] : [{ line, path }];
  });
}

function topOf(
  { nodes, samples, timeDeltas }: CpuProfile,
  modules: readonly { line: number; path: string }[],
): Pick<Profile, "functions" | "owners"> {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const byFunction = new Map<string, number>();
  const byOwner = new Map<string, number>();
  let busyUs = 0;
  for (let i = 0; i < samples.length; i++) {
    const us = timeDeltas[i] ?? 0;
    const frame = frames.get(samples[i] ?? -1);
    if (frame === undefined || frame.functionName === "(idle)" || frame.functionName === "(root)") continue;
    // workerd gives the bundle's own code no file name that means anything.
    const isNamed = /^(file|node(-internal)?):/.test(frame.url) || frame.url === "";
    const found = isNamed ? undefined : modules.findLast(({ line }) => line <= frame.lineNumber);
    const url = found?.path ?? frame.url;
    const line = frame.lineNumber + 1 - (found?.line ?? 0);
    const path = url.replace(/^.*\/(?=[^/]+\/[^/]+$)/, "");
    add(byFunction, JSON.stringify([frame.functionName || "(anonymous)", url === "" ? "" : `${path}:${line}`]), us);
    add(byOwner, JSON.stringify([ownerOf(frame.functionName, url), ""]), us);
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
  if (/^node(-internal)?:/.test(url)) return "the runtime's own JavaScript";
  if (url === "") return name.startsWith("(") ? name : "native functions";
  return /(?:functions|shared|scheduled|bench)\/.*$/.exec(url)?.[0] ?? url;
}
