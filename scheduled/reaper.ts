import { type GroupUpkeep, type ReaperRun, storeRun, type UpkeepError } from "../shared/reaper-runs.ts";
import { Budget, type JobContext } from "./context.ts";
import { removeIdleConsumers } from "./remove-idle-consumers.ts";
import { survey } from "./survey.ts";
import { sweep } from "./sweep.ts";
import { trim } from "./trim.ts";

/** Of the free plan's 50 subrequests, some are kept for noting visits, scripts that are not cached, and the report. */
const MOST = { roundTrips: 40, durationMs: 20_000 };

/**
 * Runs all scheduled work once: sweep, removal of idle consumers, trim, in that order over all registered streams.
 * Every step is atomic by itself, so a run may die anywhere or meet another one.
 * @param nowMs the time by which messages are old
 * @throws {WeirError} `redis-unavailable` when Redis is not there
 */
export async function runReaper(context: JobContext, nowMs: number, most = MOST): Promise<ReaperRun> {
  const { redis, keyPrefix } = context;
  const started = performance.now();
  const commandsBefore = redis.usage.commands;
  const run = { nowMs, budget: new Budget(redis, most) };
  const errors: UpkeepError[] = [];

  const surveyed = await survey(context, run, errors);
  const swept = await sweep(context, run, surveyed.streams, errors);
  const removed = await removeIdleConsumers(context, run, surveyed.streams, errors);
  const trimmed = await trim(context, run, surveyed.streams, errors);

  const report: ReaperRun = {
    startedAt: nowMs,
    durationMs: Math.round(performance.now() - started),
    complete: surveyed.complete && swept.complete && removed.complete && trimmed.complete,
    redisCommands: redis.usage.commands - commandsBefore,
    groups: joinGroups([...swept.groups, ...removed.groups]),
    streams: trimmed.streams.filter((stream) => stream.trimmed > 0),
    errors,
  };
  await storeRun(redis, keyPrefix, report);
  return report;
}

/** One row for each group where something was done, whichever jobs and steps did it. */
function joinGroups(parts: readonly GroupUpkeep[]): GroupUpkeep[] {
  const rows = new Map<string, GroupUpkeep>();
  for (const part of parts) {
    const key = JSON.stringify([part.stream, part.group]);
    const row = rows.get(key);
    rows.set(key, {
      ...part,
      expired: part.expired + (row?.expired ?? 0),
      deadLettered: part.deadLettered + (row?.deadLettered ?? 0),
      payloadMissing: part.payloadMissing + (row?.payloadMissing ?? 0),
      consumersRemoved: part.consumersRemoved + (row?.consumersRemoved ?? 0),
    });
  }
  return [...rows.values()].filter((row) => row.expired + row.payloadMissing + row.consumersRemoved > 0);
}
