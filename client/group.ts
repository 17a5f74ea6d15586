import { type MessagesOptions, messagesOf } from "./consumer/messages.ts";
import type { ReceivedMessage } from "./consumer/received.ts";
import { bodyOf, type Call, type CallOptions, type Http, pathOf, read } from "./http.ts";
import { Pages } from "./pages.ts";
import { remove } from "./remove.ts";
import type * as Wire from "./wire.ts";

/** A consumer group of a stream. To consume, take a {@link Consumer}: what is here is what it is made of. */
export class GroupClient {
  readonly stream: string;
  readonly name: string;
  readonly #http: Http;
  readonly #path: string;

  /** @throws {InvalidRequestError} for a name that no URL can hold */
  constructor(http: Http, stream: string, name: string) {
    this.#http = http;
    this.stream = stream;
    this.name = name;
    this.#path = pathOf`/v1/streams/${stream}/groups/${name}`;
  }

  /** How long an attempt may take, in milliseconds. */
  get timeoutMs(): number {
    return this.#http.timeoutMs;
  }

  /** Makes the group, or changes its settings. */
  put(settings: Wire.GroupSettings = {}, options?: CallOptions): Promise<Wire.Group> {
    return bodyOf(this.#http, { method: "PUT", path: this.#path, json: settings, isRepeatable: true }, options);
  }

  get(options?: CallOptions): Promise<Wire.Group> {
    return read(this.#http, this.#path, {}, options);
  }

  /** Deletes the group with its settings and dead letters. */
  delete(options?: CallOptions): Promise<void> {
    return remove(this.#http, this.#path, options);
  }

  /** Moves where the group reads on. What was handed out before stays pending. */
  seek(request: Wire.SeekRequest, options?: CallOptions): Promise<Wire.SeekAnswer> {
    return this.#post("seek", request, true, options);
  }

  /**
   * Hands messages of the stream to this group again; its cursor stays. While `next` is not null there is more: see
   * {@link steps}. Not repeated by itself: that would hand them to the group once more.
   */
  replay(request: Wire.ReplayRequest, options?: CallOptions): Promise<Wire.ReplayAnswer> {
    return this.#post("replay", request, request.dryRun === true, options);
  }

  /**
   * Settles the last batch and gets the next one; never waits. What an answer held that got lost comes again when its lease
   * ends, as another delivery. With `releases` it is not repeated by itself.
   */
  consume(request: Wire.ConsumeRequest, options?: CallOptions): Promise<Wire.Batch> {
    return this.#post("consume", request, !hasReleases(request), options);
  }

  /** Acknowledges, retries, rejects, releases or extends deliveries. With `releases` it is not repeated by itself. */
  async settle(request: Wire.SettleRequest, options?: CallOptions): Promise<Wire.Settled> {
    return (await this.#post<Wire.SettleAnswer>("settle", request, !hasReleases(request), options)).settled;
  }

  /**
   * The messages that this group is handed, one by one, until the loop ends. Settle each: by `ack`, `retry`, `reject` or
   * `release`. Ending the loop gives back what it holds.
   *
   * @example
   * for await (const message of weir.stream("orders").group("mail").messages()) {
   *   await send(message.data);
   *   message.ack();
   * }
   */
  messages(options: MessagesOptions = {}): AsyncGenerator<ReceivedMessage, void, undefined> {
    return messagesOf(this, options);
  }

  /** What was handed out and not settled: first Redis' own entries by id, then what came back another way. */
  pending(query: Wire.PendingQuery = {}, options?: CallOptions): Pages<Wire.Pending, Wire.PendingPage> {
    return new Pages(
      (cursor = query.cursor) => read(this.#http, `${this.#path}/pending`, { ...query, cursor }, options),
      ({ pending }) => pending,
    );
  }

  /** What is to come back, by the time at which it is due. */
  delayed(query: Wire.PageQuery = {}, options?: CallOptions): Pages<Wire.Delayed, Wire.DelayedPage> {
    return new Pages(
      (cursor = query.cursor) => read(this.#http, `${this.#path}/delayed`, { ...query, cursor }, options),
      ({ delayed }) => delayed,
    );
  }

  /** Hands pending messages to a consumer by hand, with a delivery each. Not repeated by itself. */
  async claim(request: Wire.ClaimRequest, options?: CallOptions): Promise<readonly Wire.Delivery[]> {
    return (await this.#post<Wire.ClaimAnswer>("claim", request, false, options)).messages;
  }

  /** The consumers by name; names that start with `@` are Weir's own. */
  consumers(query: Wire.PageQuery = {}, options?: CallOptions): Pages<Wire.ConsumerInfo, Wire.ConsumerPage> {
    return new Pages(
      (cursor = query.cursor) => read(this.#http, `${this.#path}/consumers`, { ...query, cursor }, options),
      ({ consumers }) => consumers,
    );
  }

  /**
   * Removes a consumer, and hands on what it holds: to `handoverTo`, else it is held to be handed out at once.
   * @returns how many messages it held; undefined: an attempt whose answer was lost has removed it
   */
  async removeConsumer(
    name: string,
    query: Wire.RemoveConsumerQuery = {},
    options?: CallOptions,
  ): Promise<number | undefined> {
    const path = this.#path + pathOf`/consumers/${name}`;
    const answer = await remove<Wire.RemoveConsumerAnswer>(this.#http, path, options, { ...query });
    return answer?.handedOver;
  }

  /** The group's dead letters, oldest first. */
  deadLetters(query: Wire.DeadLetterQuery = {}, options?: CallOptions): Pages<Wire.DeadLetter, Wire.DeadLetterPage> {
    return new Pages(
      (cursor = query.cursor) => read(this.#http, `${this.#path}/dead-letters`, { ...query, cursor }, options),
      ({ deadLetters }) => deadLetters,
    );
  }

  /** A dead letter by its id. */
  async deadLetter(id: string, options?: CallOptions): Promise<Wire.DeadLetter> {
    return read(this.#http, this.#path + pathOf`/dead-letters/${id}`, {}, options);
  }

  /**
   * How many dead letters there are of each kind, most first: of the newest 10,000 at the most.
   *
   * @example
   * const { kinds: [worst] } = await group.deadLetterSummary();
   * if (worst) await group.redrive({ reason: worst.reason, type: worst.type, detail: worst.detail });
   */
  async deadLetterSummary(options?: CallOptions): Promise<Wire.DeadLetterSummary> {
    return read(this.#http, `${this.#path}/dead-letters/summary`, {}, options);
  }

  /** Hands dead letters to this group again, from delivery 1. While `next` is not null there is more: see {@link steps}. */
  redrive(request: Wire.RedriveRequest, options?: CallOptions): Promise<Wire.RedriveAnswer> {
    return this.#post("dead-letters/redrive", request, true, options);
  }

  /** Deletes dead letters, for good. While `next` is not null there is more: see {@link steps}. */
  deleteDeadLetters(
    request: Wire.DeleteDeadLettersRequest,
    options?: CallOptions,
  ): Promise<Wire.DeleteDeadLettersAnswer> {
    const path = `${this.#path}/dead-letters`;
    return bodyOf(this.#http, { method: "DELETE", path, json: request, isRepeatable: true }, options);
  }

  #post<Body>(operation: string, json: object, isRepeatable: boolean, options?: CallOptions): Promise<Body> {
    const call: Call = { method: "POST", path: `${this.#path}/${operation}`, json, isRepeatable };
    return bodyOf(this.#http, call, options);
  }
}

/** A release that is sent twice could give back the next delivery of the same name. */
function hasReleases({ releases = [] }: Wire.SettleRequest): boolean {
  return releases.length > 0;
}
