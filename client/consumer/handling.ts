import { StoppedError } from "../errors.ts";
import type { BatchContext, ConsumerOptions } from "./options.ts";
import { ACK, type ErrorDecision, type Outcome, outcomeOf, RELEASE, rejectWith } from "./outcome.ts";
import type { Received, ReceivedMessage } from "./received.ts";
import { type MessageOf, type Schemas, validate, wordsOf } from "./schemas.ts";
import { spanOf } from "./telemetry.ts";

/** Runs the user's handler, and says what becomes of the messages. Whatever the user's functions throw ends here. */
export class Handling<S extends Schemas> {
  readonly #options: ConsumerOptions<S>;
  readonly #tell: (error: unknown) => void;

  /** @param tell told what `onError` and `onInvalid` throw */
  constructor(options: ConsumerOptions<S>, tell: (error: unknown) => void) {
    this.#options = options;
    this.#tell = tell;
  }

  async outcomeOf(message: Received): Promise<Outcome> {
    try {
      const refused =
        this.#options.schemas === undefined ? undefined : await this.#check(message, this.#options.schemas);
      if (refused !== undefined) return refused;
      const { telemetry } = this.#options;
      // Nothing is made for it where nobody traces: this is what every message costs.
      if (telemetry === undefined) await this.#call(message);
      else await this.#run([message], async () => void (await this.#call(message)));
      return ACK;
    } catch (error) {
      return this.#afterError(error, message);
    }
  }

  #call(message: Received): unknown {
    return isChecked<S>(message) ? this.#options.handler?.(message, message) : undefined;
  }

  /** @returns one for each message */
  async outcomesOf(messages: readonly Received[]): Promise<readonly Outcome[]> {
    const { schemas } = this.#options;
    const refused = await Promise.all(messages.map((one) => schemas && this.#check(one, schemas)));
    const valid = messages.filter((_, i) => refused[i] === undefined);
    const outcome = await this.#outcomeOfBatch(valid);
    return Promise.all(messages.map((message, i) => refused[i] ?? outcome(message)));
  }

  async #outcomeOfBatch(messages: readonly Received[]): Promise<(message: Received) => Outcome | Promise<Outcome>> {
    if (messages.length === 0) return () => ACK;
    try {
      await this.#run(messages, async () => {
        const { batchHandler } = this.#options;
        await batchHandler?.(allChecked<S>(messages), contextOf(messages));
      });
      return () => ACK;
    } catch (error) {
      return (message) => this.#afterError(error, message);
    }
  }

  async #run(messages: readonly Received[], run: () => Promise<void>): Promise<void> {
    const { telemetry, stream, group } = this.#options;
    return telemetry === undefined ? run() : telemetry(spanOf(stream, group, messages), run);
  }

  /** @returns what becomes of it without a handler; undefined: its `data` is as its schema says */
  async #check(message: Received, schemas: Schemas): Promise<Outcome | undefined> {
    try {
      const result = await validate(schemas, message);
      if (result?.issues === undefined) {
        if (result !== undefined) message.data = result.value;
        return undefined;
      }
      const { issues } = result;
      const words = wordsOf(issues);
      const ask = () => this.#options.onInvalid?.(issues, message);
      return this.#decide(new Error(words), ask, () => rejectWith(words));
    } catch (error) {
      return this.#afterError(error, message);
    }
  }

  async #afterError(error: unknown, message: Received): Promise<Outcome> {
    // It was asked to stop and did.
    if (message.isAborted && message.signal.reason instanceof StoppedError) return RELEASE;
    const ask = () => this.#options.onError?.(error, message);
    return this.#decide(error, ask, () => outcomeOf(error, undefined));
  }

  /** @param otherwise where the user decides nothing, or nothing that can be understood */
  async #decide(
    error: unknown,
    ask: () => ErrorDecision | Promise<ErrorDecision>,
    otherwise: () => Outcome,
  ): Promise<Outcome> {
    try {
      const decision = await ask();
      if (decision !== undefined) return outcomeOf(error, decision);
    } catch (thrown) {
      this.#tell(thrown);
    }
    return otherwise();
  }
}

/** Whether its `data` is what its schema says: all are checked before this is asked. */
function isChecked<S extends Schemas>(message: unknown): message is MessageOf<S> {
  return message !== undefined;
}

function allChecked<S extends Schemas>(messages: readonly unknown[]): MessageOf<S>[] {
  return messages.filter(isChecked<S>);
}

/** @returns a signal that is aborted when those of all messages are */
function contextOf(messages: readonly ReceivedMessage[]): BatchContext {
  let controller: AbortController | undefined;
  return {
    get signal() {
      if (controller !== undefined) return controller.signal;
      const made = new AbortController();
      controller = made;
      let left = messages.length;
      for (const { signal } of messages) {
        const abort = () => {
          left--;
          if (left === 0) made.abort(signal.reason);
        };
        if (signal.aborted) abort();
        else signal.addEventListener("abort", abort, { once: true });
      }
      return made.signal;
    },
  };
}
