import type { StopOptions, Stopped } from "./consumer.ts";
import { runtimeProcess } from "./process.ts";

interface Stoppable {
  stop(options?: StopOptions): Promise<Stopped>;
}

const SIGNALS = ["SIGTERM", "SIGINT"];

/**
 * Stops consumers when the process is told to end; a second signal ends their grace. What else is open, such as a server or
 * a pool, is yours to close afterwards: the process ends when nothing is left to do.
 *
 * @returns when a signal has come and all have stopped
 * @throws {TypeError} where there are no signals: in Workers and browsers
 * @example
 * consumer.start();
 * await stopOnSignals(consumer);
 * await pool.end();
 */
export async function stopOnSignals(
  consumers: Stoppable | readonly Stoppable[],
  options: StopOptions = {},
): Promise<readonly Stopped[]> {
  const process = runtimeProcess();
  if (process?.on === undefined) throw new TypeError("expected a runtime with signals, such as Node");
  const all: readonly Stoppable[] = isList(consumers) ? consumers : [consumers];
  return new Promise((resolve) => {
    const stop = () => {
      void Promise.all(all.map((consumer) => consumer.stop(options))).then((stopped) => {
        for (const signal of SIGNALS) process.off?.(signal, stop);
        resolve(stopped);
      });
    };
    for (const signal of SIGNALS) process.on?.(signal, stop);
  });
}

function isList(consumers: Stoppable | readonly Stoppable[]): consumers is readonly Stoppable[] {
  return Array.isArray(consumers);
}
