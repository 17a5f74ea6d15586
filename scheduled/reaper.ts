import { WeirError } from "../shared/errors.ts";
import { alertStateCall, decodeAlertState, noteCompleteCall } from "../shared/reaper/alerts.ts";
import { type ReaperRun, storeRunCalls, type UpkeepError } from "../shared/reaper/runs.ts";
import { type Outcome, ReplyError } from "../shared/redis/connection.ts";
import { asWeirError } from "../shared/redis/redis.ts";
import { dueStreams, noteVisits, type RegisteredStream } from "../shared/stream/registry.ts";
import { announce } from "./announce.ts";
import { Collector, type Step } from "./collector.ts";
import { Budget, type JobContext } from "./context.ts";
import { expireDeadLetters } from "./expire-dead-letters.ts";
import { noteCounts } from "./note-counts.ts";
import { promote } from "./promote.ts";
import { removeIdleConsumers } from "./remove-idle-consumers.ts";
import { type SurveyedStream, survey } from "./survey.ts";
import { sweep } from "./sweep.ts";
import { trim } from "./trim.ts";
import { nextVisitMs } from "./visits.ts";
import { firingStreams, watch } from "./watch.ts";

/** Of the free plan's 50 subrequests, some are kept for scripts that are not cached, noting visits, and the report. */
const MAX = { roundTrips: 40, durationMs: 20_000 };
/** What of a run's budget goes to the first step of every job, for as many streams as that reaches; the rest is for more. */
const FIRST_PART = 0.6;
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
 * Runs the scheduled work once over the streams that are due, the one that has waited longest first: counts, scheduled
 * messages that are due, trimming, expiry of dead letters, a look at what is watched for alerts, removal of idle consumers, and sweeping. First every stream
 * has one step of each; what is more then takes turns. Every step is atomic by itself, so a run may die anywhere or meet
 * another one. What the budget leaves stays due, behind those that have waited longer.
 * @throws {WeirError} `redis-unavailable` when Redis is not there
 */
export async function runReaper(context: JobContext, options: ReaperOptions): Promise<ReaperRun> {
  const { redis, keyPrefix } = context;
  const { nowMs, everyStream, max = MAX } = options;
  const started = performance.now();
  const commandsBefore = redis.usage.commands;
  const budget = new Budget(redis, max);
  const collector = new Collector(redis, budget);
  const forFirst = new Budget(redis, {
    roundTrips: Math.ceil(max.roundTrips * FIRST_PART),
    durationMs: max.durationMs * FIRST_PART,
  });

  const due = await dueStreams(redis, keyPrefix, everyStream ? Number.POSITIVE_INFINITY : nowMs, MAX_STREAMS);
  const surveyed: SurveyedStream[] = [];
  const steps: Step[] = [];
  let reached = 0;
  while (reached < due.length && forFirst.allows()) {
    const served = await serve(context, collector, nowMs, due.slice(reached, reached + STREAMS_AT_ONCE));
    surveyed.push(...served.surveyed);
    steps.push(...served.left);
    reached = Math.min(due.length, reached + STREAMS_AT_ONCE);
  }
  const left = await collector.finish(steps);
  const unfinished = new Set(left.map(({ stream }) => stream));
  const visits = nextVisits(surveyed, nowMs, firingStreams(collector.readings), unfinished);
  collector.fail(faultOf(await noteVisits(redis, keyPrefix, visits, nowMs)));

  const backlog = due.length - reached + unfinished.size;
  return conclude(context, collector, new Set(surveyed.map(({ stream }) => stream.name)), {
    startedAt: nowMs,
    durationMs: Math.round(performance.now() - started),
    complete: backlog === 0,
    backlog,
    redisCommands: redis.usage.commands - commandsBefore,
    groups: collector.groups,
    streams: collector.streams,
    errors: collector.errors,
  });
}

/** The first step of every job for some streams. @returns those that were looked at, and the steps that are left */
async function serve(
  { redis, consumerIdleMs }: JobContext,
  collector: Collector,
  nowMs: number,
  registered: readonly RegisteredStream[],
): Promise<{ surveyed: SurveyedStream[]; left: Step[] }> {
  const { surveyed, errors } = await survey(redis, registered, nowMs);
  collector.fail(errors);
  const watched = watch(surveyed, nowMs);
  const promotion = promote(surveyed, nowMs);
  collector.read([...watched.readings, ...promotion.readings]);
  const left = await collector.first([
    // Before trimming, which puts Redis' counts right: they tell what other clients' trims have taken.
    ...noteCounts(surveyed),
    ...promotion.steps,
    ...trim(surveyed, nowMs),
    ...expireDeadLetters(surveyed, nowMs),
    ...watched.steps,
    ...removeIdleConsumers(surveyed, { nowMs, consumerIdleMs }),
    ...sweep(surveyed),
  ]);
  return { surveyed, left };
}

/** A stream with work left is due again at once, behind those that have waited longer. */
function nextVisits(
  surveyed: readonly SurveyedStream[],
  nowMs: number,
  firing: ReadonlySet<string>,
  unfinished: ReadonlySet<string>,
) {
  return surveyed.map((one) => {
    const { name } = one.stream;
    const atMs = unfinished.has(name) ? nowMs : nextVisitMs(one, nowMs, firing.has(name));
    return { name, seenMs: one.seenMs, atMs };
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
  const unannounced =
    state instanceof ReplyError
      ? faultOf(state)
      : await announce(context, decodeAlertState(state), report, watched).then(
          (): UpkeepError[] => [],
          (error: unknown) => {
            if (!(error instanceof WeirError) || error.code === "redis-unavailable") throw error;
            return [{ stream: null, code: error.code }];
          },
        );
  return { ...report, errors: [...report.errors, ...faultOf(refused), ...unannounced] };
}

/** What concerns all streams has no name. */
function faultOf(outcome: Outcome): UpkeepError[] {
  return outcome instanceof ReplyError ? [{ stream: null, code: asWeirError(outcome).code }] : [];
}
