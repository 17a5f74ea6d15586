// What a child process said last, for the message when it dies.

import { createInterface } from "node:readline";
import type { Readable } from "node:stream";

/** Keeps the last lines of one or more streams. */
export class LastLines {
  private readonly lines: string[] = [];
  private readonly limit: number;

  /** @param limit how many lines are kept */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** @param line one line, without its end */
  add(line: string): void {
    this.lines.push(line);
    if (this.lines.length > this.limit) this.lines.shift();
  }

  /**
   * Reads a stream to its end, so that the child never waits for a full pipe.
   *
   * @param onLine is called with every line as well
   */
  follow(stream: Readable, onLine?: (line: string) => void): void {
    createInterface({ input: stream }).on("line", (line) => {
      this.add(line);
      onLine?.(line);
    });
  }

  /** @returns the kept lines, one under the other */
  text(): string {
    return this.lines.join("\n");
  }
}
