import { Batch, type BatchLimits, bodyBytesOf, bodyOf, type Entry, splitByName, utf8BytesOf } from "./batch.ts";
import type { WeirClient } from "./client.ts";
import {
  FullError,
  InvalidRequestError,
  type NoAnswerError,
  OutcomeUnknownError,
  PayloadTooLargeError,
  UnexpectedAnswerError,
  WeirError,
} from "./errors.ts";
import { backoffMs, MAX_TIMER_MS, pause } from "./pause.ts";
import { MAX_BODY_BYTES, MAX_MESSAGES, traced } from "./produce.ts";
import type { StreamClient } from "./stream.ts";
import type { NewMessage } from "./wire.ts";

export interface ProducerOptions {
  readonly stream: string;
  /** Messages of a request, 1 to 1,000; 500 unless set. */
  readonly maxBatch?: number | undefined;
  /** Bytes of a request's body, up to 8 MiB; 1 MiB unless set. A message that is longer alone goes alone. */
  readonly maxBytes?: number | undefined;
  /** How long the first message of a request waits for company, in milliseconds; 5 unless set. 0: for what is sent in the same turn. */
  readonly lingerMs?: number | undefined;
  /** From so many messages on that are not stored yet `ready()` waits; 10,000 unless set. */
  readonly maxQueued?: number | undefined;
  /** From so many bytes on, as JSON, that are not stored yet `ready()` waits; 32 MiB unless set. */
  readonly maxQueuedBytes?: number | undefined;
  /**
   * How long a request is tried again while there is no room for it, in milliseconds: the stream or Redis is full, or the
   * token has made too many requests. 120,000 unless set.
   */
  readonly roomTimeoutMs?: number | undefined;
  /** Told of each message that was not stored, or may not have been, and why. What it throws is lost. */
  readonly onError?: ((error: unknown, message: NewMessage) => void) | undefined;
}

export interface SendOptions {
  /** A W3C trace context: goes along as the attribute `traceparent`, unless the message has one. */
  readonly traceparent?: string | undefined;
}

export interface CloseOptions {
  /** In milliseconds; 25,000 unless set. */
  readonly timeoutMs?: number | undefined;
}

const MIN_BACKOFF_MS = 200;
const MAX_BACKOFF_MS = 10_000;

/**
 * Sends messages of one stream in batches: one request at a time, in the order of `send()`. A request that has to be
 * repeated appends nothing twice.
 *
 * What is sent waits in memory. `send()` takes each message at once and never blocks, so a loop that only sends fills the
 * memory: `await producer.ready()` before each one keeps to `maxQueued` and `maxQueuedBytes`. (Awaiting each `send()` does
 * too, but makes a request of every message.) Each of several callers that wait for `ready()` at once may add one message.
 *
 * A message that is not valid or too large is rejected alone: the others of its request are stored. What fails otherwise,
 * after all repeats, rejects its whole request, and the next ones go on: what is stored is in order, and may have gaps.
 * (What an {@link OutcomeUnknownError} or a {@link NoAnswerError} rejected may be stored still, behind the next ones.)
 *
 * @example
 * await using producer = new Producer(weir, { stream: "orders", onError: (error) => console.error(error) });
 * for await (const order of orders) {
 *   await producer.ready();
 *   void producer.send({ type: "order.paid", key: order.id, data: order });
 * }
 */
export class Producer {
  readonly #stream: StreamClient;
  readonly #limits: BatchLimits & Record<"maxQueued" | "maxQueuedBytes" | "roomTimeoutMs", number>;
  readonly #onError: ProducerOptions["onError"];
  readonly #end = new AbortController();
  /** The batch that may still be filled. */
  #open: Batch | undefined;
  /** All batches, one after the other. */
  #settled: Promise<void> = Promise.resolve();
  #waiting: (() => void)[] = [];
  #isClosed = false;
  #queued = 0;
  #queuedBytes = 0;
  #unsent = 0;

