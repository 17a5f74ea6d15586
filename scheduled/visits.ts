import { isTrimmed, isWatched } from "../shared/stream/settings.ts";
import { CROWD } from "./remove-idle-consumers.ts";
import type { SurveyedStream } from "./survey.ts";

const MINUTE_MS = 60_000;
/** The longest that a quiet stream waits for a visit; the same when a group of it is watched for alerts. */
const MAX_WAIT_MS = { unwatched: 15 * MINUTE_MS, watched: 5 * MINUTE_MS };

/**
 * When to visit a stream next: at the next run while there is work, when a scheduled message is due, else after a quarter of the time for which it has
 * been quiet, up to 15 minutes. So an idle system costs next to nothing, and nothing but that time need be remembered.
 * @param firing whether an alert on one of its groups does
 */
export function nextVisitMs(surveyed: SurveyedStream, nowMs: number, firing: boolean): number {
  // What is scheduled there was not known.
  if (!surveyed.isAdopted) return nowMs;
  const { laterDueMs = Number.POSITIVE_INFINITY } = surveyed.later;
  return Math.max(nowMs, Math.min(laterDueMs, nextQuietVisitMs(surveyed, nowMs, firing)));
}

function nextQuietVisitMs({ groups, config }: SurveyedStream, nowMs: number, firing: boolean): number {
  const hasWork = groups.some(
    ({ pending, hasSideStore, consumers }) => pending > 0 || hasSideStore || consumers > CROWD.consumers,
  );
  const isBehind = groups.some(({ lag }) => lag !== 0);
  if (hasWork || firing || (isTrimmed(config) && isBehind)) return nowMs;
  const quietSinceMs = Math.max(0, ...groups.map(({ lastDeliveredMs }) => lastDeliveredMs));
  const maxWaitMs = MAX_WAIT_MS[groups.some(({ alerts }) => isWatched(alerts)) ? "watched" : "unwatched"];
  const wait = Math.min((nowMs - quietSinceMs) / 4, maxWaitMs);
  return wait < MINUTE_MS ? nowMs : nowMs + Math.floor(wait);
}
