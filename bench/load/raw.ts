// Redis itself through ioredis: what somebody would write who needs no service in between.
import type { Redis } from "ioredis";
import type { Sample } from "./job.ts";
import { Meter, messagesFor, noteRate } from "./meter.ts";
import { payloads } from "./payloads.ts";
import { connectRedis, fill, newName } from "./redis.ts";
import type { JobOf } from "./weir.ts";

const APPEND = `
local ids = {}
for i = 1, #ARGV do ids[i] = redis.call('XADD', KEYS[1], '*', 'data', ARGV[i]) end
return ids`;

/** One connection; a batch is awaited before the next is sent. In the demo's pattern each message is a command of its own. */
export async function rawProduce(job: JobOf<"raw-produce">): Promise<Sample> {
  const { batch, connections, payload } = job.shape;
  const redis = connectRedis(job.redisPort);
  const stream = newName();
  const texts = payloads(payload);
  const sha = String(await redis.script("LOAD", APPEND));
  const meter = new Meter(job.watched);
  const oneBatch = async (first: number) => {
    const data = Array.from({ length: batch }, (_, i) => texts[(first + i) % texts.length] ?? "");
    if (job.how === "script") return redis.evalsha(sha, 1, stream, ...data);
    const pipeline = redis.pipeline();
    for (const text of data) pipeline.xadd(stream, "*", "data", text);
    return pipeline.exec();
  };
  const oneMessage = (first: number) =>
    redis.xadd(stream, "MAXLEN", "~", 10_000, "*", "data", texts[first % texts.length] ?? "");

  meter.start();
  const isDemo = job.how === "demo";
  const loop = async () => {
    while (meter.elapsedMs() < job.durationMs) {
      await meter.time<unknown>(isDemo ? oneMessage(meter.messages) : oneBatch(meter.messages));
      meter.messages += isDemo ? 1 : batch;
    }
  };
  // The demo's producer awaits each XADD; as many of it as there are connections elsewhere, on one connection.
  await Promise.all(Array.from({ length: isDemo ? connections : 1 }, loop));
  const sample = meter.stop();
  await redis.unlink(stream);
  redis.disconnect();
  return sample;
}

/** One consumer on one connection. */
export async function rawConsume(job: JobOf<"raw-consume">): Promise<Sample> {
  const { batch, connections, payload } = job.shape;
  const redis = connectRedis(job.redisPort);
  const stream = newName();
  const what = JSON.stringify([job.how, job.shape]);
  const total = messagesFor(what, job.durationMs, batch, connections, payload);
  await redis.xgroup("CREATE", stream, "g", "0", "MKSTREAM");
  await fill(redis, stream, total, payload);
  const meter = new Meter(job.watched);
  const reader = job.how === "ack-and-read" ? ackAndRead : readThenAck;
  meter.start();
  while (meter.messages < total) {
    const got = await meter.time(reader(redis, stream, batch, job.how === "demo"));
    if (got === 0) throw new Error("the stream ended early");
    meter.messages += got;
  }
  const sample = meter.stop();
  noteRate(what, sample);
  await redis.unlink(stream);
  redis.disconnect();
  return sample;
}

/** In the demo's pattern each message is acknowledged, and awaited, by itself. */
async function readThenAck(redis: Redis, stream: string, batch: number, ackEach: boolean): Promise<number> {
  const ids = idsOf(await redis.call("xreadgroup", "GROUP", "g", "c", "COUNT", batch, "STREAMS", stream, ">"));
  if (ackEach) for (const id of ids) await redis.xack(stream, "g", id);
  else if (ids.length > 0) await redis.xack(stream, "g", ...ids);
  return ids.length;
}

let unacknowledged: string[] = [];

/** One round trip a batch, as Weir does it. */
async function ackAndRead(redis: Redis, stream: string, batch: number): Promise<number> {
  const pipeline = redis.pipeline();
  if (unacknowledged.length > 0) pipeline.xack(stream, "g", ...unacknowledged);
  pipeline.call("xreadgroup", "GROUP", "g", "c", "COUNT", batch, "STREAMS", stream, ">");
  const results = await pipeline.exec();
  unacknowledged = idsOf(results?.at(-1)?.[1]);
  return unacknowledged.length;
}

function idsOf(reply: unknown): string[] {
  const entries = Array.isArray(reply) && Array.isArray(reply[0]) ? reply[0][1] : [];
  return Array.isArray(entries) ? entries.map((entry) => (Array.isArray(entry) ? String(entry[0]) : "")) : [];
}
