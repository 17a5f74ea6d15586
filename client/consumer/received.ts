import type { Delivery } from "../wire.ts";
import type { Moment } from "./elapsed.ts";
import { ACK, type Outcome, RELEASE, type RetryOptions, rejectWith, retryIn } from "./outcome.ts";

/**
 * A message that this consumer holds: nobody else gets it while it does, since its lease is extended. The first of `ack`,
 * `retry`, `reject` and `release` counts, and what is called after it does nothing; each goes out with the next request.
 */
export interface ReceivedMessage<Type = string | null, Data = unknown> extends Omit<Delivery, "type" | "data"> {
  readonly type: Type;
  readonly data: Data;
  /** The W3C trace context that the producer handed in; undefined: none. */
  readonly traceparent: string | undefined;
  /** Aborted when there is no point in going on: the lease is lost, the consumer stops, or `maxProcessingMs` is over. */
  readonly signal: AbortSignal;
  /** It is done. */
  ack(): void;
  /** It comes again, as another delivery. */
  retry(options?: RetryOptions): void;
  /** It can never succeed: it goes to the group's dead letters. */
  reject(reason?: string): void;
  /** It is given back as if it had not been handed out. */
  release(): void;
  /**
   * Extends its lease now, beyond what is done by itself.
   * @returns whether it is still held
   */
  extend(): Promise<boolean>;
}

/** Who settles and extends it. */
export interface Keeper {
  settle(message: Received, outcome: Outcome): void;
  extend(message: Received): Promise<boolean>;
}

/** `buffered`: nobody works on it yet. `done`: settled, or lost. */
export type Stage = "buffered" | "running" | "done";

export class Received implements ReceivedMessage {
  readonly id: string;
  readonly type: string | null;
  /** A schema may have made something else of it. */
  data: unknown;
  readonly dataBase64: string | undefined;
  readonly datacontenttype: string | undefined;
  readonly attributes: Readonly<Record<string, string>>;
  readonly attributesBase64: Readonly<Record<string, string>> | undefined;
  readonly key: string | null;
  readonly producedAt: number;
  readonly deliveries: number;
  readonly lease: string;
  stage: Stage = "buffered";
  /** When the request was sent that handed it out or extended it: the lease ends `ackWaitMs` later, or after that. */
  heldSince: Moment;
  /** When somebody began to work on it. */
  startedAtMs = 0;
  readonly #keeper: Keeper;
  #controller: AbortController | undefined;
  #abortedBy: { readonly reason: unknown } | undefined;

  constructor(delivery: Delivery, heldSince: Moment, keeper: Keeper) {
    this.id = delivery.id;
    this.type = delivery.type;
    this.data = delivery.data;
    this.dataBase64 = delivery.dataBase64;
    this.datacontenttype = delivery.datacontenttype;
    this.attributes = delivery.attributes;
    this.attributesBase64 = delivery.attributesBase64;
    this.key = delivery.key;
    this.producedAt = delivery.producedAt;
    this.deliveries = delivery.deliveries;
    this.lease = delivery.lease;
    this.heldSince = heldSince;
    this.#keeper = keeper;
  }

  get traceparent(): string | undefined {
    return this.attributes.traceparent;
  }

  /** Made when it is asked for: most handlers do without, and a controller costs more than all the rest here. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#abortedBy !== undefined) this.#controller.abort(this.#abortedBy.reason);
    return this.#controller.signal;
  }

  get isAborted(): boolean {
    return this.#abortedBy !== undefined;
  }

  abort(reason: unknown): void {
    this.#abortedBy ??= { reason };
    this.#controller?.abort(reason);
  }

  ack(): void {
    this.#keeper.settle(this, ACK);
  }

  retry(options?: RetryOptions): void {
    this.#keeper.settle(this, retryIn(options));
  }

  reject(reason?: string): void {
    this.#keeper.settle(this, rejectWith(reason));
  }

  release(): void {
    this.#keeper.settle(this, RELEASE);
  }

  extend(): Promise<boolean> {
    return this.#keeper.extend(this);
  }
}
