import { performance } from "node:perf_hooks";

/** Says on stderr what is going on: on a terminal in one line, elsewhere a line every few seconds. */
export class Progress {
  readonly #startedAt = performance.now();
  #saidAt = Number.NEGATIVE_INFINITY;
  readonly #intervalMs = 5_000;

  say(text: string): void {
    const seconds = ((performance.now() - this.#startedAt) / 1_000).toFixed(0).padStart(4);
    if (process.stderr.isTTY) {
      process.stderr.write(`\r\x1b[K${seconds} s  ${text}`.slice(0, (process.stderr.columns ?? 80) + 4));
    } else if (performance.now() - this.#saidAt >= this.#intervalMs) {
      this.#saidAt = performance.now();
      process.stderr.write(`${seconds} s  ${text}\n`);
    }
  }

  /** A line that stays. */
  note(text: string): void {
    process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}\n` : `${text}\n`);
  }

  end(): void {
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  }
}
