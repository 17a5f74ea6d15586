import { LAST_ID } from "../ids.ts";

/** What one step did: how many it took, and the last id that it looked at where there are more. */
export interface StepResult {
  readonly count: number;
  readonly last: string | null;
}

/**
 * Goes through ids, or through a range, in as many steps as their size asks for, so that Redis is never held up for long.
 * Killed in between, what was done was done whole.
 * @param which the ids, or where the range begins
 * @param limit how many to take in all
 * @param step takes at most so many, of those ids or of the range from there on
 * @returns how many were taken
 */
export async function inSteps(
  which: { readonly ids: readonly string[] } | { readonly from: string },
  limit: number,
  step: (max: number, ...selection: ["ids", ...string[]] | ["range", string]) => Promise<StepResult>,
): Promise<number> {
  let taken = 0;
  if ("ids" in which) {
    for (let rest = [...new Set(which.ids)]; rest.length > 0 && taken < limit; ) {
      const { count, last } = await step(limit - taken, "ids", ...rest);
      taken += count;
      rest = last === null ? [] : rest.slice(rest.indexOf(last) + 1);
    }
    return taken;
  }
  for (let from: string | null = which.from; from !== null && taken < limit; ) {
    const { count, last }: StepResult = await step(limit - taken, "range", from);
    taken += count;
    // Redis refuses to go on behind the last id of all, where nothing lies.
    from = last === null || last === LAST_ID ? null : `(${last}`;
  }
  return taken;
}
