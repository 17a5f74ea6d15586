// What Redis keeps in memory for a message, and for a message that is pending.
import type { Redis } from "ioredis";
import { HttpConnection } from "./http.ts";
import type { Sample } from "./job.ts";
import { MAX_MESSAGE_BYTES } from "./payloads.ts";
import { connectRedis } from "./redis.ts";
import { type JobOf, produceRequests, successful, WeirStream } from "./weir.ts";

export async function memory(job: JobOf<"memory">): Promise<Sample> {
  const { target, messages, redisPort, shape } = job;
  const redis = connectRedis(redisPort);
  const stream = await WeirStream.create(target, MAX_MESSAGE_BYTES[shape.payload]);
  const connection = await HttpConnection.open(target.port);
  const requests = produceRequests(stream, shape);
  const { meter } = stream;
  meter.start();
  const before = await usedMemory(redis);
  for (let i = 0; i * shape.batch < messages; i++) {
    successful(await connection.send(requests[i % requests.length] ?? ""));
    meter.messages += shape.batch;
  }
  const stored = await usedMemory(redis);
  for (let read = 0; read < meter.messages; read += 1_000) {
    const consumer = `c${read / 1_000}`;
    await redis.call("xreadgroup", "GROUP", "g", consumer, "COUNT", 1_000, "STREAMS", stream.key, ">");
  }
  const pending = await usedMemory(redis);
  const figures = {
    bytesPerMessage: (stored - before) / meter.messages,
    bytesPerPending: (pending - stored) / meter.messages,
  };
  const sample = { ...meter.stop(), figures };
  connection.close();
  redis.disconnect();
  await stream.delete();
  return sample;
}

async function usedMemory(redis: Redis): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await redis.info("memory"))?.[1]);
}
