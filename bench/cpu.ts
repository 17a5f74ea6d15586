import { readFile } from "node:fs/promises";

// USER_HZ, which Linux has fixed at 100 for programs (man 7 time).
const MS_PER_TICK = 10;

/** @returns CPU time of a process so far, all its threads, in ms; undefined where there is no /proc */
export async function cpuMsOf(pid: number): Promise<number | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  // The second field is the program's name in parentheses, and may hold anything.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields === undefined ? undefined : (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
}
