import { timeOfId } from "../shared/ids.ts";
import { registryKey } from "../shared/keys.ts";
import type { UpkeepError } from "../shared/reaper-runs.ts";
import { type Reply, ReplyError } from "../shared/redis/connection.ts";
import { asWeirError, unwrap } from "../shared/redis/redis.ts";
import { asArray, asMap, asNumber, asNumberOrNull, asText } from "../shared/redis/reply.ts";
import {
  type AlertThresholds,
  decodeStreamConfig,
  decodeThresholds,
  type StreamConfig,
} from "../shared/stream/settings.ts";
import { type EventStream, openStream } from "../shared/stream/stream.ts";
import { forgetStreamCall } from "../shared/stream/upkeep.ts";
import type { JobContext } from "./context.ts";

/** A name in the registry, with the time (ms, as Redis wrote it) at which it is to be visited. */
export interface RegisteredStream {
  readonly name: string;
  readonly dueMs: string;
}

/** A registered stream as the jobs see it. */
export interface SurveyedStream {
  readonly stream: EventStream;
  readonly config: StreamConfig;
  readonly groups: readonly SurveyedGroup[];
}

export interface SurveyedGroup {
  readonly name: string;
  readonly pending: number;
  readonly lag: number | null;
  readonly consumers: number;
  /** When the last message that it was handed was produced. */
  readonly lastDeliveredMs: number;
  /** Whether something lies in the group's side store. */
  readonly hasAgain: boolean;
  /** How old its oldest dead letter is at most, as the time when it came; undefined without one. */
  readonly deadSinceMs: number | undefined;
  /** When idle consumers were last looked for. */
  readonly prunedAtMs: number;
  readonly alerts: AlertThresholds;
}

/** A name without a stream is forgotten after that long: until then its stream may be about to be created. */
const FORGET_AFTER_MS = 10 * 60_000;
const MOST_STREAMS = 10_000;

/**
 * The streams to visit, the one that has waited longest first.
 * @param dueAtMs those due by then; Infinity: all
 */
export async function registeredStreams(context: JobContext, dueAtMs: number): Promise<RegisteredStream[]> {
  const { redis, keyPrefix } = context;
  const until = dueAtMs === Number.POSITIVE_INFINITY ? "+inf" : dueAtMs;
  const limit = ["WITHSCORES", "LIMIT", 0, MOST_STREAMS] as const;
  const flat = asArray(await redis.send(["ZRANGEBYSCORE", registryKey(keyPrefix), "-inf", until, ...limit])).map(
    asText,
  );
  return flat.flatMap((name, i) => (i % 2 === 0 ? [{ name, dueMs: flat[i + 1] ?? "0" }] : []));
}

/** Looks at some streams, in one round trip; names that have no stream any more are forgotten. */
export async function survey(
  { redis, keyPrefix }: JobContext,
  registered: readonly RegisteredStream[],
  nowMs: number,
  errors: UpkeepError[],
): Promise<SurveyedStream[]> {
  const handles = registered.map((entry) => ({ ...entry, stream: openStream(redis, keyPrefix, entry.name) }));
  const outcomes = await redis.pipeline(
    handles.flatMap(({ stream: { keys } }) => [
      ["XINFO", "GROUPS", keys.stream],
      ["HGETALL", keys.config],
    ]),
  );
  const surveyed: SurveyedStream[] = [];
  const forgotten: RegisteredStream[] = [];
  for (const [i, { stream, name, dueMs }] of handles.entries()) {
    const [groups = null, config = null] = outcomes.slice(2 * i, 2 * i + 2);
    const fault = [groups, config].find((outcome) => outcome instanceof ReplyError);
    if (fault === undefined) surveyed.push(decode(stream, unwrap(groups), unwrap(config)));
    else if (!/no such key/i.test(fault.message)) errors.push({ stream: name, code: asWeirError(fault).code });
    else if (Number(dueMs) < nowMs - FORGET_AFTER_MS) forgotten.push({ name, dueMs });
  }
  await redis.pipeline(forgotten.map(({ name, dueMs }) => forgetStreamCall(keyPrefix, name, dueMs)));
  return surveyed;
}

function decode(stream: EventStream, groups: Reply, config: Reply): SurveyedStream {
  const hash = asMap(config);
  return {
    stream,
    config: decodeStreamConfig(hash),
    groups: asArray(groups).map((reply) => {
      const group = asMap(reply);
      const name = asText(group.get("name"));
      return {
        name,
        pending: asNumber(group.get("pending")),
        lag: asNumberOrNull(group.get("lag")),
        consumers: asNumber(group.get("consumers")),
        lastDeliveredMs: timeOfId(asText(group.get("last-delivered-id"))),
        hasAgain: hash.has(`againDue:${name}`),
        deadSinceMs: hash.has(`deadSince:${name}`) ? asNumber(hash.get(`deadSince:${name}`)) : undefined,
        prunedAtMs: asNumber(hash.get(`pruned:${name}`) ?? 0),
        alerts: decodeThresholds(hash, name),
      };
    }),
  };
}
