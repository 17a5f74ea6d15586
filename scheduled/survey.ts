import { timeOfId } from "../shared/ids.ts";
import type { UpkeepError } from "../shared/reaper/runs.ts";
import { type Command, type Reply, ReplyError } from "../shared/redis/connection.ts";
import { asWeirError, type Redis, unwrap } from "../shared/redis/redis.ts";
import { asMap } from "../shared/redis/reply.ts";
import { decodeGroupFacts, type GroupFacts } from "../shared/redis/xinfo.ts";
import { isNoSuchKey } from "../shared/stream/missing.ts";
import { forgetCall, type RegisteredStream } from "../shared/stream/registry.ts";
import {
  type AlertThresholds,
  decodeLaterFacts,
  decodeStreamConfig,
  decodeThresholds,
  type LaterFacts,
  type StreamConfig,
} from "../shared/stream/settings.ts";
import type { EventStream } from "../shared/stream/stream.ts";

/** A registered stream as the jobs see it. */
export interface SurveyedStream {
  readonly stream: EventStream;
  /** When it was due to be visited, as the registry said. */
  readonly seenMs: string;
  readonly config: StreamConfig;
  /** Whether it has settings of its own: another client may have deleted them. */
  readonly isAdopted: boolean;
  readonly later: LaterFacts;
  readonly groups: readonly SurveyedGroup[];
}

export interface SurveyedGroup extends GroupFacts {
  /** When the last message handed to it was produced. */
  readonly lastDeliveredMs: number;
  /** Whether something lies in the group's side store. */
  readonly hasSideStore: boolean;
  /** A lower bound of when its oldest dead letter came; undefined without one. */
  readonly deadSinceMs: number | undefined;
  /** When idle consumers were last looked for. */
  readonly prunedAtMs: number;
  readonly alerts: AlertThresholds;
}

/** How long a name may lack its stream before it is forgotten: the stream may be about to be created. */
const FORGET_AFTER_MS = 10 * 60_000;

/** Looks at some streams, in one round trip; names that have no stream any more are forgotten. */
export async function survey(
  redis: Redis,
  registered: readonly RegisteredStream[],
  nowMs: number,
): Promise<{ surveyed: SurveyedStream[]; errors: UpkeepError[] }> {
  const outcomes = await redis.pipeline(
    registered.flatMap(({ stream: { keys } }): Command[] => [
      ["XINFO", "GROUPS", keys.stream],
      ["HGETALL", keys.config],
    ]),
  );
  const surveyed: SurveyedStream[] = [];
  const errors: UpkeepError[] = [];
  const forgotten: RegisteredStream[] = [];
  for (const [i, one] of registered.entries()) {
    const [groups = null, config = null] = outcomes.slice(2 * i, 2 * i + 2);
    const fault = [groups, config].find((outcome) => outcome instanceof ReplyError);
    if (fault === undefined) surveyed.push(decode(one, unwrap(groups), unwrap(config), nowMs));
    else if (!isNoSuchKey(fault)) errors.push({ stream: one.stream.name, code: asWeirError(fault).code });
    else if (Number(one.dueMs) < nowMs - FORGET_AFTER_MS) forgotten.push(one);
  }
  await redis.pipeline(forgotten.map(({ stream, dueMs }) => forgetCall(stream, dueMs)));
  return { surveyed, errors };
}

function decode({ stream, dueMs }: RegisteredStream, groups: Reply, config: Reply, nowMs: number): SurveyedStream {
  const hash = asMap(config);
  return {
    stream,
    seenMs: dueMs,
    config: decodeStreamConfig(hash),
    isAdopted: (hash.get("incarnation") ?? "") !== "",
    later: laterFactsOf(hash, nowMs),
    groups: decodeGroupFacts(groups).map((group) => ({
      ...group,
      lastDeliveredMs: timeOfId(group.lastDeliveredId),
      hasSideStore: hash.has(`againDue:${group.name}`),
      // What another client wrote there counts as long ago: a look costs little, and mends it.
      deadSinceMs: hash.has(`deadSince:${group.name}`) ? numberOr(hash.get(`deadSince:${group.name}`), 0) : undefined,
      prunedAtMs: numberOr(hash.get(`pruned:${group.name}`), 0),
      alerts: decodeThresholds(hash, group.name),
    })),
  };
}

/** Both fields come and go together: where another client has deleted one, a look may find something due, and mends both. */
function laterFactsOf(hash: ReadonlyMap<string, Reply>, nowMs: number): LaterFacts {
  const facts = decodeLaterFacts(hash);
  const isBroken = facts.laterDueMs === undefined && (hash.has("scheduled") || hash.has("laterDue"));
  return isBroken ? { ...facts, laterDueMs: nowMs } : facts;
}

function numberOr(value: Reply | undefined, fallback: number): number {
  const number = typeof value === "string" ? Number(value) : Number.NaN;
  return Number.isFinite(number) ? number : fallback;
}
