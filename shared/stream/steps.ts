import { LAST_ID } from "../ids.ts";

/** What one step did: how many it took, and the last id that it looked at where there may be more. */
export interface StepResult {
  readonly count: number;
  readonly last: string | null;
}

/** What the steps of a request did, and where the next one goes on; null: that was all. */
export interface Progress {
  readonly count: number;
  readonly next: string | null;
}

/** Steps of one request: Workers' free plan has 50 subrequests. */
export const MAX_STEPS = 40;

/**
 * Goes through ids, or through a range, in bounded steps, so that Redis is never held up for long; after many of them the
 * rest is left to another request. Killed in between, what was done was done whole.
 * @param which the ids, or the bounds of the range
 * @param after the last id that a request before looked at
 * @param limit how many to take in all
 * @param step takes at most so many, of those ids or of that range
 */
export async function inSteps(
  which: { readonly ids: readonly string[] } | { readonly from: string; readonly to: string },
  after: string | undefined,
  limit: number,
  step: (max: number, ...selection: ["ids", ...string[]] | ["range", string, string]) => Promise<StepResult>,
): Promise<Progress> {
  let [count, last] = [0, after ?? null];
  if (after === LAST_ID && !("ids" in which)) return { count, next: null };
  const ids = "ids" in which ? [...new Set(which.ids)] : [];
  for (let steps = 0; steps < MAX_STEPS && count < limit; steps++) {
    const rest = last === null ? ids : ids.slice(ids.indexOf(last) + 1);
    if ("ids" in which && rest.length === 0) return { count, next: null };
    const done =
      "ids" in which
        ? await step(limit - count, "ids", ...rest)
        : await step(limit - count, "range", last === null ? which.from : `(${last}`, which.to);
    count += done.count;
    last = done.last;
    // Redis refuses to go on behind the last id of all, where nothing lies.
    if (last === null || (last === LAST_ID && !("ids" in which))) return { count, next: null };
  }
  return { count, next: last };
}
