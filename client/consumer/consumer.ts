import type { WeirClient } from "../client.ts";
import { StoppedError } from "../errors.ts";
import { pause } from "../pause.ts";
import { Handling } from "./handling.ts";
import { type ConsumerCounters, type ConsumerEvents, Intake } from "./intake.ts";
import type { ConsumerOptions } from "./options.ts";
import { RELEASE } from "./outcome.ts";
import type { Received } from "./received.ts";
import type { NoSchemas, Schemas } from "./schemas.ts";

export interface StopOptions {
  /** How long handlers may go on, in milliseconds; 25,000 unless set. */
  readonly graceMs?: number | undefined;
  /** How long to settle and to give back may take after that, in milliseconds; as long as the client's `timeoutMs` unless set. */
  readonly timeoutMs?: number | undefined;
}

export interface Stopped {
  /** How many messages could be neither settled nor given back: they come again when their leases end. */
  readonly unsettled: number;
}

const DEFAULT_GRACE_MS = 25_000;
/** Who is asked to stop looks at its signal within this time, or never. */
const REACTION_MS = 250;

/**
 * Consumes as one of a group: polls, runs the handler, settles, and extends the leases of what takes long.
 *
 * Delivery is at least once: a handler must bear a repeat. No error ends the loop; listen to `error` to see them.
 *
 * @example
 * const consumer = new Consumer(weir, {
 *   stream: "orders",
 *   group: "mail",
 *   handler: async (order, { signal }) => send(order.data, { signal }),
 * });
 * consumer.on("error", console.error);
 * consumer.start();
 * await stopOnSignals(consumer);
 */
export class Consumer<S extends Schemas = NoSchemas> {
  readonly #options: ConsumerOptions<S>;
  readonly #intake: Intake;
  readonly #handling: Handling<S>;
  readonly #timeoutMs: number;
  readonly #running = new Set<Received>();
  readonly #busyKeys = new Set<string>();
  #state: "new" | "running" | "stopped" = "new";
  #stopped: Promise<Stopped> | undefined;
  #hasten: (() => void) | undefined;
  #ended: (() => void) | undefined;

  /** @throws {RangeError} an option is out of its bounds */
  constructor(client: WeirClient, options: ConsumerOptions<S>) {
    if ((options.handler === undefined) === (options.batchHandler === undefined)) {
      throw new TypeError("expected one of handler and batchHandler");
    }
    this.#options = options;
    this.#timeoutMs = client.timeoutMs;
    this.#intake = new Intake(client.stream(options.stream).group(options.group), options, () => this.#pump());
    this.#handling = new Handling(options, (error) => this.#intake.tell(error));
  }

  /** The name by which the group knows this consumer. */
  get name(): string {
    return this.#intake.name;
  }

  /** What it has done so far. */
  get counters(): Readonly<ConsumerCounters> {
    return { ...this.#intake.counters };
  }

  /** Whether the last poll found nothing more, and all that was handed out is settled. */
  get isDrained(): boolean {
    return this.#intake.isDrained;
  }

  /**
   * Listens.
   * @returns what ends that
   */
  on<Name extends keyof ConsumerEvents>(name: Name, listener: (value: ConsumerEvents[Name]) => void): () => void {
    return this.#intake.events.on(name, listener);
  }

  /**
   * Begins to consume.
   * @throws {Error} it has been started already: a consumer lives once
   */
  start(): this {
    if (this.#state !== "new") throw new Error("this consumer was started already: make another one");
    this.#state = "running";
    this.#intake.start();
    return this;
  }

  /**
   * Ends without a loss and without a repeat: no more polls, handlers may finish within the grace, then their signals
   * abort; what is finished is settled, the rest given back uncharged, and the consumer's name removed. A second call ends
   * the grace.
   *
   * @returns then, at the latest `graceMs` and `timeoutMs` later
   */
  stop(options: StopOptions = {}): Promise<Stopped> {
    this.#hasten?.();
    this.#stopped ??= this.#stop(options.graceMs ?? DEFAULT_GRACE_MS, options.timeoutMs ?? this.#timeoutMs);
    return this.#stopped;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #stop(graceMs: number, timeoutMs: number): Promise<Stopped> {
    const wasRunning = this.#state === "running";
    this.#state = "stopped";
    if (!wasRunning) return { unsettled: 0 };
    const grace = new AbortController();
    this.#hasten = () => grace.abort();
    this.#ended = () => {
      if (this.#running.size === 0) grace.abort();
    };
    this.#intake.beginStop();
    this.#ended();
    await pause(graceMs, grace.signal);
    const reactionMs = await this.#abortRunning(timeoutMs);
    return this.#intake.finish(Math.max(0, timeoutMs - reactionMs));
  }

  /** @returns how long it has waited for handlers that look at their signals */
  async #abortRunning(timeoutMs: number): Promise<number> {
    if (this.#running.size === 0) return 0;
    const over = new AbortController();
    this.#ended = () => {
      if (this.#running.size === 0) over.abort();
    };
    const startedAtMs = performance.now();
    for (const message of this.#running) message.abort(new StoppedError("stopped", "the consumer stops"));
    await pause(Math.min(REACTION_MS, timeoutMs / 4), over.signal);
    return performance.now() - startedAtMs;
  }

  /** Hands on what there is, as far as nobody has enough to do. */
  #pump(): void {
    if (this.#options.batchHandler === undefined) this.#pumpOneByOne();
    else this.#pumpBatch();
  }

  #pumpOneByOne(): void {
    const isEligible = this.#options.orderBy === "key" ? (message: Received) => !this.#isBusy(message) : undefined;
    while (this.#state === "running" && this.#running.size < this.#intake.concurrency) {
      const message = this.#intake.next(isEligible);
      if (message === undefined) return;
      this.#begin([message]);
      void this.#work(message);
    }
  }

  #pumpBatch(): void {
    if (this.#state !== "running" || this.#running.size > 0) return;
    const messages: Received[] = [];
    while (messages.length < this.#intake.concurrency) {
      const message = this.#intake.next();
      if (message === undefined) break;
      messages.push(message);
    }
    if (messages.length === 0) return;
    this.#begin(messages);
    void this.#workOnBatch(messages);
  }

  #isBusy({ key }: Received): boolean {
    return key !== null && this.#busyKeys.has(key);
  }

  #begin(messages: readonly Received[]): void {
    for (const message of messages) {
      this.#running.add(message);
      if (message.key !== null) this.#busyKeys.add(message.key);
    }
  }

  #end(messages: readonly Received[]): void {
    for (const message of messages) {
      this.#running.delete(message);
      if (message.key !== null) this.#busyKeys.delete(message.key);
    }
    this.#ended?.();
    this.#pump();
  }

  async #work(message: Received): Promise<void> {
    const outcome = await this.#handling.outcomeOf(message);
    this.#intake.settle(message, outcome);
    this.#end([message]);
  }

  async #workOnBatch(messages: readonly Received[]): Promise<void> {
    const outcomes = await this.#handling.outcomesOf(messages);
    messages.forEach((message, i) => {
      this.#intake.settle(message, outcomes[i] ?? RELEASE);
    });
    this.#end(messages);
  }
}
