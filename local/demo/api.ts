// The part of Weir's HTTP API that the demo uses, one function a route.
import { type Endpoint, send } from "./http.ts";
import { asList, asNumber, asNumberOrNull, asObject, asText, asTextOrNull } from "./json.ts";
import type { Usage } from "./usage.ts";

/** A message in the stream. */
export interface Message {
  readonly id: string;
  readonly type: string | null;
  readonly attributes: { readonly [name: string]: unknown };
  readonly data: unknown;
}

/** A message that was handed out: settle it by its lease. `deliveries` counts this one too. */
export type Delivery = Message & { readonly deliveries: number; readonly lease: string };

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
    await this.#call("DELETE", "", undefined, ["unknown-stream"]);
  }

  /** All that it holds, page by page. */
  messages(): Promise<Message[]> {
    return this.#pages("/messages", "messages", readMessage);
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
  deadLetters(group: string): Promise<DeadLetter[]> {
    return this.#pages(`/groups/${group}/dead-letters`, "deadLetters", readDeadLetter);
  }

  async #pages<Item>(below: string, member: string, read: (value: unknown) => Item): Promise<Item[]> {
    const found: Item[] = [];
    let next: string | null = null;
    do {
      const query: string = next === null ? "" : `?cursor=${encodeURIComponent(next)}`;
      const page = asObject((await this.#call("GET", below + query)).body, "the page");
      found.push(...asList(page[member], member).map(read));
      next = asTextOrNull(page.next, "next");
    } while (next !== null);
    return found;
  }

  #call(method: "GET" | "PUT" | "POST" | "DELETE", below: string, body?: unknown, accepts: readonly string[] = []) {
    const path = `/v1/streams/${this.stream}${below}`;
    const usage = this.#usage && { usage: this.#usage };
    return send(this.#endpoint, { method, path, body, accepts, signal: this.#signal, ...usage });
  }
}

function readMessage(value: unknown): Message {
  const message = asObject(value, "a message");
  return {
    id: asText(message.id, "id"),
    type: asTextOrNull(message.type, "type"),
    attributes: asObject(message.attributes, "attributes"),
    data: message.data,
  };
}

function readDelivery(value: unknown): Delivery {
  const { deliveries, lease } = asObject(value, "a message");
  return { ...readMessage(value), deliveries: asNumber(deliveries, "deliveries"), lease: asText(lease, "lease") };
}

function readDeadLetter(value: unknown): DeadLetter {
  const letter = asObject(value, "a dead letter");
  const message = asObject(letter.message, "its message");
  return { messageId: asText(message.id, "id"), data: message.data, reason: asText(letter.reason, "reason") };
}
