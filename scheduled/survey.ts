import { registryKey } from "../shared/keys.ts";
import type { UpkeepError } from "../shared/reaper-runs.ts";
import { ReplyError } from "../shared/redis/connection.ts";
import { asWeirError, unwrap } from "../shared/redis/redis.ts";
import { asArray, asMap, asNumber, asText } from "../shared/redis/reply.ts";
import { decodeStreamConfig } from "../shared/stream/settings.ts";
import { type EventStream, openStream } from "../shared/stream/stream.ts";
import { forgetStreamCall } from "../shared/stream/upkeep.ts";
import type { JobContext, JobRun } from "./context.ts";

/** A registered stream as the jobs see it. */
export interface SurveyedStream {
  readonly stream: EventStream;
  readonly isTrimmed: boolean;
  readonly groups: readonly SurveyedGroup[];
}

export interface SurveyedGroup {
  readonly name: string;
  readonly pending: number;
  /** Whether something lies in the group's side store. */
  readonly hasAgain: boolean;
  readonly consumers: number;
  /** When idle consumers were last looked for. */
  readonly prunedAtMs: number;
}

/** Streams looked at in one round trip. */
const STREAMS_PER_ROUND_TRIP = 250;
/** A name without a stream is forgotten after that long: until then its stream may be about to be created. */
const FORGET_AFTER_MS = 10 * 60_000;

/**
 * Looks at every registered stream, the one longest not visited first, and notes the visit.
 * @returns what there is, and whether the budget allowed to see all of it
 */
export async function survey(
  context: JobContext,
  { nowMs, budget }: JobRun,
  errors: UpkeepError[],
): Promise<{ streams: SurveyedStream[]; complete: boolean }> {
  const { redis, keyPrefix } = context;
  const flat = asArray(await redis.send(["ZRANGE", registryKey(keyPrefix), 0, -1, "WITHSCORES"])).map(asText);
  const registered = flat.flatMap((name, i) => (i % 2 === 0 ? [{ name, score: flat[i + 1] ?? "0" }] : []));
  const streams: SurveyedStream[] = [];
  for (let at = 0; at < registered.length; at += STREAMS_PER_ROUND_TRIP) {
    if (!budget.allows()) return { streams, complete: false };
    const batch = registered.slice(at, at + STREAMS_PER_ROUND_TRIP);
    streams.push(...(await surveyBatch(context, batch, nowMs, errors)));
  }
  return { streams, complete: true };
}

async function surveyBatch(
  { redis, keyPrefix }: JobContext,
  batch: readonly { name: string; score: string }[],
  nowMs: number,
  errors: UpkeepError[],
): Promise<SurveyedStream[]> {
  const handles = batch.map(({ name }) => openStream(redis, keyPrefix, name));
  const outcomes = await redis.pipeline(
    handles.flatMap(({ keys }) => [
      ["XINFO", "GROUPS", keys.stream],
      ["HGETALL", keys.config],
    ]),
  );
  const surveyed: SurveyedStream[] = [];
  const missing: { name: string; score: string }[] = [];
  for (const [i, stream] of handles.entries()) {
    const [groups = null, config = null] = outcomes.slice(2 * i, 2 * i + 2);
    const fault = [groups, config].find((outcome) => outcome instanceof ReplyError);
    if (fault === undefined) surveyed.push(decode(stream, unwrap(groups), unwrap(config)));
    else if (/no such key/i.test(fault.message)) missing.push(batch[i] ?? { name: stream.name, score: "" });
    else errors.push({ stream: stream.name, code: asWeirError(fault).code });
  }
  await noteVisits({ redis, keyPrefix }, surveyed, missing, nowMs);
  return surveyed;
}

function decode(stream: EventStream, groups: Parameters<typeof asArray>[0], config: Parameters<typeof asMap>[0]) {
  const hash = asMap(config);
  const { maxAgeMs, maxLength } = decodeStreamConfig(hash).retention;
  return {
    stream,
    isTrimmed: maxAgeMs !== null || maxLength !== null,
    groups: asArray(groups).map((reply) => {
      const group = asMap(reply);
      const name = asText(group.get("name"));
      return {
        name,
        pending: asNumber(group.get("pending")),
        hasAgain: hash.has(`againDue:${name}`),
        consumers: asNumber(group.get("consumers")),
        prunedAtMs: asNumber(hash.get(`pruned:${name}`) ?? 0),
      };
    }),
  };
}

/** XX: a stream that was deleted meanwhile must not come back as a name. */
async function noteVisits(
  { redis, keyPrefix }: Pick<JobContext, "redis" | "keyPrefix">,
  surveyed: readonly SurveyedStream[],
  missing: readonly { name: string; score: string }[],
  nowMs: number,
): Promise<void> {
  const visits = surveyed.flatMap(({ stream }) => [nowMs, stream.name]);
  const forgotten = missing.filter(({ score }) => Number(score) < nowMs - FORGET_AFTER_MS);
  await redis.pipeline([
    ...(visits.length === 0 ? [] : [["ZADD", registryKey(keyPrefix), "XX", ...visits] as const]),
    ...forgotten.map(({ name, score }) => forgetStreamCall(keyPrefix, name, score)),
  ]);
}
