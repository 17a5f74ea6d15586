import { NotFoundError, StoppedError, TooManyError } from "../errors.ts";
import type { GroupClient } from "../group.ts";
import { backoffMs, pause } from "../pause.ts";
import type { Batch, Gap, Settled } from "../wire.ts";
import { moment } from "./elapsed.ts";
import { Events } from "./events.ts";
import { Leases } from "./leases.ts";
import { consumerName } from "./name.ts";
import { type Outcome, RELEASE } from "./outcome.ts";
import { type Demand, Poller } from "./poller.ts";
import { type Keeper, Received, type ReceivedMessage } from "./received.ts";
import { MAX_LEASES, type Riding, Settlements } from "./settlements.ts";

/** What a consumer tells of itself. */
export interface ConsumerEvents {
  /** A poll has brought so many messages. */
  readonly batch: { readonly messages: number; readonly redelivered: number };
  /** What a request has settled. */
  readonly settled: Settled;
  /** Another delivery holds the message by now: what its handler does is done twice. */
  readonly leaseLost: ReceivedMessage;
  /** Something went wrong; the consumer goes on. */
  readonly error: unknown;
  /** A poll has brought nothing, and nothing is held. */
  readonly idle: { readonly pollAfterMs: number };
  /** Trimming took messages from this group that it was not done with. */
  readonly gap: Gap;
}

/** What a consumer has done so far. */
export interface ConsumerCounters {
  polls: number;
  /** Polls that brought nothing. */
  emptyPolls: number;
  /** Deliveries. */
  received: number;
  /** Deliveries that were not a message's first. */
  redelivered: number;
  acked: number;
  retried: number;
  rejected: number;
  released: number;
  extended: number;
  leasesLost: number;
  errors: number;
}

export interface IntakeOptions {
  /** How many messages may be worked on at once. */
  readonly concurrency?: number | undefined;
  /** How many more may wait for that. */
  readonly prefetch?: number | undefined;
  readonly name?: string | undefined;
  readonly ackDelayMs?: number | undefined;
  readonly maxProcessingMs?: number | undefined;
}

const DEFAULT_CONCURRENCY = 10;
/** The next poll of a group that is not idle is due after 250 ms: acknowledgements ride with it. */
const DEFAULT_ACK_DELAY_MS = 300;
const DEFAULT_MAX_PROCESSING_MS = 30 * 60_000;
/** How long a group's settings are taken for what they were. */
const SETTINGS_KEPT_MS = 60_000;

/** Gets messages, keeps their leases, settles them. It does not know who works on them. */
export class Intake implements Keeper {
  readonly events = new Events<ConsumerEvents>();
  readonly counters: ConsumerCounters = {
    polls: 0,
    emptyPolls: 0,
    received: 0,
    redelivered: 0,
    acked: 0,
    retried: 0,
    rejected: 0,
    released: 0,
    extended: 0,
    leasesLost: 0,
    errors: 0,
  };
  readonly name: string;
  readonly concurrency: number;
  readonly #group: GroupClient;
  readonly #isGivenName: boolean;
  readonly #capacity: number;
  readonly #leases: Leases;
  readonly #settlements: Settlements;
  readonly #poller: Poller;
  readonly #arrived: () => void;
  #buffer: Received[] = [];
  #mayRecover: boolean;
  #settling = 0;
  readonly #stopping = new AbortController();
  #isChecking = false;
  #gapTold: string | undefined;
  /** What the last poll brought for the last time that it may. */
  #lastChances: readonly Received[] = [];
  #knownMaxDeliveries: { readonly value: number; readonly atMs: number } | undefined;
  /** Whether the last poll found that there is nothing to hand out. */
  #isDry = false;

