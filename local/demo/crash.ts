// The ways in which the demo's consumers die. For Weir a dead consumer is one that does not come back.

import type { Progress } from "../progress.ts";
import type { Batch, StreamApi } from "./api.ts";
import { pause } from "./pause.ts";
import { deliveryOf, type GroupTally } from "./tally.ts";
import type { Handler } from "./worker.ts";

/** What a handler throws to take its whole consumer with it. */
export class Crash extends Error {
  override readonly name = "Crash";
}

/** Does what `handle` does, but dies of the message with this delivery id, each time. */
export function poisonedBy(delivery: string, handle: Handler): Handler {
  return async (message) => {
    if (deliveryOf(message) !== delivery) return handle(message);
    throw new Crash(`died of ${message.type}, delivery ${message.deliveries}`);
  };
}

/** What a process manager does: starts the consumer again, under the same name, whenever it has crashed. */
export async function restartOnCrash(name: string, run: () => Promise<void>, progress: Progress): Promise<void> {
  for (;;) {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      progress.say(`${name} ${error.message}; starts again`);
    }
  }
}

/** `keep` is how many of the batch it acknowledges before it dies. */
export interface CrashOptions {
  readonly group: string;
  readonly consumer: string;
  readonly batchSize: number;
  readonly keep: number;
  readonly tally: GroupTally;
  readonly finished: AbortSignal;
  readonly signal: AbortSignal;
}

/** Waits for a batch, acknowledges its beginning, and is never heard of again. */
export async function crashMidBatch(api: StreamApi, options: CrashOptions, progress: Progress): Promise<void> {
  const { group, consumer, keep, tally } = options;
  const counted = api.countedBy(tally.usage);
  const { messages } = await firstBatch(counted, options);
  tally.delivered(messages);
  const done = messages.slice(0, keep);
  await counted.acknowledge(
    group,
    done.map(({ lease }) => lease),
  );
  tally.acknowledged(done);
  progress.say(`${group}/${consumer} got ${messages.length}, acknowledged ${done.length}, and never comes back`);
}

async function firstBatch(
  api: StreamApi,
  { group, consumer, batchSize, finished, signal }: CrashOptions,
): Promise<Batch> {
  let pollState: string | undefined;
  // Webhooks come one by one, and it is to die in the middle of many.
  while (!finished.aborted && (await api.length()) < batchSize) await pause(20, signal);
  for (;;) {
    const batch = await api.consume(group, { consumer, batchSize, pollState });
    if (batch.messages.length > 0 || finished.aborted) return batch;
    pollState = batch.pollState;
    await pause(20, signal);
  }
}
