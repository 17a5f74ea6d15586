import { registryKey } from "../shared/keys.ts";
import type { UpkeepError } from "../shared/reaper-runs.ts";
import { ReplyError } from "../shared/redis/connection.ts";
import { asWeirError } from "../shared/redis/redis.ts";
import { isTrimmed, isWatched } from "../shared/stream/settings.ts";
import type { JobContext } from "./context.ts";
import type { SurveyedStream } from "./survey.ts";

const MINUTE_MS = 60_000;
/** The longest that a quiet stream waits for a visit; the same when a group of it is watched for alerts. */
const MOST_WAIT_MS = { unwatched: 15 * MINUTE_MS, watched: 5 * MINUTE_MS };

/**
 * When to visit a stream next: at the next run while there is work, else after a quarter of the time for which it has
 * been quiet, up to 15 minutes. So an idle system costs next to nothing, and nothing but that time need be remembered.
 * @param firing whether an alert on one of its groups does
 */
export function nextVisitMs({ groups, config }: SurveyedStream, nowMs: number, firing: boolean): number {
  const hasWork = groups.some(({ pending, hasAgain }) => pending > 0 || hasAgain);
  const isBehind = groups.some(({ lag }) => lag !== 0);
  if (hasWork || firing || (isTrimmed(config) && isBehind)) return nowMs;
  const quietSinceMs = Math.max(0, ...groups.map(({ lastDeliveredMs }) => lastDeliveredMs));
  const mostWaitMs = MOST_WAIT_MS[groups.some(({ alerts }) => isWatched(alerts)) ? "watched" : "unwatched"];
  const wait = Math.min((nowMs - quietSinceMs) / 4, mostWaitMs);
  return wait < MINUTE_MS ? nowMs : nowMs + Math.floor(wait);
}

/** Notes when to visit streams next. XX: one that was deleted meanwhile must not come back as a name. */
export async function noteVisits(
  { redis, keyPrefix }: JobContext,
  streams: readonly SurveyedStream[],
  nowMs: number,
  firing: ReadonlySet<string>,
  errors: UpkeepError[],
): Promise<void> {
  const visits = streams.flatMap((surveyed) => {
    const { name } = surveyed.stream;
    return [nextVisitMs(surveyed, nowMs, firing.has(name)), name];
  });
  if (visits.length === 0) return;
  const [outcome] = await redis.pipeline([["ZADD", registryKey(keyPrefix), "XX", ...visits]]);
  // A full Redis refuses it: they stay due, and the streams behind them, which may be what fills it, have their turn.
  if (outcome instanceof ReplyError) errors.push({ stream: null, code: asWeirError(outcome).code });
}
