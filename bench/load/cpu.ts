import { readFileSync } from "node:fs";

// USER_HZ, which Linux has fixed at 100 for programs (man 7 time).
const MS_PER_TICK = 10;

/** @returns CPU time of a process so far, all its threads, in ms; NaN where there is no /proc */
export function cpuMsOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in parentheses, and may hold anything.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
  } catch {
    return Number.NaN;
  }
}
