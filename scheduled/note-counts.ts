import { asNumber } from "../shared/redis/reply.ts";
import { noteCountsCall } from "../shared/stream/upkeep.ts";
import type { Step } from "./collector.ts";
import type { SurveyedStream } from "./survey.ts";

/**
 * Looks at groups that are behind: notes how far Redis counts rightly what they have read, and what they have lost to other
 * clients' trims. Groups that have read all cost nothing.
 */
export function noteCounts(streams: readonly SurveyedStream[]): Step[] {
  return streams.flatMap(({ stream, groups }) =>
    groups
      .filter(({ lag }) => lag !== 0)
      .map(({ name }) => ({
        stream: stream.name,
        group: name,
        call: noteCountsCall(stream, name),
        done: (reply) => ({ counts: { dropped: asNumber(reply) } }),
      })),
  );
}
