import { type GroupUpkeep, noUpkeep, type UpkeepError } from "../shared/reaper-runs.ts";
import { asNumber } from "../shared/redis/reply.ts";
import { removeIdleConsumersCall } from "../shared/stream/upkeep.ts";
import { runSteps, type Step } from "./batches.ts";
import type { JobContext, JobRun } from "./context.ts";
import type { SurveyedStream } from "./survey.ts";

/** How often a group's consumers are looked at. */
const EVERY_MS = 3_600_000;

/**
 * Removes consumers that hold nothing and have been idle for long, so that names made up per run do not pile up.
 * @returns how many were removed per group, and whether all groups that are due were seen
 */
export async function removeIdleConsumers(
  context: JobContext,
  { nowMs, budget }: JobRun,
  streams: readonly SurveyedStream[],
  errors: UpkeepError[],
): Promise<{ groups: GroupUpkeep[]; complete: boolean }> {
  const groups: GroupUpkeep[] = [];
  const steps = streams.flatMap(({ stream, groups: surveyed }) =>
    surveyed
      // The distance either way: a time noted by a clock that was ahead must not stop this for ever.
      .filter(({ consumers, prunedAtMs }) => consumers > 0 && Math.abs(nowMs - prunedAtMs) >= EVERY_MS)
      .map(
        ({ name }): Step => ({
          stream: stream.name,
          group: name,
          call: removeIdleConsumersCall(stream, name, { leastIdleMs: context.consumerIdleMs, nowMs }),
          done(reply) {
            groups.push({ ...noUpkeep(stream.name, name), consumersRemoved: asNumber(reply) });
            return undefined;
          },
        }),
      ),
  );
  const complete = await runSteps(context, steps, budget, errors);
  return { groups, complete };
}
