// BullMQ: as many jobs in flight as Weir has messages. It has a database of its own, which is emptied afterwards.
import { type Job as BullJob, Queue, Worker } from "bullmq";
import type { Sample } from "./job.ts";
import { Meter, messagesFor, noteRate } from "./meter.ts";
import { payloads } from "./payloads.ts";
import { connectRedis, newName } from "./redis.ts";
import type { JobOf } from "./weir.ts";

const DATABASE = 1;

type Bulk = Parameters<Queue["addBulk"]>[0];

function bulks(batch: number, kind: Parameters<typeof payloads>[0]): Bulk[] {
  const texts = payloads(kind);
  return Array.from({ length: 8 }, (_, variant) =>
    Array.from({ length: batch }, (_, i) => {
      const data: unknown = JSON.parse(texts[(variant * batch + i) % texts.length] ?? "");
      return { name: "message", data, opts: { removeOnComplete: true } };
    }),
  );
}

export async function bullmqProduce(job: JobOf<"bullmq-produce">): Promise<Sample> {
  const { batch, connections, payload } = job.shape;
  const jobs = bulks(batch, payload);
  const queue = await openQueue(job.redisPort);
  const meter = new Meter(job.watched);
  meter.start();
  await Promise.all(
    Array.from({ length: connections }, async (_, number) => {
      for (let i = number; meter.elapsedMs() < job.durationMs; i++) {
        await meter.time(queue.addBulk(jobs[i % jobs.length] ?? []));
        meter.messages += batch;
      }
    }),
  );
  const sample = meter.stop();
  await queue.close();
  await empty(job.redisPort);
  return sample;
}

export async function bullmqConsume(job: JobOf<"bullmq-consume">): Promise<Sample> {
  const { batch, connections, payload } = job.shape;
  const what = JSON.stringify(["bullmq", job.shape, job.concurrency]);
  const total = Math.min(messagesFor(what, job.durationMs, batch, connections, payload), 40_000);
  const queue = await openQueue(job.redisPort);
  const jobs = bulks(batch, payload);
  for (let added = 0; added < total; added += batch) {
    await queue.addBulk((jobs[(added / batch) % jobs.length] ?? []).slice(0, total - added));
  }
  const meter = new Meter(job.watched);
  const { promise: done, resolve, reject } = Promise.withResolvers<void>();
  const worker = new Worker(queue.name, async (_: BullJob) => undefined, {
    connection: { host: "127.0.0.1", port: job.redisPort, db: DATABASE },
    concurrency: job.concurrency,
    autorun: false,
  });
  worker.on("completed", () => {
    meter.messages++;
    if (meter.messages === total) resolve();
  });
  worker.on("error", reject);
  worker.on("failed", (_, error) => reject(error));
  await worker.waitUntilReady();
  meter.start();
  worker.run().catch(reject);
  await done;
  const sample = meter.stop();
  noteRate(what, sample);
  await worker.close();
  await queue.close();
  await empty(job.redisPort);
  return sample;
}

async function openQueue(port: number): Promise<Queue> {
  const queue = new Queue(newName(), { connection: { host: "127.0.0.1", port, db: DATABASE } });
  await queue.waitUntilReady();
  return queue;
}

async function empty(port: number): Promise<void> {
  const redis = connectRedis(port, DATABASE);
  await redis.flushdb();
  redis.disconnect();
}
