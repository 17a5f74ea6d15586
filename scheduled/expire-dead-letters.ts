import { decodeDeleted, deleteBelowCall } from "../shared/stream/dead-letters.ts";
import type { Step } from "./collector.ts";
import type { SurveyedStream } from "./survey.ts";

/** Steps of one group in one round trip: each takes Redis up to 20 ms. */
const AT_ONCE = 25;

/** Deletes dead letters that are older than their stream's `deadLetterMaxAgeMs`. A group without any costs nothing. */
export function expireDeadLetters(streams: readonly SurveyedStream[], nowMs: number): Step[] {
  return streams.flatMap(({ stream, config, groups }) => {
    const beforeMs = nowMs - config.retention.deadLetterMaxAgeMs;
    return groups
      .filter(({ deadSinceMs = Number.POSITIVE_INFINITY }) => deadSinceMs < beforeMs)
      .map(({ name }) => {
        const step: Step = {
          stream: stream.name,
          group: name,
          atOnce: AT_ONCE,
          call: deleteBelowCall(stream, name, `${beforeMs}-0`),
          done(reply) {
            const { deleted, more } = decodeDeleted(reply);
            return { counts: { deadLettersExpired: deleted }, ...(more && { next: step }) };
          },
        };
        return step;
      });
  });
}
