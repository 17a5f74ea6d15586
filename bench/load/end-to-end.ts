// How long a message takes from the producer's request to the handler that polls for it.
import { setTimeout as sleep } from "node:timers/promises";
import type { HttpConnection } from "./http.ts";
import type { Sample } from "./job.ts";
import { MAX_MESSAGE_BYTES } from "./payloads.ts";
import { Consumer, closeAll, type JobOf, openAll, successful, WeirStream } from "./weir.ts";

const LOAD_BATCH = 10;
const LOAD_CONSUMERS = 4;

/**
 * Without load one message at a time, at random moments. With load, batches of 10 at that rate whether or not earlier
 * ones were answered, and of each batch the last message counts.
 */
export async function endToEnd(job: JobOf<"end-to-end">): Promise<Sample> {
  const { target, pauseMs, messages, loadPerSecond } = job;
  const stream = await WeirStream.create(target, MAX_MESSAGE_BYTES[job.shape.payload]);
  const { meter } = stream;
  const consumers = await openAll(target.port, loadPerSecond > 0 ? LOAD_CONSUMERS : 1);
  const wanted = loadPerSecond > 0 ? Math.ceil((loadPerSecond * job.durationMs) / 1_000 / LOAD_BATCH) : messages;
  let arrived = 0;
  meter.start();
  const deadline = job.durationMs * 2 + 20_000;
  const consuming = consumers.map(async (connection, number) => {
    const consumer = new Consumer(connection, stream, `c${number}`);
    while (arrived < wanted && meter.elapsedMs() < deadline) {
      const { body } = await consumer.poll(100);
      for (const [, sentAt] of body.matchAll(/"sentAt":([\d.]+)/g)) {
        meter.noteLatency(performance.now() - Number(sentAt));
        arrived++;
      }
      const told = Number(/"pollAfterMs":(\d+)/.exec(body.slice(-300))?.[1] ?? 0);
      const pause = pauseMs === "as told" ? told : told === 0 ? 0 : pauseMs;
      if (consumer.acks.length === 0 && pause > 0) await sleep(pause);
    }
  });
  if (loadPerSecond > 0) await produceAtRate(stream, wanted, loadPerSecond / LOAD_BATCH);
  else await produceSingly(stream, wanted, () => arrived);
  await Promise.all(consuming);
  meter.messages = arrived;
  const sample = meter.stop();
  closeAll(consumers);
  await stream.delete();
  return sample;
}

async function produceSingly(stream: WeirStream, count: number, arrived: () => number): Promise<void> {
  const deadline = performance.now() + 20_000;
  for (let i = 0; i < count && performance.now() < deadline; i++) {
    await sleep(20 + Math.random() * 60);
    await stream.call("POST", "/messages", { messages: [{ data: { sentAt: performance.now() } }] });
    while (arrived() <= i && performance.now() < deadline) await sleep(5);
  }
}

async function produceAtRate(stream: WeirStream, batches: number, perSecond: number): Promise<void> {
  const idle = await openAll(stream.target.port, 16);
  const all = [...idle];
  const filler = { data: { note: "x".repeat(185) } };
  const started = performance.now();
  const sending: Promise<void>[] = [];
  for (let i = 0; i < batches; i++) {
    const dueMs = (i / perSecond) * 1_000 - (performance.now() - started);
    if (dueMs > 1) await sleep(dueMs);
    while (idle.length === 0) await Promise.race(sending);
    const connection = idle.pop();
    if (connection === undefined) continue;
    // When it was due, not when a connection was free: waiting for one is part of the latency.
    const sentAt = started + (i / perSecond) * 1_000;
    const messages = [...Array.from({ length: LOAD_BATCH - 1 }, () => filler), { data: { sentAt } }];
    const sent = post(stream, connection, JSON.stringify({ messages })).then(() => {
      idle.push(connection);
      sending.splice(sending.indexOf(sent), 1);
    });
    sending.push(sent);
  }
  await Promise.all(sending);
  closeAll(all);
}

async function post(stream: WeirStream, connection: HttpConnection, body: string): Promise<void> {
  successful(await connection.send(stream.head("POST", "/messages", body.length) + body));
}
