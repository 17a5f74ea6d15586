import { type EventPage, readEvent, readEvents } from "./cloud-events.ts";
import { GroupClient } from "./group.ts";
import { bodyOf, type CallOptions, type Http, pathOf, read } from "./http.ts";
import { Pages } from "./pages.ts";
import { type ProduceBodyOptions, type ProduceOptions, produce, produceBody, produceEvents } from "./produce.ts";
import { remove } from "./remove.ts";
import type * as Wire from "./wire.ts";

/** A stream. */
export class StreamClient {
  readonly name: string;
  readonly #http: Http;
  readonly #path: string;

  /** @throws {InvalidRequestError} for a name that no URL can hold */
  constructor(http: Http, name: string) {
    this.#http = http;
    this.name = name;
    this.#path = pathOf`/v1/streams/${name}`;
  }

  /** Makes the stream, or changes its settings. Adopts a Redis stream that is there. */
  put(settings: Wire.StreamSettings = {}, options?: CallOptions): Promise<Wire.Stream> {
    return bodyOf(this.#http, { method: "PUT", path: this.#path, json: settings, isRepeatable: true }, options);
  }

  get(options?: CallOptions): Promise<Wire.Stream> {
    return read(this.#http, this.#path, {}, options);
  }

  /** Deletes the stream and all that belongs to it. */
  delete(options?: CallOptions): Promise<void> {
    return remove(this.#http, this.#path, options);
  }

  /** Trims the stream now. While `next` is not null there is more: see {@link steps}. */
  trim(request: Wire.TrimRequest, options?: CallOptions): Promise<Wire.TrimAnswer> {
    const path = `${this.#path}/trim`;
    return bodyOf(this.#http, { method: "POST", path, json: request, isRepeatable: true }, options);
  }

  /** What the next trim would take, from whom, and which group holds it back since when. */
  retention(options?: CallOptions): Promise<Wire.RetentionForecast> {
    return read(this.#http, `${this.#path}/retention`, {}, options);
  }

  /**
   * Appends one message or up to 1,000, of 8 MiB in all, or none of them.
   *
   * A request that has to be repeated appends nothing twice: it carries an `Idempotency-Key` of its own, which costs a few
   * commands of Redis; `idempotent: false` saves them, and is repeated only where nothing was stored.
   *
   * @returns the ids in order; of messages that are appended later their scheduled ids, `later~…`
   * @throws {InvalidRequestError} before anything is sent: no message, or more than 1,000
   * @throws {PayloadTooLargeError} the body is above 8 MiB, or a message above the stream's `maxMessageBytes`
   * @throws {OutcomeUnknownError} no answer came, and it is too late to repeat it
   * @example
   * const [id] = await weir.stream("orders").produce({ type: "order.paid", key: "o-17", data: { total: 12.5 } });
   */
  produce(
    messages: Wire.NewMessage | readonly Wire.NewMessage[],
    options?: ProduceOptions,
  ): Promise<readonly string[]> {
    return produce(this.#http, this.#path, messages, options);
  }

  /**
   * Appends what a body of any media type holds: CloudEvents by `application/cloudevents+json` and
   * `application/cloudevents-batch+json`, messages a line by `application/x-ndjson`; any other is one message with those bytes.
   *
   * @returns the ids in order
   * @example
   * await stream.produceBody(pdf, { contentType: "application/pdf", type: "invoice" });
   */
  produceBody(content: string | Uint8Array<ArrayBuffer>, options: ProduceBodyOptions): Promise<readonly string[]> {
    return produceBody(this.#http, this.#path, content, options);
  }

  /**
   * Appends one CloudEvent (1.0) or up to 1,000, all or nothing: its attributes are kept, and come back by {@link events}.
   * That no event is appended twice is by the `Idempotency-Key`, as of {@link produce}; not by the event's `id`.
   *
   * @returns the ids of their messages in order
   * @example
   * await stream.produceEvents({ specversion: "1.0", id: "A1", source: "/shop", type: "order.paid", data: { total: 12.5 } });
   */
  produceEvents(
    events: Wire.CloudEvent | readonly Wire.CloudEvent[],
    options?: Omit<ProduceOptions, "traceparent">,
  ): Promise<readonly string[]> {
    return produceEvents(this.#http, this.#path, events, options);
  }

  /** Messages of a range; touches no group. */
  messages(query: Wire.ReadQuery = {}, options?: CallOptions): Pages<Wire.Message, Wire.MessagePage> {
    return new Pages(
      (cursor = query.cursor) => read(this.#http, `${this.#path}/messages`, { ...query, cursor }, options),
      ({ messages }) => messages,
    );
  }

  /** Messages of a range as CloudEvents: what did not come as one has the stream as `source`. Touches no group. */
  events(query: Wire.ReadQuery = {}, options?: CallOptions): Pages<Wire.CloudEvent, EventPage> {
    return readEvents(this.#http, `${this.#path}/messages`, { ...query }, options);
  }

  /** A message by its id, as a CloudEvent. */
  async event(id: string, options?: CallOptions): Promise<Wire.CloudEvent> {
    return readEvent(this.#http, this.#path + pathOf`/messages/${id}`, options);
  }

  /** A message by its id. */
  async message(id: string, options?: CallOptions): Promise<Wire.Message> {
    return read(this.#http, this.#path + pathOf`/messages/${id}`, {}, options);
  }

  /** Deletes a message, for every group. */
  async deleteMessage(id: string, options?: CallOptions): Promise<void> {
    return remove(this.#http, this.#path + pathOf`/messages/${id}`, options);
  }

  /** Where each group is with a message. */
  async states(id: string, options?: CallOptions): Promise<readonly Wire.MessageState[]> {
    const path = this.#path + pathOf`/messages/${id}/states`;
    return (await read<Wire.MessageStates>(this.#http, path, {}, options)).states;
  }

  /** What is to be appended later, by the time at which it is due. */
  scheduled(query: Wire.PageQuery = {}, options?: CallOptions): Pages<Wire.Scheduled, Wire.ScheduledPage> {
    return new Pages(
      (cursor = query.cursor) => read(this.#http, `${this.#path}/scheduled`, { ...query, cursor }, options),
      ({ scheduled }) => scheduled,
    );
  }

  /** A message that is to be appended later, by its scheduled id; not found once it was. */
  async scheduledMessage(id: string, options?: CallOptions): Promise<Wire.Scheduled> {
    return read(this.#http, this.#path + pathOf`/scheduled/${id}`, {}, options);
  }

  /** Cancels a message that is to be appended later; not found once it was. */
  async cancelScheduled(id: string, options?: CallOptions): Promise<void> {
    return remove(this.#http, this.#path + pathOf`/scheduled/${id}`, options);
  }

  /** A group by its name; nothing is asked yet. */
  group(name: string): GroupClient {
    return new GroupClient(this.#http, this.name, name);
  }

  /** The groups by name. */
  groups(query: Wire.PageQuery = {}, options?: CallOptions): Pages<Wire.Group, Wire.GroupPage> {
    return new Pages(
      (cursor = query.cursor) => read(this.#http, `${this.#path}/groups`, { ...query, cursor }, options),
      ({ groups }) => groups,
    );
  }
}
