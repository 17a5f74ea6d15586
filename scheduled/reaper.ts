import { WeirError } from "../shared/errors.ts";
import { alertStateCall, decodeAlertState, noteCompleteCall } from "../shared/reaper/alerts.ts";
import { type ReaperRun, storeRunCalls, type UpkeepError } from "../shared/reaper/runs.ts";
import { type Outcome, ReplyError } from "../shared/redis/connection.ts";
import { asWeirError, unwrap } from "../shared/redis/redis.ts";
import { dueStreams, noteVisits, type RegisteredStream } from "../shared/stream/registry.ts";
import { announce } from "./announce.ts";
import { Collector } from "./collector.ts";
import { Budget, type JobContext } from "./context.ts";
import { expireDeadLetters } from "./expire-dead-letters.ts";
import { removeIdleConsumers } from "./remove-idle-consumers.ts";
import { type SurveyedStream, survey } from "./survey.ts";
import { sweep } from "./sweep.ts";
import { trim } from "./trim.ts";
import { nextVisitMs } from "./visits.ts";
import { firingStreams, watch } from "./watch.ts";

/** Of the free plan's 50 subrequests, some are kept for scripts that are not cached, noting visits, and the report. */
const MAX = { roundTrips: 40, durationMs: 20_000 };
/** Streams served together: more save round trips, fewer are fairer when the budget is short. */
const STREAMS_AT_ONCE = 250;
const MAX_STREAMS = 10_000;

export interface ReaperOptions {
  /** The time by which messages are old, and streams due. */
  readonly nowMs: number;
  /** Visits every stream, also those that are not due. */
  readonly everyStream: boolean;
  readonly max?: { readonly roundTrips: number; readonly durationMs: number };
}

/**
 * Runs the scheduled work once: sweep, removal of idle consumers, expiry of dead letters, trim, a look at what is watched
 * for alerts, over the streams that are due, the one that has waited longest first; then tells what alerts have changed.
 * Every step is atomic by itself, so a run may die anywhere or meet another one. What the budget leaves stays due.
 * @throws {WeirError} `redis-unavailable` when Redis is not there
 */
export async function runReaper(context: JobContext, options: ReaperOptions): Promise<ReaperRun> {
  const { redis, keyPrefix } = context;
  const { nowMs, everyStream, max = MAX } = options;
  const started = performance.now();
  const commandsBefore = redis.usage.commands;
  const collector = new Collector(redis, new Budget(redis, max));

  let waiting = await dueStreams(redis, keyPrefix, everyStream ? Number.POSITIVE_INFINITY : nowMs, MAX_STREAMS);
  const visited = new Set<string>();
  let complete = true;
  while (waiting.length > 0 && complete && collector.allows()) {
    const served = await serve(context, collector, nowMs, waiting.slice(0, STREAMS_AT_ONCE));
    complete = served.complete;
    for (const name of served.names) visited.add(name);
    if (complete) waiting = waiting.slice(STREAMS_AT_ONCE);
  }

  return conclude(context, collector, visited, {
    startedAt: nowMs,
    durationMs: Math.round(performance.now() - started),
    complete: complete && waiting.length === 0,
    backlog: waiting.length,
    redisCommands: redis.usage.commands - commandsBefore,
    groups: collector.groups,
    streams: collector.streams,
    errors: collector.errors,
  });
}

/** @returns the streams that were looked at, and whether all jobs were done for them; if not, they stay due */
async function serve(
  { redis, keyPrefix, consumerIdleMs }: JobContext,
  collector: Collector,
  nowMs: number,
  registered: readonly RegisteredStream[],
): Promise<{ complete: boolean; names: string[] }> {
  const { surveyed, errors } = await survey(redis, registered, nowMs);
  collector.fail(errors);
  const watched = watch(surveyed, nowMs);
  collector.read(watched.readings);
  const jobs = [
    sweep(surveyed),
    removeIdleConsumers(surveyed, { nowMs, consumerIdleMs }),
    expireDeadLetters(surveyed, nowMs),
    trim(surveyed, nowMs),
    watched.steps,
  ];
  let complete = true;
  for (const steps of jobs) complete = (await collector.run(steps)) && complete;
  if (complete) {
    const visits = nextVisits(surveyed, nowMs, firingStreams(collector.readings));
    collector.fail(faultOf(await noteVisits(redis, keyPrefix, visits)));
  }
  return { complete, names: surveyed.map(({ stream }) => stream.name) };
}

function nextVisits(surveyed: readonly SurveyedStream[], nowMs: number, firing: ReadonlySet<string>) {
  return surveyed.map((one) => {
    const { name } = one.stream;
    return { name, atMs: nextVisitMs(one, nowMs, firing.has(name)) };
  });
}

/** Stores the report and tells of alerts. A full Redis may refuse both: the work was done all the same. */
async function conclude(
  context: JobContext,
  collector: Collector,
  streams: ReadonlySet<string>,
  report: ReaperRun,
): Promise<ReaperRun> {
  const { redis, keyPrefix } = context;
  const [state = null, ...stored] = await redis.pipeline([
    alertStateCall(keyPrefix),
    ...storeRunCalls(keyPrefix, report),
    ...(report.complete ? [noteCompleteCall(keyPrefix, report.startedAt)] : []),
  ]);
  const refused = stored.find((outcome) => outcome instanceof ReplyError) ?? null;
  const watched = { readings: collector.readings, streams };
  const unannounced = await announce(context, decodeAlertState(unwrap(state)), report, watched).then(
    (): UpkeepError[] => [],
    (error: unknown) => {
      if (!(error instanceof WeirError) || error.code !== "redis-full") throw error;
      return [{ stream: null, code: error.code }];
    },
  );
  return { ...report, errors: [...report.errors, ...faultOf(refused), ...unannounced] };
}

/** What concerns all streams has no name. */
function faultOf(outcome: Outcome): UpkeepError[] {
  return outcome instanceof ReplyError ? [{ stream: null, code: asWeirError(outcome).code }] : [];
}
