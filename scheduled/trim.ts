import type { StreamUpkeep, UpkeepError } from "../shared/reaper-runs.ts";
import { decodeTrimmed, trimCall } from "../shared/stream/upkeep.ts";
import { runSteps, type Step } from "./batches.ts";
import type { JobContext, JobRun } from "./context.ts";
import type { SurveyedStream } from "./survey.ts";

/**
 * Trims every stream that has an age or length limit, never past what some group has not finished.
 * @returns how much was trimmed per stream, and whether all was
 */
export async function trim(
  context: JobContext,
  { nowMs, budget }: JobRun,
  streams: readonly SurveyedStream[],
  errors: UpkeepError[],
): Promise<{ streams: StreamUpkeep[]; complete: boolean }> {
  const counts = new Map<string, number>();
  const steps = streams
    .filter(({ config: { retention } }) => retention.maxAgeMs !== null || retention.maxLength !== null)
    .map(({ stream }): Step => {
      const step: Step = {
        stream: stream.name,
        call: trimCall(stream, nowMs),
        done(reply) {
          const { trimmed, more } = decodeTrimmed(reply);
          counts.set(stream.name, (counts.get(stream.name) ?? 0) + trimmed);
          return more ? step : undefined;
        },
      };
      return step;
    });
  const complete = await runSteps(context, steps, budget, errors);
  return { streams: [...counts].map(([stream, trimmed]) => ({ stream, trimmed })), complete };
}
