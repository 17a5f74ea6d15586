import { pause } from "./pause.ts";
import type { InvalidMember, NewMessage } from "./wire.ts";

/** A message on its way, as JSON text: what its caller does to it afterwards changes nothing. */
export interface Entry {
  readonly message: NewMessage;
  readonly text: string;
  /** Of the text as UTF-8. */
  readonly bytes: number;
  readonly resolve: (id: string) => void;
  readonly reject: (error: unknown) => void;
}

const HEAD = '{"messages":[';
const TAIL = "]}";

/** A request's body, of texts that are JSON already. */
export function bodyOf(entries: readonly Entry[]): string {
  return `${HEAD}${entries.map(({ text }) => text).join(",")}${TAIL}`;
}

/** Counted: TextEncoder makes a copy that nobody needs, and takes two to three times as long. */
export function utf8BytesOf(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    // Half of a surrogate pair is half of four bytes.
    const isHalf = unit >= 0xd800 && unit <= 0xdfff;
    bytes += unit < 0x800 || isHalf ? 1 : 2;
  }
  return bytes;
}

/** How long a body with this message alone is. */
export function bodyBytesOf({ bytes }: Pick<Entry, "bytes">): number {
  return HEAD.length + bytes + TAIL.length;
}

export interface BatchLimits {
  readonly maxBatch: number;
  readonly maxBytes: number;
  readonly lingerMs: number;
}

/** Messages that go in one request. */
export class Batch {
  /** Resolves when it waits for no more company: it is full, hurried, or `lingerMs` are over. */
  readonly due: Promise<void>;
  readonly #limits: BatchLimits;
  readonly #entries: Entry[] = [];
  readonly #hurry = new AbortController();
  #bytes = 0;

  constructor(limits: BatchLimits) {
    this.#limits = limits;
    this.due = pause(limits.lingerMs, this.#hurry.signal);
  }

  get entries(): readonly Entry[] {
    return this.#entries;
  }

  /** Whether it takes this one too. The first is always taken: what is above `maxBytes` alone goes alone. */
  fits({ bytes }: Pick<Entry, "bytes">): boolean {
    const { length } = this.#entries;
    const { maxBatch, maxBytes } = this.#limits;
    return length === 0 || (length < maxBatch && this.#bytes + ",".length + bytes <= maxBytes);
  }

  add(entry: Entry): void {
    this.#bytes += this.#entries.length === 0 ? bodyBytesOf(entry) : ",".length + entry.bytes;
    this.#entries.push(entry);
    if (!this.fits({ bytes: 1 })) this.hurry();
  }

  hurry(): void {
    this.#hurry.abort();
  }
}

/** The entries that an error's `errors` name, as `messages[3].type`, and the others; both in order. */
export function splitByName<Item>(
  entries: readonly Item[],
  errors: readonly InvalidMember[],
): { readonly named: readonly Item[]; readonly others: readonly Item[] } {
  const numbers = new Set(errors.map(({ path }) => Number(/^messages\[(\d+)\]/.exec(path)?.[1])));
  return {
    named: entries.filter((_, i) => numbers.has(i)),
    others: entries.filter((_, i) => !numbers.has(i)),
  };
}
