import { alertStateCall, decodeAlertState, noteCompleteCall } from "../shared/alerts.ts";
import { WeirError } from "../shared/errors.ts";
import {
  type GroupUpkeep,
  type ReaperRun,
  type StreamUpkeep,
  storeRunCalls,
  type UpkeepError,
} from "../shared/reaper-runs.ts";
import { ReplyError } from "../shared/redis/connection.ts";
import { asWeirError, unwrap } from "../shared/redis/redis.ts";
import { announce, firingStreams, type Watched, watch } from "./alert.ts";
import { Budget, type JobContext, type JobRun } from "./context.ts";
import { expireDeadLetters } from "./expire-dead-letters.ts";
import { removeIdleConsumers } from "./remove-idle-consumers.ts";
import { type RegisteredStream, registeredStreams, survey } from "./survey.ts";
import { sweep } from "./sweep.ts";
import { trim } from "./trim.ts";
import { noteVisits } from "./visits.ts";

/** Of the free plan's 50 subrequests, some are kept for scripts that are not cached, noting visits, and the report. */
const MOST = { roundTrips: 40, durationMs: 20_000 };
/** Streams that are served together: the more, the fewer round trips; the fewer, the fairer when the budget is short. */
const STREAMS_AT_ONCE = 250;

export interface ReaperOptions {
  /** The time by which messages are old, and streams due. */
  readonly nowMs: number;
  /** Visits every stream, also those that are not due. */
  readonly everyStream: boolean;
  readonly most?: { readonly roundTrips: number; readonly durationMs: number };
}

/**
 * Runs the scheduled work once: sweep, removal of idle consumers, expiry of dead letters, trim, a look at what is
 * watched for alerts, over the streams that are due, the one that has waited longest first; then tells what alerts have
 * changed. Every step is atomic by itself, so a run may die anywhere or meet another one; what the budget leaves undone
 * stays due.
 * @throws {WeirError} `redis-unavailable` when Redis is not there
 */
export async function runReaper(context: JobContext, options: ReaperOptions): Promise<ReaperRun> {
  const { redis, keyPrefix } = context;
  const { nowMs, everyStream, most = MOST } = options;
  const started = performance.now();
  const commandsBefore = redis.usage.commands;
  const run = { nowMs, budget: new Budget(redis, most) };
  const done: Done = { groups: [], streams: [], errors: [], watched: [] };

  let waiting = await registeredStreams(context, everyStream ? Number.POSITIVE_INFINITY : nowMs);
  let complete = true;
  while (waiting.length > 0 && complete && run.budget.allows()) {
    complete = await serve(context, run, waiting.slice(0, STREAMS_AT_ONCE), done);
    if (complete) waiting = waiting.slice(STREAMS_AT_ONCE);
  }

  const report = {
    startedAt: nowMs,
    durationMs: Math.round(performance.now() - started),
    complete: complete && waiting.length === 0,
    backlog: waiting.length,
    redisCommands: redis.usage.commands - commandsBefore,
    groups: joinGroups(done.groups),
    streams: done.streams.filter(({ trimmed }) => trimmed > 0),
    errors: done.errors,
  } satisfies ReaperRun;
  const [state = null, ...stored] = await redis.pipeline([
    alertStateCall(keyPrefix),
    ...storeRunCalls(keyPrefix, report),
    ...(report.complete ? [noteCompleteCall(keyPrefix, nowMs)] : []),
  ]);
  // A full Redis refuses to keep the report: the work was done all the same, and the answer and the log have it.
  const refused = stored.find((outcome) => outcome instanceof ReplyError);
  if (refused !== undefined) report.errors.push({ stream: null, code: asWeirError(refused).code });
  await announce(context, decodeAlertState(unwrap(state)), report, joinWatched(done.watched)).catch(
    (error: unknown) => {
      if (!(error instanceof WeirError) || error.code !== "redis-full") throw error;
      report.errors.push({ stream: null, code: error.code });
    },
  );
  return report;
}

interface Done {
  readonly groups: GroupUpkeep[];
  readonly streams: StreamUpkeep[];
  readonly errors: UpkeepError[];
  readonly watched: Watched[];
}

/** @returns whether all jobs were done for these streams; if not, they stay due */
async function serve(
  context: JobContext,
  run: JobRun,
  registered: readonly RegisteredStream[],
  { groups, streams, errors, watched }: Done,
): Promise<boolean> {
  const surveyed = await survey(context, registered, run.nowMs, errors);
  const swept = await sweep(context, run, surveyed, errors);
  const removed = await removeIdleConsumers(context, run, surveyed, errors);
  const expired = await expireDeadLetters(context, run, surveyed, errors);
  const trimmed = await trim(context, run, surveyed, errors);
  groups.push(...swept.groups, ...removed.groups, ...expired.groups);
  streams.push(...trimmed.streams);
  const { readings, complete: sawAll } = await watch(context, run, surveyed, errors);
  watched.push({ readings, streams: new Set(surveyed.map(({ stream }) => stream.name)) });
  const complete = swept.complete && removed.complete && expired.complete && trimmed.complete && sawAll;
  if (complete) await noteVisits(context, surveyed, run.nowMs, firingStreams(readings), errors);
  return complete;
}

function joinWatched(parts: readonly Watched[]): Watched {
  return {
    readings: parts.flatMap(({ readings }) => readings),
    streams: new Set(parts.flatMap(({ streams }) => [...streams])),
  };
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
      deadLettersExpired: part.deadLettersExpired + (row?.deadLettersExpired ?? 0),
    });
  }
  return [...rows.values()].filter(
    (row) => row.expired + row.payloadMissing + row.consumersRemoved + row.deadLettersExpired > 0,
  );
}
