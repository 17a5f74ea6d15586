import { decodeSwept, sweepCall } from "../shared/stream/upkeep.ts";
import type { Step } from "./collector.ts";
import type { SurveyedStream } from "./survey.ts";

/** Slices of one group in one round trip: each takes Redis 1 to 4 ms. */
const AT_ONCE = 100;

/**
 * Sweeps every group that has something pending or in its side store: takes expired deliveries off dead consumers, and
 * messages without another try to the dead letters. What the budget leaves waits at the group's cursor for the next run.
 */
export function sweep(streams: readonly SurveyedStream[]): Step[] {
  return streams.flatMap(({ stream, groups }) =>
    groups
      .filter(({ pending, hasSideStore }) => pending > 0 || hasSideStore)
      .map(({ name, consumers }) => {
        const step: Step = {
          stream: stream.name,
          group: name,
          call: sweepCall(stream, name, consumers),
          isPatient: true,
          atOnce: AT_ONCE,
          done(reply) {
            const { more, ...counts } = decodeSwept(reply);
            return { counts, ...(more && { next: step }) };
          },
        };
        return step;
      }),
  );
}
