// The part of Weir's HTTP API that the demo uses, one function a route.
import { type Endpoint, Problem, send } from "./http.ts";
import { asList, asNumber, asNumberOrNull, asObject, asText, asTextOrNull } from "./json.ts";
import type { Usage } from "./usage.ts";

/** A message to produce. */
export interface NewMessage {
  readonly type: string;
  readonly key?: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly data: unknown;
}

/** A message that was handed out: settle it by its lease. `deliveries` counts this one too. */
export type Delivery = Pick<NewMessage, "data"> & {
  readonly id: string;
  readonly type: string | null;
  readonly attributes: { readonly [name: string]: unknown };
  readonly deliveries: number;
  readonly lease: string;
};

/** What a poll brings: hand back `pollState` with the next one, and make that after `pollAfterMs`. */
export interface Batch {
  readonly messages: readonly Delivery[];
  readonly pollState: string;
  readonly pollAfterMs: number;
}

/** Where a group stands; a lag of null is one that Redis cannot tell. */
export interface GroupState {
  readonly lag: number | null;
  readonly pending: number;
  readonly delayed: number;
}

/** A dead letter: the message that it keeps, and why. */
export interface DeadLetter {
  readonly messageId: string;
  readonly data: unknown;
  readonly reason: string;
}

/** One stream of a Weir. */
export class StreamApi {
  readonly stream: string;
  readonly #endpoint: Endpoint;
  readonly #signal: AbortSignal;
  readonly #usage: Usage | undefined;

  /**
   * @param signal calls off what is under way
   * @param usage counts what the requests cost
   */
  constructor(endpoint: Endpoint, stream: string, signal: AbortSignal, usage?: Usage) {
    this.#endpoint = endpoint;
    this.stream = stream;
    this.#signal = signal;
    this.#usage = usage;
  }

  /** The same stream, with the costs counted there. */
  countedBy(usage: Usage): StreamApi {
    return new StreamApi(this.#endpoint, this.stream, this.#signal, usage);
  }

  async create(settings: { maxMessageBytes: number }): Promise<void> {
    await this.#call("PUT", "", settings);
  }

  /** How many messages it holds. */
  async length(): Promise<number> {
    const { body } = await this.#call("GET", "");
    return asNumber(asObject(body, "the stream").length, "length");
  }

  /** Deletes it with all that belongs to it; that it is gone already is fine. */
  async delete(): Promise<void> {
    try {
      await this.#call("DELETE", "");
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== "unknown-stream") throw error;
    }
  }

  /** @returns the messages' ids in order, and whether this key had produced them before */
  async produce(messages: readonly NewMessage[], idempotencyKey: string) {
    const { headers, body } = await this.#call(
      "POST",
      "/messages",
      { messages },
      { "idempotency-key": idempotencyKey },
    );
    const ids = asList(asObject(body, "the answer").ids, "ids").map((id) => asText(id, "an id"));
    return { ids, replayed: headers.get("idempotency-replayed") === "true" };
  }

  async createGroup(group: string, settings: { start: "earliest"; ackWaitMs: number; maxDeliveries: number }) {
    await this.#call("PUT", `/groups/${group}`, settings);
  }

  async groupState(group: string): Promise<GroupState> {
    const state = asObject((await this.#call("GET", `/groups/${group}`)).body, "the group");
    return {
      lag: asNumberOrNull(state.lag, "lag"),
      pending: asNumber(state.pending, "pending"),
      delayed: asNumber(state.delayed, "delayed"),
    };
  }

  /** Acknowledges the last batch and gets the next one. Never waits: nothing there is an empty batch. */
  async consume(
    group: string,
    poll: { consumer: string; batchSize: number; acks?: readonly string[]; pollState?: string | undefined },
  ): Promise<Batch> {
    const batch = asObject((await this.#call("POST", `/groups/${group}/consume`, poll)).body, "the batch");
    return {
      messages: asList(batch.messages, "messages").map(readDelivery),
      pollState: asText(batch.pollState, "pollState"),
      pollAfterMs: asNumber(batch.pollAfterMs, "pollAfterMs"),
    };
  }

  async acknowledge(group: string, leases: readonly string[]): Promise<void> {
    await this.#call("POST", `/groups/${group}/settle`, { acks: leases });
  }

  /** All of a group's dead letters, page by page. */
  async deadLetters(group: string): Promise<DeadLetter[]> {
    const found: DeadLetter[] = [];
    let next: string | null = null;
    do {
      const query: string = next === null ? "" : `?cursor=${encodeURIComponent(next)}`;
      const page = asObject((await this.#call("GET", `/groups/${group}/dead-letters${query}`)).body, "the page");
      found.push(...asList(page.deadLetters, "deadLetters").map(readDeadLetter));
      next = asTextOrNull(page.next, "next");
    } while (next !== null);
    return found;
  }

  #call(method: "GET" | "PUT" | "POST" | "DELETE", below: string, body?: unknown, headers = {}) {
    const path = `/v1/streams/${this.stream}${below}`;
    const usage = this.#usage && { usage: this.#usage };
    return send(this.#endpoint, { method, path, body, headers, signal: this.#signal, ...usage });
  }
}

function readDelivery(value: unknown): Delivery {
  const message = asObject(value, "a message");
  return {
    id: asText(message.id, "id"),
    type: asTextOrNull(message.type, "type"),
    attributes: asObject(message.attributes, "attributes"),
    data: message.data,
    deliveries: asNumber(message.deliveries, "deliveries"),
    lease: asText(message.lease, "lease"),
  };
}

function readDeadLetter(value: unknown): DeadLetter {
  const letter = asObject(value, "a dead letter");
  const message = asObject(letter.message, "its message");
  return { messageId: asText(message.id, "id"), data: message.data, reason: asText(letter.reason, "reason") };
}
