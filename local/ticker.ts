// Cron, locally: `wrangler dev` never fires one by itself.
import { setTimeout as sleep } from "node:timers/promises";

/** Fires until it is stopped; `stop()` waits for the run under way, which it calls off. */
export interface Ticker {
  stop(): Promise<void>;
}

/** `log` is called when runs begin to fail and when they succeed again, not for every failure. */
export interface TickerOptions {
  workerUrl: string;
  intervalMs: number;
  log: (line: string) => void;
}

const PATH = "/cdn-cgi/handler/scheduled?cron=*+*+*+*+*&format=json";

/**
 * Fires the Worker's cron handler, the first time after one interval. A run that takes longer than the interval delays
 * the next one: they never overlap.
 */
export function startTicker({ workerUrl, intervalMs, log }: TickerOptions): Ticker {
  const stopping = new AbortController();
  const running = tickUntil(stopping.signal, intervalMs, reportChanges(log), () =>
    fire(workerUrl + PATH, stopping.signal),
  );
  return {
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}

async function tickUntil(
  signal: AbortSignal,
  intervalMs: number,
  report: (failure: string | undefined) => void,
  run: () => Promise<string | undefined>,
): Promise<void> {
  let next = Date.now() + intervalMs;
  while (!signal.aborted) {
    const wait = Math.max(0, next - Date.now());
    await sleep(wait, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    next = Date.now() + intervalMs;
    const failure = await run();
    if (!signal.aborted) report(failure);
  }
}

/** undefined when the run succeeded, else what went wrong. */
async function fire(url: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    const response = await fetch(url, { signal });
    const text = await response.text();
    return response.ok && text.includes('"outcome":"ok"')
      ? undefined
      : `HTTP ${response.status}: ${text.slice(0, 200)}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function reportChanges(log: (line: string) => void): (failure: string | undefined) => void {
  let failing = false;
  return (failure) => {
    if (failure !== undefined && !failing) log(`the reaper's run failed (said once until it succeeds): ${failure}`);
    if (failure === undefined && failing) log("the reaper runs again");
    failing = failure !== undefined;
  };
}