  /** @throws {RangeError} for an option out of its bounds */
  constructor(weir: Pick<WeirClient, "stream">, options: ProducerOptions) {
    const { maxBatch, maxBytes, lingerMs, maxQueued, maxQueuedBytes, roomTimeoutMs, onError } = options;
    this.#stream = weir.stream(options.stream);
    this.#onError = onError;
    this.#limits = {
      maxBatch: within("maxBatch", maxBatch ?? 500, 1, MAX_MESSAGES),
      maxBytes: within("maxBytes", maxBytes ?? 1024 * 1024, 1, MAX_BODY_BYTES),
      lingerMs: within("lingerMs", lingerMs ?? 5, 0, MAX_TIMER_MS),
      maxQueued: within("maxQueued", maxQueued ?? 10_000, 1),
      maxQueuedBytes: within("maxQueuedBytes", maxQueuedBytes ?? 32 * 1024 * 1024, 1),
      roomTimeoutMs: within("roomTimeoutMs", roomTimeoutMs ?? 120_000, 0),
    };
  }

  /** Messages that were sent and are not stored yet, those of the request that is under way included. */
  get queued(): number {
    return this.#queued;
  }

  /** Their bytes, as JSON. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /**
   * Sends a message, as it is now: what becomes of the object afterwards changes nothing.
   *
   * Nothing is thrown where nobody listens: a promise that is not looked at does not end the process, see `onError`.
   *
   * @returns its id once it is stored; of a message that is appended later its scheduled id, `later~…`
   * @throws {InvalidRequestError} it is not valid, or no JSON
   * @throws {PayloadTooLargeError} it is above the stream's `maxMessageBytes`, or 8 MiB
   * @throws {FullError} there was no room for `roomTimeoutMs`
   * @throws {OutcomeUnknownError | NoAnswerError} it may have been stored
   * @throws {WeirError} `closed`: nothing was sent
   */
  send(message: NewMessage, { traceparent }: SendOptions = {}): Promise<string> {
    const stored = new Promise<string>((resolve, reject) => {
      try {
        if (this.#isClosed) throw closed();
        const text = jsonOf(message, traceparent);
        const bytes = utf8BytesOf(text);
        checkSize(bytes);
        this.#take({ message, text, bytes, resolve, reject });
      } catch (error) {
        reject(error);
        this.#tell(error, message);
      }
    });
    stored.catch(() => undefined);
    return stored;
  }

  /** Resolves when there is room for a message, at once where there is; and when the producer is closed. */
  async ready(): Promise<void> {
    while (this.#isFull && !this.#isClosed) {
      // Company would have to wait for its going.
      this.#open?.hurry();
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Sends what waits for company. Resolves when all that was sent before is stored or rejected; it never rejects itself. */
  flush(): Promise<void> {
    this.#open?.hurry();
    return this.#settled;
  }

  /**
   * Takes no more messages, and sends those that it has. Nothing is left behind: every promise of `send()` is settled when
   * it resolves, at the latest after `timeoutMs`. A second call with a shorter time hastens the first.
   * @returns how many messages it gave up when its time was over; some of them may have been stored
   */
  async close({ timeoutMs = 25_000 }: CloseOptions = {}): Promise<{ readonly unsent: number }> {
    this.#isClosed = true;
    this.#wake();
    const timer = setTimeout(() => this.#giveUp(), Math.min(timeoutMs, MAX_TIMER_MS));
    await this.flush();
    clearTimeout(timer);
    return { unsent: this.#unsent };
  }

  /** As {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  get #isFull(): boolean {
    return this.#queued >= this.#limits.maxQueued || this.#queuedBytes >= this.#limits.maxQueuedBytes;
  }

  #take(entry: Entry): void {
    this.#queued++;
    this.#queuedBytes += entry.bytes;
    if (this.#open?.fits(entry) !== true) {
      this.#open?.hurry();
      const batch = new Batch(this.#limits);
      this.#open = batch;
      this.#settled = this.#settled.then(() => this.#deliver(batch));
    }
    this.#open.add(entry);
  }

  async #deliver(batch: Batch): Promise<void> {
    await batch.due;
    if (this.#open === batch) this.#open = undefined;
    await this.#store(batch.entries);
  }

  /** Settles each of these, in order; it never throws. */
  async #store(entries: readonly Entry[]): Promise<void> {
    const { signal } = this.#end;
    const giveUpAt = performance.now() + this.#limits.roomTimeoutMs;
    let left = entries;
    for (let failures = 0; left.length > 0; ) {
      if (signal.aborted) return this.#reject(left, closed());
      try {
        const options = { contentType: "application/json", signal };
        return this.#resolve(left, await this.#stream.produceBody(bodyOf(left), options));
      } catch (error) {
        const leftMs = giveUpAt - performance.now();
        if (hasNoRoom(error) && leftMs > 0) {
          failures++;
          await pause(Math.min(leftMs, waitMs(error, failures)), signal);
          // The error is what is known: nothing was stored.
          if (signal.aborted) return this.#reject(left, error);
          continue;
        }
        const { named, others } = splitByName(left, isOfContent(error) ? error.errors : []);
        if (named.length === 0 && left.length > 1 && isTooLarge(error)) return this.#storeHalves(left);
        this.#reject(named.length === 0 ? left : named, error);
        left = named.length === 0 ? [] : others;
      }
    }
  }

  /** For a body that is too large for something on the way, or as a whole. */
  async #storeHalves(entries: readonly Entry[]): Promise<void> {
    const half = Math.ceil(entries.length / 2);
    await this.#store(entries.slice(0, half));
    await this.#store(entries.slice(half));
  }

  #resolve(entries: readonly Entry[], ids: readonly string[]): void {
    if (ids?.length !== entries.length) {
      const message = `expected ${entries.length} ids, got ${ids?.length ?? "none"}`;
      this.#reject(entries, new UnexpectedAnswerError("unexpected-answer", message));
      return;
    }
    entries.forEach(({ resolve }, i) => {
      resolve(ids[i] ?? "");
    });
    this.#leave(entries);
  }

  #reject(entries: readonly Entry[], error: unknown): void {
    if (this.#end.signal.aborted) this.#unsent += entries.length;
    this.#leave(entries);
    for (const { message, reject } of entries) {
      reject(error);
      this.#tell(error, message);
    }
  }

  #leave(entries: readonly Entry[]): void {
    this.#queued -= entries.length;
    for (const { bytes } of entries) this.#queuedBytes -= bytes;
    if (!this.#isFull) this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #giveUp(): void {
    const message = "the producer was closed before an answer came: it may have been stored";
    this.#end.abort(new OutcomeUnknownError("outcome-unknown", message));
  }

  #tell(error: unknown, message: NewMessage): void {
    try {
      this.#onError?.(error, message);
    } catch {
      // Whoever watches must not change what is watched.
    }
  }
}

