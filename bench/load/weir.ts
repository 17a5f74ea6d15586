// Weir over HTTP: each connection a producer, or a consumer with a name of its own.
import { type HttpAnswer, HttpConnection, headOf } from "./http.ts";
import type { Job, Sample, Shape, Target } from "./job.ts";
import { Meter, messagesFor, noteRate } from "./meter.ts";
import { MAX_MESSAGE_BYTES, payloads } from "./payloads.ts";
import { connectRedis, fill, newName } from "./redis.ts";

export type JobOf<Kind extends Job["kind"]> = Extract<Job, { kind: Kind }>;

/** A stream with one group, and connections to it. */
export class WeirStream {
  readonly target: Target;
  readonly name = newName();
  readonly meter: Meter;
  #control: HttpConnection;
  #calledAt = performance.now();

  static async create(target: Target, maxMessageBytes: number, meter = new Meter()): Promise<WeirStream> {
    const stream = new WeirStream(target, await HttpConnection.open(target.port), meter);
    await stream.call("PUT", "", { maxMessageBytes });
    await stream.call("PUT", "/groups/g", { start: "earliest" });
    return stream;
  }

  private constructor(target: Target, control: HttpConnection, meter: Meter) {
    this.target = target;
    this.#control = control;
    this.meter = meter;
  }

  get key(): string {
    return `${this.target.prefix}{${this.name}}`;
  }

  /** @param path below the stream's own, or an absolute one */
  async call(method: string, path: string, body: unknown = {}): Promise<HttpAnswer> {
    const text = JSON.stringify(body);
    // workerd closes a connection that was idle for 5 s.
    if (performance.now() - this.#calledAt > 1_000) {
      this.#control.close();
      this.#control = await HttpConnection.open(this.target.port);
    }
    const answer = await this.#control.send(this.head(method, path, text.length), text);
    this.#calledAt = performance.now();
    this.meter.requests++;
    return successful(answer);
  }

  head(method: string, path: string, bodyBytes: number): string {
    const whole = path.startsWith("/v1/") ? path : `/v1/streams/${this.name}${path}`;
    return headOf(method, whole, this.target.token, bodyBytes);
  }

  async delete(): Promise<void> {
    await this.call("DELETE", "");
    this.#control.close();
  }
}

export function successful(answer: HttpAnswer): HttpAnswer {
  if (answer.status >= 200 && answer.status < 300) return answer;
  throw new Error(`Weir answered ${answer.status}: ${answer.body.slice(0, 500)}`);
}

/** Whole produce requests, with different payloads. */
export function produceRequests(stream: WeirStream, { batch, payload }: Shape): Buffer[] {
  const texts = payloads(payload);
  const variants = batch >= 1_000 ? 2 : 8;
  return Array.from({ length: variants }, (_, variant) => {
    const messages = Array.from({ length: batch }, (_, i) => `{"data":${texts[(variant * batch + i) % texts.length]}}`);
    const body = Buffer.from(`{"messages":[${messages.join(",")}]}`);
    return Buffer.concat([Buffer.from(stream.head("POST", "/messages", body.length)), body]);
  });
}

export async function weirProduce(job: JobOf<"weir-produce">): Promise<Sample> {
  const { shape, durationMs, target, watched } = job;
  const meter = new Meter(watched);
  const stream = await WeirStream.create(target, MAX_MESSAGE_BYTES[shape.payload], meter);
  const requests = produceRequests(stream, shape);
  const connections = await openAll(target.port, shape.connections);
  meter.start();
  await Promise.all(
    connections.map(async (connection, number) => {
      for (let i = number; meter.elapsedMs() < durationMs; i++) {
        const request = requests[i % requests.length] ?? "";
        const { head } = successful(await meter.time(connection.send(request)));
        meter.noteServerTiming(head);
        meter.requests++;
        meter.messages += shape.batch;
      }
    }),
  );
  const sample = meter.stop();
  closeAll(connections);
  await stream.delete();
  return sample;
}

/** A consumer that hands acknowledgements and `pollState` back, as the client does. */
export class Consumer {
  acks: readonly string[] = [];
  #pollState = "";
  readonly #connection: HttpConnection;
  readonly #stream: WeirStream;
  readonly #name: string;

  constructor(connection: HttpConnection, stream: WeirStream, name: string) {
    this.#connection = connection;
    this.#stream = stream;
    this.#name = name;
  }

  /** Acknowledges the last batch and gets the next. */
  async poll(batchSize: number): Promise<HttpAnswer> {
    const state = this.#pollState === "" ? "" : `,"pollState":"${this.#pollState}"`;
    const acks = this.acks.length === 0 ? "" : `,"acks":["${this.acks.join('","')}"]`;
    const answer = await this.#post("/consume", `{"consumer":"${this.#name}","batchSize":${batchSize}${state}${acks}}`);
    this.acks = Array.from(answer.body.matchAll(/"lease":"([^"]+)"/g), ([, lease = ""]) => lease);
    const at = answer.body.lastIndexOf('"pollState":"') + '"pollState":"'.length;
    this.#pollState = answer.body.slice(at, answer.body.indexOf('"', at));
    return answer;
  }

  /** Acknowledges the last batch by a request of its own. */
  async settle(): Promise<void> {
    if (this.acks.length === 0) return;
    await this.#post("/settle", `{"acks":["${this.acks.join('","')}"]}`);
    this.acks = [];
  }

  async #post(operation: string, body: string): Promise<HttpAnswer> {
    const head = this.#stream.head("POST", `/groups/g${operation}`, body.length);
    const answer = successful(await this.#connection.send(head + body));
    this.#stream.meter.noteServerTiming(answer.head);
    this.#stream.meter.requests++;
    return answer;
  }
}

export async function weirConsume(job: JobOf<"weir-consume">): Promise<Sample> {
  const { shape, durationMs, target, settleApart, redisPort, batches } = job;
  const { batch, connections: count, payload } = shape;
  const what = JSON.stringify([target.port, shape, settleApart]);
  const total = batches === undefined ? messagesFor(what, durationMs, batch, count, payload) : (batches + 1) * batch;
  const meter = new Meter(job.watched);
  const stream = await WeirStream.create(target, MAX_MESSAGE_BYTES[payload], meter);
  const redis = connectRedis(redisPort);
  await fill(redis, stream.key, total, payload);
  redis.disconnect();
  const connections = await openAll(target.port, count);
  let handed = 0;
  meter.start();
  await Promise.all(
    connections.map(async (connection, number) => {
      const consumer = new Consumer(connection, stream, `c${number}`);
      const round = async () => {
        await consumer.poll(batch);
        const got = consumer.acks.length;
        if (settleApart) await consumer.settle();
        return got;
      };
      if (batches !== undefined) {
        handed += await round();
        meter.start();
      }
      for (let empty = 0; handed < total && empty < 1_000; ) {
        const got = await meter.time(round());
        handed += got;
        empty = got === 0 ? empty + 1 : 0;
      }
      if (batches === undefined) await consumer.settle();
    }),
  );
  if (handed !== total) throw new Error(`${handed} of ${total} messages were handed out`);
  meter.messages = total - (batches === undefined ? 0 : batch);
  const sample = meter.stop();
  if (batches === undefined) noteRate(what, sample);
  closeAll(connections);
  await stream.delete();
  return sample;
}

export async function openAll(port: number, count: number): Promise<HttpConnection[]> {
  return Promise.all(Array.from({ length: count }, () => HttpConnection.open(port)));
}

export function closeAll(connections: readonly HttpConnection[]): void {
  for (const connection of connections) connection.close();
}
