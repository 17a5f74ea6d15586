import type { IntakeOptions } from "./intake.ts";
import type { ErrorDecision } from "./outcome.ts";
import type { ReceivedMessage } from "./received.ts";
import type { Issues, MessageOf, NoSchemas, Schemas } from "./schemas.ts";
import type { Telemetry } from "./telemetry.ts";

/** What a handler is given besides the message. */
export interface HandlerContext {
  /** Aborted when there is no point in going on: the lease is lost, the consumer stops, or `maxProcessingMs` is over. */
  readonly signal: AbortSignal;
  /** The W3C trace context that the producer handed in; undefined: none. */
  readonly traceparent: string | undefined;
}

export interface BatchContext {
  /** Aborted when there is no point in going on with any of them. */
  readonly signal: AbortSignal;
}

interface CommonOptions<S extends Schemas> extends IntakeOptions {
  readonly stream: string;
  readonly group: string;
  /**
   * How many messages are worked on at once, 1 to 1,000; 10 unless set. Of `batchHandler`: how many it is given at most.
   */
  readonly concurrency?: number | undefined;
  /** How many more are held, to be worked on next; as many as `concurrency` unless set. Never more are held than both. */
  readonly prefetch?: number | undefined;
  /**
   * The consumer's name; one that nobody else has unless set. Under a name of your own the first poll also brings whatever
   * that name still holds: give it to one process at a time, or they take each other's messages.
   */
  readonly name?: string | undefined;
  /** How long a settlement may wait for the next poll, in milliseconds; 300 unless set. */
  readonly ackDelayMs?: number | undefined;
  /** How long a message may be worked on before its lease is left to end, in milliseconds; 30 minutes unless set. */
  readonly maxProcessingMs?: number | undefined;
  /** A schema for the `data` of each `type`. Messages of other types come with `data: unknown`. */
  readonly schemas?: S | undefined;
  /** What becomes of a message whose `data` does not fit its schema; rejected with the issues unless this says otherwise. */
  readonly onInvalid?:
    | ((issues: Issues, message: ReceivedMessage) => ErrorDecision | Promise<ErrorDecision>)
    | undefined;
  /** What becomes of a message whose handler threw; undefined: as without it. */
  readonly onError?: ((error: unknown, message: ReceivedMessage) => ErrorDecision | Promise<ErrorDecision>) | undefined;
  /** `key`: messages of one key are worked on one after the other, within this consumer. */
  readonly orderBy?: "key" | undefined;
  /** Wraps each call of the handler. */
  readonly telemetry?: Telemetry | undefined;
}

/** One of `handler` and `batchHandler`. */
export type ConsumerOptions<S extends Schemas = NoSchemas> = CommonOptions<S> &
  (
    | {
        /** Returns: acknowledged. Throws: retried by the group's backoff, or as `RetryError`, `RejectError`, `onError` say. */
        readonly handler: (message: MessageOf<S>, context: HandlerContext) => unknown;
        readonly batchHandler?: undefined;
      }
    | {
        /** The same for several at once: what it has not settled one by one is settled by how it ends. */
        readonly batchHandler: (messages: readonly MessageOf<S>[], context: BatchContext) => unknown;
        readonly handler?: undefined;
      }
  );