function within(name: string, value: number, min: number, max = Number.POSITIVE_INFINITY): number {
  if (value >= min && value <= max) return value;
  throw new RangeError(`expected ${name} of ${min} to ${max}, got ${value}`);
}

/** @throws {InvalidRequestError} there is no such JSON */
function jsonOf(message: NewMessage, traceparent: string | undefined): string {
  const words = "expected a message that can be written as JSON";
  let text: string | undefined;
  try {
    text = JSON.stringify(traced(message, traceparent));
  } catch (cause) {
    throw new InvalidRequestError("invalid-request", `${words}: ${cause}`, { cause });
  }
  if (text === undefined) throw new InvalidRequestError("invalid-request", `${words}, got ${typeof message}`);
  return text;
}

/** @throws {PayloadTooLargeError} before it is sent in vain */
function checkSize(bytes: number): void {
  const bodyBytes = bodyBytesOf({ bytes });
  if (bodyBytes <= MAX_BODY_BYTES) return;
  const message = `expected a body of at most ${MAX_BODY_BYTES} bytes, got ${bodyBytes} of this message alone`;
  throw new PayloadTooLargeError("payload-too-large", message);
}

function closed(): WeirError {
  return new WeirError("closed", "the producer was closed: the message was not sent");
}

/** Nothing was stored, and it will be when there is room. */
function hasNoRoom(error: unknown): error is WeirError {
  return error instanceof FullError || (error instanceof WeirError && error.code === "rate-limited");
}

function isOfContent(error: unknown): error is WeirError {
  return error instanceof WeirError && (error.status === 400 || error.status === 413);
}

/** A proxy's 413 too. */
function isTooLarge(error: unknown): boolean {
  return error instanceof WeirError && error.status === 413;
}

function waitMs({ retryAfterMs = 0 }: WeirError, failures: number): number {
  return Math.max(backoffMs(failures, MIN_BACKOFF_MS, MAX_BACKOFF_MS), retryAfterMs * (1 + Math.random() / 5));
}
