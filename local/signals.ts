/** What the shell reports for a program that Ctrl-C ended. */
export const INTERRUPTED = 130;

/** npm passes a Ctrl-C on that the terminal has already sent here: signals this close together are one key press. */
const SAME_PRESS_MS = 500;

/** Why everything is called off: somebody wants the program to end. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

/**
 * Listens for SIGINT, SIGTERM and SIGHUP: the first calls everything off, so that it can end in order; a second press ends
 * the process at once, and the watchdogs see to its children.
 * @returns whose signal is aborted by {@link Interrupted}; others may call everything off by it too
 */
export function interruptible(): AbortController {
  const stopping = new AbortController();
  let pressedMs: number | undefined;
  const onSignal = () => {
    if (pressedMs === undefined) {
      pressedMs = performance.now();
      stopping.abort(new Interrupted("interrupted"));
    } else if (performance.now() - pressedMs > SAME_PRESS_MS) process.exit(INTERRUPTED);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  return stopping;
}
