// What the demo says while it runs: events as lines, and on a terminal a last line that is written anew.
import { styleText } from "node:util";

/** The part of process.stdout that is needed. */
export type Output = { readonly isTTY?: boolean; write(text: string): unknown };

export type Colour = "green" | "red" | "dim" | "bold";

const CLEAR_LINE = "\r\x1b[K";

export class Progress {
  private readonly output: Output;
  private readonly startedMs = performance.now();
  private shown = "";

  constructor(output: Output) {
    this.output = output;
  }

  /** Says that something happened, and when. */
  say(event: string): void {
    const seconds = `${(this.elapsedMs() / 1_000).toFixed(1)} s`.padStart(7);
    this.write(`${this.colour("dim", seconds)}  ${event}\n`);
  }

  /** Says how far it is: in place on a terminal, elsewhere as an event when it has changed. */
  status(text: string): void {
    if (text === this.shown) return;
    this.shown = text;
    if (this.output.isTTY) this.write("");
    else this.say(text);
  }

  /** From here on there is no line to be written anew. */
  end(): void {
    this.shown = "";
    this.write("");
  }

  elapsedMs(): number {
    return performance.now() - this.startedMs;
  }

  /** Colours are for terminals only. */
  colour(colour: Colour, text: string): string {
    return this.output.isTTY && !process.env.NO_COLOR ? styleText(colour, text, { validateStream: false }) : text;
  }

  private write(text: string): void {
    this.output.write(this.output.isTTY ? `${CLEAR_LINE}${text}${this.shown}` : text);
  }
}
