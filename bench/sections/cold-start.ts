// From spawning workerd to the first answer: the runtime's own start is in it, so an empty Worker stands beside.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Progress } from "../../local/progress.ts";
import type { Options } from "../options.ts";
import { startWorkerd } from "../servers/workerd.ts";
import type { Stack } from "../stack.ts";
import { type Spread, spreadOf } from "../stats.ts";
import type { Version } from "../version.ts";

export interface ColdStart {
  what: string;
  firstAnswerMs: Spread;
  bundleBytes: number;
  bundleGzipBytes: number;
}

const EMPTY = `export default { fetch: () => new Response("ok") };`;

export async function measureColdStart(
  dir: string,
  stack: Stack,
  versions: readonly Version[],
  options: Options,
  progress: Progress,
): Promise<ColdStart[]> {
  const empty = join(dir, "empty", "index.js");
  await mkdir(join(dir, "empty"), { recursive: true });
  await writeFile(empty, EMPTY);
  const cells = [
    { what: "an empty Worker", bundle: empty, bundleBytes: EMPTY.length, bundleGzipBytes: EMPTY.length, path: "/" },
    ...versions.flatMap(({ label, ...version }) => [
      { ...version, what: `Weir${label}, GET /healthz`, path: "/healthz" },
      { ...version, what: `Weir${label}, GET /readyz (asks Redis by REST)`, path: "/readyz" },
    ]),
  ].map((cell) => ({ ...cell, times: [] as number[] }));
  const rounds = options.quick ? 3 : 7;
  for (let round = 0; round <= rounds; round++) {
    for (const { bundle, path, times, what } of cells) {
      progress.status(`cold start: ${what}`);
      const workerd = await startWorkerd(bundle, stack.restSettings, path);
      await workerd.stop();
      if (round > 0) times.push(workerd.firstAnswerMs);
    }
  }
  return cells.map(({ what, times, bundleBytes, bundleGzipBytes }) => ({
    what,
    firstAnswerMs: spreadOf(times),
    bundleBytes,
    bundleGzipBytes,
  }));
}
