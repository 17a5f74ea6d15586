import { asNumber } from "../shared/redis/reply.ts";
import { removeIdleConsumersCall } from "../shared/stream/upkeep.ts";
import type { Step } from "./collector.ts";
import type { SurveyedStream } from "./survey.ts";

/** How often a group's consumers are looked at. */
const EVERY_MS = 3_600_000;

/**
 * Removes consumers that hold nothing and have been idle for long, so that names made up per run do not pile up.
 * @param consumerIdleMs how long that is
 */
export function removeIdleConsumers(
  streams: readonly SurveyedStream[],
  { nowMs, consumerIdleMs }: { nowMs: number; consumerIdleMs: number },
): Step[] {
  return streams.flatMap(({ stream, groups }) =>
    groups
      // The distance either way: a time noted by a clock that was ahead must not stop this for ever.
      .filter(({ consumers, prunedAtMs }) => consumers > 0 && Math.abs(nowMs - prunedAtMs) >= EVERY_MS)
      .map(({ name }) => ({
        stream: stream.name,
        group: name,
        call: removeIdleConsumersCall(stream, name, { minIdleMs: consumerIdleMs, nowMs }),
        done: (reply) => ({ counts: { consumersRemoved: asNumber(reply) } }),
      })),
  );
}
