import { type GroupUpkeep, noUpkeep, type UpkeepError } from "../shared/reaper-runs.ts";
import { decodeSwept, sweepCall } from "../shared/stream/upkeep.ts";
import { runSteps, type Step } from "./batches.ts";
import type { JobContext, JobRun } from "./context.ts";
import type { SurveyedStream } from "./survey.ts";

/**
 * Sweeps every group that has something pending or in its side store: expired deliveries are taken off dead consumers, messages without
 * another try go to the dead letters.
 * @returns what each step did, and whether all was seen; the rest waits at its cursor for the next run
 */
export async function sweep(
  context: JobContext,
  { budget }: JobRun,
  streams: readonly SurveyedStream[],
  errors: UpkeepError[],
): Promise<{ groups: GroupUpkeep[]; complete: boolean }> {
  const groups: GroupUpkeep[] = [];
  const steps = streams.flatMap(({ stream, groups: surveyed }) =>
    surveyed
      .filter(({ pending, hasAgain }) => pending > 0 || hasAgain)
      .map(({ name }): Step => {
        const step: Step = {
          stream: stream.name,
          group: name,
          call: sweepCall(stream, name),
          done(reply) {
            const { more, ...swept } = decodeSwept(reply);
            groups.push({ ...noUpkeep(stream.name, name), ...swept });
            return more ? step : undefined;
          },
        };
        return step;
      }),
  );
  const complete = await runSteps(context, steps, budget, errors);
  return { groups, complete };
}
