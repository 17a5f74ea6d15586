import { reaperRunsKey } from "../keys.ts";
import type { Command } from "../redis/connection.ts";
import type { Redis } from "../redis/redis.ts";
import { asArray, asText } from "../redis/reply.ts";

/** What a run did for one group; times a delivery was found expired, and so on. */
export interface GroupUpkeep {
  readonly stream: string;
  readonly group: string;
  readonly expired: number;
  readonly deadLettered: number;
  readonly payloadMissing: number;
  readonly consumersRemoved: number;
  /** Dead letters that were past their age. */
  readonly deadLettersExpired: number;
}

/** What a run did for one stream. */
export interface StreamUpkeep {
  readonly stream: string;
  readonly trimmed: number;
  /** Copied to the dead letters of groups that were not done with it. */
  readonly deadLettered: number;
  /** Taken from groups that were not done with it. */
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
  /** How many streams were due and not served to the end. */
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

/** @returns the reports of the last runs as JSON texts, newest first */
export async function listRuns(redis: Redis, keyPrefix: string): Promise<readonly string[]> {
  return asArray(await redis.send(["LRANGE", reaperRunsKey(keyPrefix), 0, RUNS_KEPT - 1])).map(asText);
}

/** @returns the last run's report, if there was one */
export async function lastRun(redis: Redis, keyPrefix: string): Promise<ReaperRun | undefined> {
  const [text] = asArray(await redis.send(["LRANGE", reaperRunsKey(keyPrefix), 0, 0])).map(asText);
  return text === undefined ? undefined : JSON.parse(text);
}
