// NATS JetStream: a stream in files, as many publishes and fetched messages in flight as elsewhere.
import { AckPolicy, type ConsumerInfo, jetstream, jetstreamManager, StorageType } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import type { Sample } from "./job.ts";
import { Meter, messagesFor, noteRate } from "./meter.ts";
import { payloads } from "./payloads.ts";
import { newName } from "./redis.ts";
import type { JobOf } from "./weir.ts";

type NatsJob = JobOf<"nats-produce" | "nats-consume">;

/** @returns the connection, and the name of a new stream with one consumer of the same name */
async function open({ natsPort }: NatsJob): Promise<{ connection: NatsConnection; name: string; info: ConsumerInfo }> {
  const connection = await connect({ servers: `127.0.0.1:${natsPort}` });
  const name = newName();
  const manager = await jetstreamManager(connection);
  await manager.streams.add({ name, subjects: [name], storage: StorageType.File });
  const info = await manager.consumers.add(name, {
    durable_name: name,
    ack_policy: AckPolicy.Explicit,
    max_ack_pending: 100_000,
  });
  return { connection, name, info };
}

async function close(connection: NatsConnection, name: string): Promise<void> {
  await (await jetstreamManager(connection)).streams.delete(name);
  await connection.close();
}

export async function natsProduce(job: NatsJob): Promise<Sample> {
  const { batch, connections, payload } = job.shape;
  const { connection, name } = await open(job);
  const client = jetstream(connection);
  const texts = payloads(payload);
  const meter = new Meter(job.watched);
  meter.start();
  const publish = () =>
    Promise.all(Array.from({ length: batch }, (_, i) => client.publish(name, texts[i % texts.length] ?? "")));
  await Promise.all(
    Array.from({ length: connections }, async () => {
      while (meter.elapsedMs() < job.durationMs) {
        await meter.time(publish());
        meter.messages += batch;
      }
    }),
  );
  const sample = meter.stop();
  await close(connection, name);
  return sample;
}

export async function natsConsume(job: NatsJob): Promise<Sample> {
  const { batch, connections, payload } = job.shape;
  const { connection, name } = await open(job);
  const client = jetstream(connection);
  const texts = payloads(payload);
  const what = JSON.stringify(["nats", job.shape]);
  const total = Math.min(messagesFor(what, job.durationMs, batch, connections, payload), 100_000);
  for (let left = total; left > 0; left -= 1_000) {
    const some = Math.min(left, 1_000);
    await Promise.all(Array.from({ length: some }, (_, i) => client.publish(name, texts[i % texts.length] ?? "")));
  }
  const consumer = await client.consumers.get(name, name);
  const meter = new Meter(job.watched);
  meter.start();
  const messages = await consumer.consume({ max_messages: batch * connections });
  for await (const message of messages) {
    message.ack();
    meter.messages++;
    if (meter.messages === total) break;
  }
  // Acknowledgements are not answered one by one; what was sent before this has arrived after it.
  await connection.flush();
  const sample = meter.stop();
  noteRate(what, sample);
  await close(connection, name);
  return sample;
}
