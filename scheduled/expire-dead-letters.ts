import { type GroupUpkeep, noUpkeep, type UpkeepError } from "../shared/reaper-runs.ts";
import { decodeDeleted, deleteBelowCall } from "../shared/stream/dead-letters.ts";
import { runSteps, type Step } from "./batches.ts";
import type { JobContext, JobRun } from "./context.ts";
import type { SurveyedStream } from "./survey.ts";

/**
 * Deletes dead letters that are older than their stream's `deadLetterMaxAgeMs`. A group without any costs nothing.
 * @returns how many per group, and whether all were
 */
export async function expireDeadLetters(
  context: JobContext,
  { nowMs, budget }: JobRun,
  streams: readonly SurveyedStream[],
  errors: UpkeepError[],
): Promise<{ groups: GroupUpkeep[]; complete: boolean }> {
  const groups: GroupUpkeep[] = [];
  const steps = streams.flatMap(({ stream, config, groups: surveyed }) => {
    const beforeMs = nowMs - config.retention.deadLetterMaxAgeMs;
    return surveyed
      .filter(({ deadSinceMs = Number.POSITIVE_INFINITY }) => deadSinceMs < beforeMs)
      .map(({ name }): Step => {
        const step: Step = {
          stream: stream.name,
          group: name,
          call: deleteBelowCall(stream, name, `${beforeMs}-0`),
          done(reply) {
            const { deleted, more } = decodeDeleted(reply);
            groups.push({ ...noUpkeep(stream.name, name), deadLettersExpired: deleted });
            return more ? step : undefined;
          },
        };
        return step;
      });
  });
  const complete = await runSteps(context, steps, budget, errors);
  return { groups, complete };
}
