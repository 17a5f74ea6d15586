// The same as the hand-written loop of weir.ts, by the package that users install: fetch, JSON, leases watched.
import { WeirClient } from "../../client/client.ts";
import { Consumer } from "../../client/consumer/consumer.ts";
import type { Sample } from "./job.ts";
import { Meter, messagesFor, noteRate } from "./meter.ts";
import { MAX_MESSAGE_BYTES } from "./payloads.ts";
import { connectRedis, fill } from "./redis.ts";
import { type JobOf, WeirStream } from "./weir.ts";

/** A `Consumer` for each connection, with an empty handler; it holds a batch at most, as the loop does. */
export async function clientConsume(job: JobOf<"client-consume">): Promise<Sample> {
  const { shape, durationMs, target, redisPort } = job;
  const { batch, connections, payload } = shape;
  const what = JSON.stringify(["client", target.port, shape]);
  const total = messagesFor(what, durationMs, batch, connections, payload);
  const meter = new Meter(job.watched);
  const stream = await WeirStream.create(target, MAX_MESSAGE_BYTES[payload], meter);
  const redis = connectRedis(redisPort);
  await fill(redis, stream.key, total, payload);
  redis.disconnect();
  const weir = new WeirClient({
    url: `http://127.0.0.1:${target.port}`,
    token: target.token,
    onAttempt: ({ redisCommands = 0, redisRoundTrips = 0 }) => {
      meter.requests++;
      meter.redisCommands += redisCommands;
      meter.redisRoundTrips += redisRoundTrips;
    },
  });
  const { promise: done, resolve: finish } = Promise.withResolvers<void>();
  const handler = () => {
    meter.messages++;
    if (meter.messages === total) finish();
  };
  const options = { stream: stream.name, group: "g", handler, concurrency: batch, prefetch: 0 };
  const consumers = Array.from({ length: connections }, () => new Consumer(weir, options));
  meter.start();
  for (const consumer of consumers) consumer.start();
  await done;
  await Promise.all(consumers.map((consumer) => consumer.stop()));
  const sample = meter.stop();
  noteRate(what, sample);
  await stream.delete();
  return sample;
}
