// Redis' replies (RESP2) as bytes: where one ends, and how Upstash writes it as JSON.
// ioredis is not used here because it hides what this endpoint has to reproduce: which "OK" was a status reply and
// which a stored value, integers beyond 2^53, and errors inside of arrays. Going from bytes to JSON text without
// JavaScript values in between is also the cheaper way, and benchmarks run through here.

const CR = 13;
const type = { status: 43, error: 45, integer: 58, bulk: 36, array: 42 } as const;

/** One argument of a command. Text is sent as UTF-8. */
export type Arg = string | Uint8Array;

/**
 * A command in Redis' wire format.
 *
 * @param args the command's name and arguments
 * @returns chunks to be written one after the other
 */
export function encodeCommand(args: readonly Arg[]): Arg[] {
  const chunks: Arg[] = [];
  let text = `*${args.length}\r\n`;
  for (const arg of args) {
    if (typeof arg === "string") {
      text += `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`;
    } else {
      chunks.push(`${text}$${arg.length}\r\n`, arg);
      text = "\r\n";
    }
  }
  chunks.push(text);
  return chunks;
}

/** Cuts a stream of bytes into whole replies. Each byte is looked at once, however many chunks a reply comes in. */
export class ReplySplitter {
  #buffer = Buffer.allocUnsafe(64 * 1024);
  #length = 0;
  #scanned = 0;
  /** Values that are still missing from the reply being scanned. */
  #missing = 1;

  /**
   * @param chunk the next bytes from Redis
   * @param onReply is called with every reply that is now complete; the bytes are its own to keep
   * @throws Error when the bytes are not RESP2
   */
  push(chunk: Buffer, onReply: (reply: Buffer) => void): void {
    this.#append(chunk);
    let start = 0;
    while (this.#scanOne()) {
      if (this.#missing > 0) continue;
      onReply(Buffer.from(this.#buffer.subarray(start, this.#scanned)));
      start = this.#scanned;
      this.#missing = 1;
    }
    if (start === 0) return;
    this.#buffer.copyWithin(0, start, this.#length);
    this.#length -= start;
    this.#scanned -= start;
  }

  #append(chunk: Buffer): void {
    const needed = this.#length + chunk.length;
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, this.#length);
      this.#buffer = larger;
    }
    chunk.copy(this.#buffer, this.#length);
    this.#length = needed;
  }

  /** Steps over one value (of an array: over its head). False when it is not all there yet. */
  #scanOne(): boolean {
    const end = endOfValue(this.#buffer, this.#scanned, this.#length);
    if (end > this.#length) return false;
    this.#missing += valuesInside(this.#buffer, this.#scanned) - 1;
    this.#scanned = end;
    return true;
  }
}

/**
 * Where a value (of an array: its head) ends.
 *
 * @param length how many bytes there are; Infinity is returned when these do not hold the value's first line
 * @throws Error when the bytes are not RESP2
 */
function endOfValue(bytes: Buffer, from: number, length: number): number {
  // Lines are short, and a call of indexOf() costs more than a few steps here.
  let lineEnd = from;
  while (lineEnd < length && bytes[lineEnd] !== CR) lineEnd++;
  if (lineEnd + 1 >= length) return Number.POSITIVE_INFINITY;
  const kind = bytes[from];
  if (kind === type.bulk) return lineEnd + 2 + (bytes[from + 1] === type.error ? 0 : readInteger(bytes, from + 1) + 2);
  if (kind === type.array || kind === type.status || kind === type.error || kind === type.integer) return lineEnd + 2;
  throw new Error(`not a Redis reply: it starts with byte ${kind}`);
}

/** How many values an array holds; 0 for everything else. */
function valuesInside(bytes: Buffer, from: number): number {
  return bytes[from] === type.array ? Math.max(0, readInteger(bytes, from + 1)) : 0;
}

function readInteger(bytes: Buffer, from: number): number {
  let at = from;
  const negative = bytes[at] === type.error;
  if (negative) at++;
  let value = 0;
  for (let byte = bytes[at]; byte !== undefined && byte !== CR; byte = bytes[++at]) value = value * 10 + byte - 48;
  return negative ? -value : value;
}

/**
 * The text of an error reply.
 *
 * @param reply one whole reply
 * @returns undefined when it is not an error
 */
export function errorText(reply: Buffer): string | undefined {
  return reply[0] === type.error ? reply.toString("utf8", 1, reply.length - 2) : undefined;
}

/**
 * The elements of an array reply.
 *
 * @param reply one whole reply
 * @returns each element as a reply of its own; null for the null array (EXEC that was given up)
 * @throws Error when it is not an array
 */
export function elements(reply: Buffer): Buffer[] | null {
  if (reply[0] !== type.array) throw new Error("not an array reply");
  if (readInteger(reply, 1) < 0) return null;
  const found: Buffer[] = [];
  for (let from = reply.indexOf(CR) + 2; from < reply.length; ) {
    let end = from;
    for (let missing = 1; missing > 0; missing--) {
      missing += valuesInside(reply, end);
      end = endOfValue(reply, end, reply.length);
    }
    found.push(reply.subarray(from, end));
    from = end;
  }
  return found;
}

/**
 * A reply as the JSON text that Upstash answers.
 *
 * With base64, Upstash encodes "all strings in the response except for the OK response". Here that is the status reply
 * `OK`, wherever it stands; a stored value "OK" is a bulk string and is encoded. (What Upstash does with that value is
 * not documented; its own client reads both forms the same.)
 *
 * @param reply one whole reply
 * @param base64 whether the request asked for `Upstash-Encoding: base64`
 */
export function toJson(reply: Buffer, base64: boolean): string {
  return new JsonWriter(reply, base64).value();
}

class JsonWriter {
  #at = 0;
  readonly #bytes: Buffer;
  readonly #base64: boolean;

  constructor(bytes: Buffer, base64: boolean) {
    this.#bytes = bytes;
    this.#base64 = base64;
  }

  value(): string {
    const kind = this.#bytes[this.#at++];
    const from = this.#at;
    let lineEnd = from;
    while (this.#bytes[lineEnd] !== CR) lineEnd++;
    this.#at = lineEnd + 2;
    if (kind === type.integer) return this.#bytes.toString("latin1", from, lineEnd);
    if (kind === type.bulk) return this.#bulk(readInteger(this.#bytes, from));
    if (kind === type.array) return this.#array(readInteger(this.#bytes, from));
    const line = this.#bytes.toString("utf8", from, lineEnd);
    return kind === type.status && line === "OK" ? '"OK"' : this.#string(from, lineEnd);
  }

  #bulk(size: number): string {
    if (size < 0) return "null";
    const from = this.#at;
    this.#at = from + size + 2;
    return this.#string(from, from + size);
  }

  #array(size: number): string {
    if (size < 0) return "null";
    let text = "[";
    for (let i = 0; i < size; i++) text += i === 0 ? this.value() : `,${this.value()}`;
    return `${text}]`;
  }

  /** Decoding puts U+FFFD for bytes that are not UTF-8, as Upstash does. */
  #string(from: number, to: number): string {
    if (this.#base64) return `"${this.#bytes.toString("base64", from, to)}"`;
    return JSON.stringify(this.#bytes.toString("utf8", from, to));
  }
}
