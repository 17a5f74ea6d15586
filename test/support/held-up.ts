import { readFile } from "node:fs/promises";
import type { Redis as IoRedis } from "ioredis";
import { raisePriority } from "./slow-log.ts";

/** A Redis of the test's own. */
export interface Watched {
  readonly native: IoRedis;
  /** Of redis-server. */
  readonly pid: number;
}

/**
 * Does something, and tells how long the slowest command of it held Redis up.
 * @param names only these commands count; none: all
 * @returns what it answered, and for how many ms Redis was held up: of its processor's time where this machine's are so busy
 *   that redis-server had to wait for one
 */
export async function slowestMs<Result>(
  { native, pid }: Watched,
  act: () => Promise<Result>,
  ...names: readonly string[]
): Promise<{ result: Result; ms: number }> {
  const isFirst = raisePriority(pid);
  await native.config("SET", "slowlog-log-slower-than", "1000");
  await native.config("SET", "slowlog-max-len", "100000");
  await native.slowlog("RESET");
  const before = await waitedMs(pid);
  const result = await act();
  const waited = (await waitedMs(pid)) - before;
  const rows: unknown = await native.slowlog("GET", 100_000);
  await native.config("SET", "slowlog-log-slower-than", "-1");
  const slowest = Math.max(0, ...timesOf(rows, names));
  return { result, ms: isFirst ? slowest : Math.max(0, slowest - waited) };
}

function timesOf(rows: unknown, names: readonly string[]): number[] {
  if (!Array.isArray(rows)) throw new Error("expected the slow log");
  return rows.flatMap((row: unknown) => {
    const [, , microseconds, words]: unknown[] = Array.isArray(row) ? row : [];
    const name = Array.isArray(words) ? String(words[0]).toUpperCase() : "";
    const counts = name !== "SLOWLOG" && (names.length === 0 || names.includes(name));
    return counts ? [Number(microseconds) / 1_000] : [];
  });
}

/** How long it was ready and had no processor. */
async function waitedMs(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/schedstat`, "utf8").catch(() => "");
  return Number(text.split(" ")[1] ?? 0) / 1e6;
}
