import { reaperRunsKey } from "../keys.ts";
import type { Command } from "../redis/connection.ts";
import type { Redis } from "../redis/redis.ts";
import { asArray, asText } from "../redis/reply.ts";
import { isObject, parseStored } from "../stored-json.ts";

/** What a run did for one group, in counts. */
export interface GroupUpkeep {
  readonly stream: string;
  readonly group: string;
  readonly expired: number;
  readonly deadLettered: number;
  readonly payloadMissing: number;
  readonly consumersRemoved: number;
  /** Dead letters that were past their age. */
  readonly deadLettersExpired: number;
  /** What other clients' trims have taken from it unread. */
  readonly dropped: number;
}

/** What a run did for one stream. */
export interface StreamUpkeep {
  readonly stream: string;
  /** Scheduled messages that were due and were appended. */
  readonly promoted: number;
  readonly trimmed: number;
  /** Copied to the dead letters of groups that had not finished them. */
  readonly deadLettered: number;
  /** Taken from groups that had not finished them. */
  readonly dropped: number;
}

/** What went wrong for one stream or group; the others are not affected. */
export interface UpkeepError {
  /** null: what concerns all of them. */
  readonly stream: string | null;
  readonly group?: string;
  readonly code: string;
}

/** What one run of the reaper did; groups and streams where there was nothing to do are left out. */
export interface ReaperRun {
  readonly startedAt: number;
  readonly durationMs: number;
  /** False when the budget ended the run early: the next one goes on. */
  readonly complete: boolean;
  /** How many streams were due and not finished. */
  readonly backlog: number;
  readonly redisCommands: number;
  readonly groups: readonly GroupUpkeep[];
  readonly streams: readonly StreamUpkeep[];
  readonly errors: readonly UpkeepError[];
}

const RUNS_KEPT = 100;

/** Keeps a run's report, and of those before it the last 99. */
export function storeRunCalls(keyPrefix: string, run: ReaperRun): Command[] {
  const key = reaperRunsKey(keyPrefix);
  return [
    ["LPUSH", key, JSON.stringify(run)],
    ["LTRIM", key, 0, RUNS_KEPT - 1],
  ];
}

/** @returns the reports of the last runs as JSON texts, newest first; what is no report is left out */
export async function listRuns(redis: Redis, keyPrefix: string): Promise<readonly string[]> {
  const texts = asArray(await redis.send(["LRANGE", reaperRunsKey(keyPrefix), 0, RUNS_KEPT - 1])).map(asText);
  return texts.filter((text) => isReport(parseStored(text)));
}

function isReport(run: unknown): boolean {
  return decodeSummary(run) !== undefined && isObject(run) && Array.isArray(run.groups) && Array.isArray(run.streams);
}

/** The figures of a run. */
export interface RunSummary
  extends Pick<ReaperRun, "startedAt" | "durationMs" | "complete" | "backlog" | "redisCommands"> {
  readonly errorCount: number;
}

/** @returns the last run's figures, if there was one */
export async function lastRun(redis: Redis, keyPrefix: string): Promise<RunSummary | undefined> {
  const [text] = asArray(await redis.send(["LRANGE", reaperRunsKey(keyPrefix), 0, 0])).map(asText);
  return text === undefined ? undefined : decodeSummary(parseStored(text));
}

function decodeSummary(run: unknown): RunSummary | undefined {
  if (!isObject(run)) return undefined;
  const { startedAt, durationMs, complete, backlog, redisCommands, errors } = run;
  if (typeof startedAt !== "number" || typeof durationMs !== "number" || typeof complete !== "boolean")
    return undefined;
  if (typeof backlog !== "number" || typeof redisCommands !== "number" || !Array.isArray(errors)) return undefined;
  return { startedAt, durationMs, complete, backlog, redisCommands, errorCount: errors.length };
}
