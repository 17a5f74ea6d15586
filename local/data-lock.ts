// One stack per data folder: two Redis servers on one append-only file would destroy it.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Held from the start to the end of a stack. */
export interface DataLock {
  /** Notes the Redis that works in the folder, for whoever comes after a crash. */
  noteRedis(pid: number): Promise<void>;
  release(): Promise<void>;
}

/** A process, told apart from a later one that got the same number. */
interface Holder {
  pid: number;
  startedAt: string;
}
interface LockFile {
  holder: Holder;
  redis?: Holder;
}

const ORPHAN_TIMEOUT_MS = 15_000;

/**
 * Takes the folder, which is created when it is not there. A lock whose process is gone is taken over; the Redis it left
 * behind, which is ending, is waited for.
 *
 * @param dir the data folder
 * @throws Error that names the process that works there
 */
export async function lockDataDir(dir: string): Promise<DataLock> {
  await mkdir(dir, { recursive: true });
  const path = join(dir, "weir.lock");
  const mine: LockFile = { holder: await describe(process.pid) };
  while (!(await createFile(path, mine))) await clearStale(path, dir);
  return {
    noteRedis: async (pid) => writeFile(path, JSON.stringify({ ...mine, redis: await describe(pid) })),
    release: () => rm(path, { force: true }),
  };
}

async function createFile(path: string, content: LockFile): Promise<boolean> {
  try {
    await writeFile(path, JSON.stringify(content), { flag: "wx" });
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}

async function clearStale(path: string, dir: string): Promise<void> {
  const found = await readLock(path);
  if (found && (await isRunning(found.holder))) {
    throw new Error(`Another Weir (process ${found.holder.pid}) works in ${dir}. End it, or set WEIR_DATA_DIR.`);
  }
  const deadline = Date.now() + ORPHAN_TIMEOUT_MS;
  while (found?.redis && (await isRunning(found.redis))) {
    if (Date.now() > deadline) {
      throw new Error(
        `The redis-server (process ${found.redis.pid}) of an earlier Weir still works in ${dir}. End it.`,
      );
    }
    await sleep(50);
  }
  await rm(path, { force: true });
}

/** undefined when it is gone, or was cut off while it was written: stale either way. */
async function readLock(path: string): Promise<LockFile | undefined> {
  try {
    const parsed: unknown = JSON.parse(await readFile(path, "utf8"));
    return isLockFile(parsed) ? parsed : undefined;
  } catch (error) {
    const gone = error instanceof Error && "code" in error && error.code === "ENOENT";
    if (gone || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isLockFile(value: unknown): value is LockFile {
  if (typeof value !== "object" || value === null || !("holder" in value)) return false;
  return isHolder(value.holder) && (!("redis" in value) || isHolder(value.redis));
}

function isHolder(value: unknown): value is Holder {
  if (typeof value !== "object" || value === null || !("pid" in value) || !("startedAt" in value)) return false;
  return typeof value.pid === "number" && typeof value.startedAt === "string";
}

async function describe(pid: number): Promise<Holder> {
  return { pid, startedAt: await startTime(pid) };
}

async function isRunning(holder: Holder): Promise<boolean> {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    // EPERM: it is there and somebody else's.
    if (!(error instanceof Error && "code" in error && error.code === "EPERM")) return false;
  }
  return (await startTime(holder.pid)) === holder.startedAt;
}

/** Clock ticks from boot to the process' start, on Linux; elsewhere nothing, and the number alone has to do. */
async function startTime(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // The second field is the program's name in brackets, which may hold spaces; the start is the 20th after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" ? "ended" : (fields[19] ?? "");
}
