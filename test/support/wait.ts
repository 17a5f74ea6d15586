import { setTimeout as sleep } from "node:timers/promises";

/** What a probe answers as long as there is nothing yet. */
type Missing = undefined | false;

/**
 * Waits until a probe answers something other than undefined or false.
 * @param what names it, for the error when it does not come in time
 */
export async function eventually<Found>(
  what: string,
  probe: () => Promise<Found | Missing> | Found | Missing,
  timeoutMs = 30_000,
): Promise<Found> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    await sleep(10);
  }
}