  /** @param arrived called when there is something to {@link next}, or may be: more often than needed */
  constructor(group: GroupClient, options: IntakeOptions, arrived: () => void) {
    this.concurrency = whole("concurrency", options.concurrency ?? DEFAULT_CONCURRENCY, 1);
    const prefetch = whole(
      "prefetch",
      options.prefetch ?? Math.min(this.concurrency, MAX_LEASES - this.concurrency),
      0,
    );
    this.#capacity = this.concurrency + prefetch;
    if (this.#capacity > MAX_LEASES) {
      // Upstash permits a consumer about as many pending entries, and a request as many leases.
      throw new RangeError(
        `expected concurrency and prefetch of at most ${MAX_LEASES} together, got ${this.#capacity}`,
      );
    }
    const ackDelayMs = whole("ackDelayMs", options.ackDelayMs ?? DEFAULT_ACK_DELAY_MS, 0);
    const maxProcessingMs = whole("maxProcessingMs", options.maxProcessingMs ?? DEFAULT_MAX_PROCESSING_MS, 1);
    this.#isGivenName = options.name !== undefined;
    this.name = options.name ?? consumerName(group.name);
    this.#mayRecover = this.#isGivenName;
    this.#group = group;
    this.#arrived = arrived;
    const failed = (error: unknown) => this.#fail(error);
    this.#leases = new Leases({
      group,
      maxProcessingMs,
      lost: (message) => this.#lose(message),
      extended: (count) => {
        this.counters.extended += count;
      },
      failed,
    });
    this.#settlements = new Settlements(group, { settled: (settled) => this.#noteSettled(settled), failed }, () =>
      Math.min(ackDelayMs, this.#leases.ackWaitMs / 4),
    );
    this.#poller = new Poller({
      // Without a buffer those that finish together are waited for a moment: a poll for each of them would cost more.
      worthwhileRoom: prefetch === 0 ? this.#capacity : Math.ceil(this.#capacity / 2),
      demand: () => this.#demand(),
      poll: (room, pollState, signal) => this.#poll(room, pollState, signal),
      failed,
    });
  }

  /** Whether the last poll found nothing more, and all that was handed out is settled. */
  get isDrained(): boolean {
    return this.#isDry && this.#leases.size === 0 && this.#settling === 0 && this.#settlements.size === 0;
  }

  /** How many are worked on. */
  get working(): number {
    return this.#leases.size - this.#buffer.length;
  }

  /** Tells of an error that ends nothing. */
  tell(error: unknown): void {
    this.#fail(error);
  }

  start(): void {
    this.#poller.consider();
  }

  /**
   * Takes a message to work on.
   * @param isEligible which one may be taken; the first unless given
   * @returns undefined: there is none now
   */
  next(isEligible?: (message: Received) => boolean): Received | undefined {
    const at = isEligible === undefined ? 0 : this.#buffer.findIndex(isEligible);
    const message = this.#buffer[at];
    if (message === undefined) return undefined;
    if (this.#leases.isDoubtful(message)) {
      void this.#check();
      return undefined;
    }
    // As a rule it is the first, and splice() would make a list of it.
    if (at === 0) this.#buffer.shift();
    else this.#buffer.splice(at, 1);
    message.stage = "running";
    this.#leases.started(message);
    this.#poller.consider();
    return message;
  }

  settle(message: Received, outcome: Outcome): void {
    if (message.stage === "done") return;
    this.#close(message);
    const extension = this.#leases.extensionOf(message);
    if (extension === undefined) {
      this.#settleNow(message, outcome);
      return;
    }
    // An extension that comes after the settlement would find nothing to extend, and look like a lost lease.
    this.#settling++;
    void extension.then(() => {
      this.#settling--;
      if (this.#leases.has(message)) this.#settleNow(message, outcome);
    });
  }

  async extend(message: Received): Promise<boolean> {
    await this.#leases.extend([message]);
    return this.#leases.has(message) && message.stage !== "done" && !this.#leases.isDoubtful(message);
  }

  /** No more polls; what nobody works on yet is given back. */
  beginStop(): void {
    this.#stopping.abort();
    void this.#poller.stop();
    this.#releaseBuffered();
    void this.#settlements.send();
  }

  /**
   * Settles what is done, gives the rest back, and leaves the group.
   * @param withinMs after which it gives up
   * @returns how many messages come again only when their leases end
   */
  async finish(withinMs: number): Promise<{ readonly unsettled: number }> {
    const tooLate = new StoppedError("stopped", `the consumer stops, and this took more than ${withinMs} ms`);
    const limit = new AbortController();
    limit.signal.addEventListener("abort", () => this.#settlements.stop(tooLate));
    const timer = setTimeout(() => limit.abort(tooLate), withinMs);
    // What rides with a poll that does not end needs the other half of the time, to go by itself.
    const pollTimer = setTimeout(() => this.#poller.abort(tooLate), withinMs / 2);
    try {
      await this.#leases.stop();
      for (const message of this.#leases.all()) this.settle(message, RELEASE);
      void this.#settlements.send();
      await this.#poller.stop();
      await this.#settleAll(limit.signal);
      const isGone = await this.#leave(limit.signal);
      const { size, unknownReleases } = this.#settlements;
      // Removing a consumer gives back what it still holds.
      return { unsettled: size + this.#settling + (isGone ? 0 : unknownReleases) };
    } finally {
      clearTimeout(timer);
      clearTimeout(pollTimer);
      this.#settlements.stop(tooLate);
    }
  }

  get #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  #demand(): Demand {
    const held = this.#leases.size;
    // What a poll takes along is settled before it hands out more; what it does not is held until it is settled.
    const free = this.#capacity - held - this.#settlements.notRiding;
    // A last permitted delivery comes alone: the crash of whoever has it in hand must not take another one along.
    const room = this.#lastChances.some((message) => this.#leases.has(message)) ? 0 : free;
    const isIdle = this.#buffer.length === 0 && this.working < this.concurrency;
    return { room, isEmpty: held === 0, isIdle, isPressing: this.#settlements.hasRetries };
  }

  async #poll(room: number, pollState: string | undefined, signal: AbortSignal): Promise<Batch> {
    const riding = this.#settlements.take();
    const heldSince = moment();
    this.counters.polls++;
    let batch: Batch;
    try {
      const recover = this.#mayRecover ? { recover: true } : {};
      const request = { consumer: this.name, batchSize: room, ...trimmed(riding), pollState, ...recover };
      batch = await this.#group.consume(request, { retry: 0, signal });
    } catch (error) {
      this.#takeBack(riding, error);
      throw error;
    }
    this.#settlements.taken(riding);
    this.#mayRecover = false;
    this.#noteSettled(batch.settled);
    await this.#noteLastChances(this.#receive(batch, heldSince), signal);
    return batch;
  }

  async #noteLastChances(received: readonly Received[], signal: AbortSignal): Promise<void> {
    const again = received.filter(({ deliveries }) => deliveries > 1);
    if (again.length === 0) return;
    const maxDeliveries = await this.#maxDeliveries(signal);
    this.#lastChances = again.filter(({ deliveries }) => deliveries >= maxDeliveries);
  }

  /** Asked for only where something comes again, and once a minute then. */
  async #maxDeliveries(signal: AbortSignal): Promise<number> {
    const known = this.#knownMaxDeliveries;
    if (known !== undefined && performance.now() - known.atMs < SETTINGS_KEPT_MS) return known.value;
    try {
      const { config } = await this.#group.get({ signal, retry: 0 });
      this.#knownMaxDeliveries = { value: config.maxDeliveries, atMs: performance.now() };
    } catch (error) {
      this.#fail(error);
    }
    return this.#knownMaxDeliveries?.value ?? Number.POSITIVE_INFINITY;
  }

  /** Of a poll that failed: what it settled all the same, Weir says; the rest goes with the next one. */
  #takeBack(riding: Riding, error: unknown): void {
    if (error instanceof TooManyError && error.settled !== undefined) {
      this.#settlements.taken(riding);
      this.#noteSettled(error.settled);
    } else this.#settlements.putBack(riding, error);
  }

  #receive({ messages, ackWaitMs, pollAfterMs, gap }: Batch, heldSince: Received["heldSince"]): Received[] {
    const received = messages.map((delivery) => new Received(delivery, heldSince, this));
    this.#leases.hold(received, ackWaitMs);
    this.#isDry = messages.length === 0 && pollAfterMs > 0;
    const redelivered = messages.filter(({ deliveries }) => deliveries > 1).length;
    this.counters.received += messages.length;
    this.counters.redelivered += redelivered;
    if (messages.length === 0) this.counters.emptyPolls++;
    else this.events.emit("batch", { messages: messages.length, redelivered });
    if (gap !== undefined && gap.toId !== this.#gapTold) {
      this.#gapTold = gap.toId;
      this.events.emit("gap", gap);
    }
    this.#buffer.push(...received);
    if (this.#isStopping) this.#releaseBuffered();
    else if (messages.length > 0) this.#arrived();
    else if (this.#leases.size === 0) this.events.emit("idle", { pollAfterMs });
    return received;
  }

  #settleNow(message: Received, outcome: Outcome): void {
    this.#leases.drop(message);
    this.#settlements.add(message.lease, outcome);
    this.#poller.consider();
    this.#arrived();
  }

  /** Nothing is settled by a lease that is lost. */
  #lose(message: Received): void {
    this.#close(message);
    this.counters.leasesLost++;
    this.events.emit("leaseLost", message);
    this.#poller.consider();
    this.#arrived();
  }

  #close(message: Received): void {
    if (message.stage === "buffered") this.#buffer.splice(this.#buffer.indexOf(message), 1);
    message.stage = "done";
  }

  #releaseBuffered(): void {
    for (const message of [...this.#buffer]) this.settle(message, RELEASE);
  }

  /** Extends what may have ended before anybody begins to work on it. */
  async #check(): Promise<void> {
    if (this.#isChecking) return;
    this.#isChecking = true;
    try {
      for (let failures = 0; !this.#isStopping; failures++) {
        await this.#leases.extend(this.#buffer.filter((message) => this.#leases.isDoubtful(message)));
        if (!this.#buffer.some((message) => this.#leases.isDoubtful(message))) break;
        await pause(backoffMs(failures + 1, 200, 5_000), this.#stopping.signal);
      }
    } finally {
      this.#isChecking = false;
    }
    if (!this.#isStopping) this.#arrived();
  }

  #noteSettled(settled: Settled): void {
    const { acked, retried, rejected, released, stale } = settled;
    if (acked + retried + rejected + released + stale.length === 0) return;
    this.counters.acked += acked;
    this.counters.retried += retried;
    this.counters.rejected += rejected;
    this.counters.released += released;
    this.events.emit("settled", settled);
  }

  #fail(error: unknown): void {
    this.counters.errors++;
    this.events.emit("error", error);
  }

  async #settleAll(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; failures++) {
      if (failures > 0) await pause(this.#settlements.pauseMs(100, 2_000), signal);
      await this.#settlements.send();
      if (this.#settlements.size === 0 && this.#settling === 0) return;
    }
  }

  /** @returns whether the consumer's name is gone, and with it all that it held */
  async #leave(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false;
    // Nobody has heard of it.
    if (this.counters.polls === 0) return true;
    try {
      if (this.#isGivenName && !(await this.#isEmptyHanded(signal))) return false;
      await this.#group.removeConsumer(this.name, {}, { signal });
      return true;
    } catch (error) {
      // A name that never got anything is not known; nor is one of a group that was deleted.
      const isGone = error instanceof NotFoundError;
      if (!isGone) this.#fail(error);
      return isGone;
    }
  }

  /** Under a name that was given somebody may run already who came after this one: what that one holds stays with it. */
  async #isEmptyHanded(signal: AbortSignal): Promise<boolean> {
    for await (const _ of this.#group.pending({ consumer: this.name, limit: 1 }, { signal })) return false;
    return true;
  }
}

/** Lists that are empty are left out. */
function trimmed({ acks, retries, rejects }: Riding): Partial<Riding> {
  return {
    ...(acks.length === 0 ? {} : { acks }),
    ...(retries.length === 0 ? {} : { retries }),
    ...(rejects.length === 0 ? {} : { rejects }),
  };
}

function whole(name: string, value: number, min: number): number {
  if (Number.isInteger(value) && value >= min) return value;
  throw new RangeError(`expected ${name} to be a whole number from ${min} on, got ${value}`);
}
