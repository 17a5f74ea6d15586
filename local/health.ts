import { setTimeout as sleep } from "node:timers/promises";

/** A part that may hang without ending. */
export interface WatchedPart {
  readonly name: string;
  /** @returns whether it answered in time */
  answers(timeoutMs: number): Promise<boolean>;
}

export interface HealthOptions {
  /** Pause between two looks. */
  readonly everyMs: number;
  /** How long an answer may take. */
  readonly timeoutMs: number;
  /**
   * After how many looks in a row without an answer a part counts as hung. Looks are counted, not time: while the machine
   * sleeps, none is made.
   */
  readonly maxFailures: number;
}

/** Long enough for a build, short enough for somebody who waits: a part that hangs is told after half a minute. */
export const HEALTH_DEFAULTS: HealthOptions = { everyMs: 2_000, timeoutMs: 5_000, maxFailures: 5 };

/** Looks after parts until it is stopped. */
export interface HealthWatch {
  /** Settles with the name of the first part that hangs; never rejects. */
  readonly silent: Promise<string>;
  stop(): void;
}

/** Watches parts side by side. */
export function watchHealth(parts: readonly WatchedPart[], options: HealthOptions): HealthWatch {
  const stopping = new AbortController();
  const silent = Promise.race(parts.map((part) => untilSilent(part, options, stopping.signal)));
  return { silent, stop: () => stopping.abort() };
}

async function untilSilent(part: WatchedPart, options: HealthOptions, signal: AbortSignal): Promise<string> {
  for (let failures = 0; failures < options.maxFailures; ) {
    await sleep(options.everyMs, undefined, { signal }).catch(() => undefined);
    // Nobody waits for it any more.
    if (signal.aborted) return new Promise<string>(() => undefined);
    failures = (await part.answers(options.timeoutMs)) ? 0 : failures + 1;
  }
  return part.name;
}
