import { styleText } from "node:util";

/** The part of process.stdout that is needed. */
export interface Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export type Colour = "green" | "red" | "dim" | "bold";

const CLEAR_LINE = "\r\x1b[K";

/** What a program says while it runs: events as lines, and on a terminal a last line that is written anew. */
export class Progress {
  readonly #output: Output;
  readonly #statusEveryMs: number;
  readonly #startedMs = performance.now();
  #shown = "";
  #shownAtMs = Number.NEGATIVE_INFINITY;

  /** @param statusEveryMs elsewhere than on a terminal, how often a new status is worth a line */
  constructor(output: Output, statusEveryMs = 0) {
    this.#output = output;
    this.#statusEveryMs = statusEveryMs;
  }

  /** Says that something happened, and when. */
  say(event: string): void {
    const seconds = `${(this.elapsedMs() / 1_000).toFixed(1)} s`.padStart(7);
    this.#write(`${this.colour("dim", seconds)}  ${event}\n`);
  }

  /** Says how far it is: in place on a terminal, elsewhere as an event when it has changed. */
  status(text: string): void {
    if (text === this.#shown) return;
    if (this.#output.isTTY) {
      this.#shown = text.slice(0, this.#output.columns);
      this.#write("");
    } else if (this.elapsedMs() - this.#shownAtMs >= this.#statusEveryMs) {
      this.#shown = text;
      this.#shownAtMs = this.elapsedMs();
      this.say(text);
    }
  }

  /** From here on there is no line to be written anew. */
  end(): void {
    this.#shown = "";
    this.#write("");
  }

  elapsedMs(): number {
    return performance.now() - this.#startedMs;
  }

  /** Colours are for terminals only. */
  colour(colour: Colour, text: string): string {
    return this.#output.isTTY && !process.env.NO_COLOR ? styleText(colour, text, { validateStream: false }) : text;
  }

  #write(text: string): void {
    this.#output.write(this.#output.isTTY ? `${CLEAR_LINE}${text}${this.#shown}` : text);
  }
}
