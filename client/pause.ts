/** What a timer can wait at most, in milliseconds: a longer one fires at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Waits, or until the signal is aborted: it does not throw then.
 * @param ms at least that many milliseconds
 */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, MAX_TIMER_MS));
    signal?.addEventListener("abort", done);
  });
}

/**
 * How long to wait before something is tried again: twice as long each time, and never at the same moment as others who
 * failed together.
 * @param failures how often it has failed, 1 and up
 * @returns milliseconds, between half of what doubling gives and all of it
 */
export function backoffMs(failures: number, minMs: number, maxMs: number): number {
  const ms = Math.min(maxMs, minMs * 2 ** Math.min(failures - 1, 30));
  return ms / 2 + (Math.random() * ms) / 2;
}
