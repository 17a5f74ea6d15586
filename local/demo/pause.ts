import { setTimeout as sleep } from "node:timers/promises";

/**
 * Waits.
 *
 * @throws the signal's reason when it is aborted meanwhile
 */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    // sleep() throws an AbortError of its own.
    signal.throwIfAborted();
    throw error;
  }
}
