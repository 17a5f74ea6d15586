import type { StreamUpkeep, UpkeepError } from "../shared/reaper-runs.ts";
import { decodeTrimmed, trimCall } from "../shared/stream/retention.ts";
import { isTrimmed } from "../shared/stream/settings.ts";
import { runSteps, type Step } from "./batches.ts";
import type { JobContext, JobRun } from "./context.ts";
import type { SurveyedStream } from "./survey.ts";

/**
 * Trims every stream that its settings say to trim; what some group has not finished is treated as they say.
 * @returns how much was trimmed per stream, and whether all was
 */
export async function trim(
  context: JobContext,
  { nowMs, budget }: JobRun,
  streams: readonly SurveyedStream[],
  errors: UpkeepError[],
): Promise<{ streams: StreamUpkeep[]; complete: boolean }> {
  const counts = new Map<string, StreamUpkeep>();
  const steps = streams
    .filter(({ config }) => isTrimmed(config))
    .map(({ stream }): Step => {
      const step: Step = {
        stream: stream.name,
        call: trimCall(stream, nowMs),
        done(reply) {
          const { trimmed, deadLettered, dropped, more } = decodeTrimmed(reply);
          const before = counts.get(stream.name) ?? { trimmed: 0, deadLettered: 0, dropped: 0 };
          counts.set(stream.name, {
            stream: stream.name,
            trimmed: before.trimmed + trimmed,
            deadLettered: before.deadLettered + deadLettered,
            dropped: before.dropped + dropped,
          });
          return more ? step : undefined;
        },
      };
      return step;
    });
  const complete = await runSteps(context, steps, budget, errors);
  return { streams: [...counts.values()], complete };
}
