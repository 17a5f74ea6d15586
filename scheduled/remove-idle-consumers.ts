import { asNumber } from "../shared/redis/reply.ts";
import { decodeConsumers } from "../shared/stream/consumers.ts";
import type { EventStream } from "../shared/stream/stream.ts";
import { removeIdleConsumersCall } from "../shared/stream/upkeep.ts";
import type { Step } from "./collector.ts";
import type { SurveyedStream } from "./survey.ts";

/** How often a group's consumers are looked at. */
const EVERY_MS = 3_600_000;
/**
 * Names that are made up for each poll may come by thousands a minute: a group with more consumers than that is looked at
 * in every run, and those that hold nothing go sooner. They lose nothing by it: the next poll makes them anew.
 */
export const CROWD = { consumers: 1_000, idleMs: 60_000 } as const;
/** Consumers that one step removes: about 10 ms of Redis' time. */
const AT_ONCE = 2_500;

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
      .filter(
        ({ consumers, prunedAtMs }) =>
          consumers > CROWD.consumers || (consumers > 0 && Math.abs(nowMs - prunedAtMs) >= EVERY_MS),
      )
      .map(({ name, consumers }) => {
        const minIdleMs = consumers > CROWD.consumers ? Math.min(CROWD.idleMs, consumerIdleMs) : consumerIdleMs;
        return lookStep(stream, name, { nowMs, minIdleMs });
      }),
  );
}

function lookStep(
  stream: EventStream,
  group: string,
  { nowMs, minIdleMs }: { nowMs: number; minIdleMs: number },
): Step {
  return {
    stream: stream.name,
    group,
    call: ["XINFO", "CONSUMERS", stream.keys.stream, group],
    done(reply) {
      const idle = decodeConsumers(reply).filter(({ pending, idleMs }) => pending === 0 && idleMs >= minIdleMs);
      return {
        next: removeStep(
          stream,
          group,
          idle.map(({ name }) => name),
          nowMs,
        ),
      };
    },
  };
}

/** Removes some of them, then the rest. */
function removeStep(stream: EventStream, group: string, names: readonly string[], nowMs: number): Step {
  const isLast = names.length <= AT_ONCE;
  return {
    stream: stream.name,
    group,
    call: removeIdleConsumersCall(stream, group, names.slice(0, AT_ONCE), { nowMs, isLast }),
    done: (reply) => ({
      counts: { consumersRemoved: asNumber(reply) },
      ...(!isLast && { next: removeStep(stream, group, names.slice(AT_ONCE), nowMs) }),
    }),
  };
}
