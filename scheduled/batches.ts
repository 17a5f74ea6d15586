import type { UpkeepError } from "../shared/reaper-runs.ts";
import { type Reply, ReplyError } from "../shared/redis/connection.ts";
import { asWeirError, type Call } from "../shared/redis/redis.ts";
import type { Budget, JobContext } from "./context.ts";

/** Calls of one round trip. Redis serves others between them; one HTTP request of that many ends within a second. */
const CALLS_PER_ROUND_TRIP = 500;

/** One call for a stream or group, and what to do with its answer. */
export interface Step {
  readonly stream: string;
  readonly group?: string;
  readonly call: Call;
  /** @returns the step to do next for the same thing, if there is more */
  done(reply: Reply): Step | undefined;
}

/**
 * Does steps and what follows from them, many per round trip, until nothing is left or the budget is used up.
 * An error of one step is reported and stops none of the others.
 * @returns whether all was done
 * @throws {WeirError} when Redis cannot be reached
 */
export async function runSteps(
  { redis }: JobContext,
  steps: readonly Step[],
  budget: Budget,
  errors: UpkeepError[],
): Promise<boolean> {
  let waiting = [...steps];
  while (waiting.length > 0) {
    if (!budget.allows()) return false;
    const batch = waiting.slice(0, CALLS_PER_ROUND_TRIP);
    const outcomes = await redis.pipeline(batch.map(({ call }) => call));
    const following = batch.flatMap((step, i) => {
      const outcome = outcomes[i] ?? null;
      if (!(outcome instanceof ReplyError)) return step.done(outcome) ?? [];
      const { stream, group } = step;
      errors.push({ stream, ...(group === undefined ? {} : { group }), code: asWeirError(outcome).code });
      return [];
    });
    // What has had its turn goes to the end: one large group does not hold up the others.
    waiting = [...waiting.slice(batch.length), ...following];
  }
  return true;
}
