// The ways in which the demo's consumers die. For Weir a dead consumer is one that does not come back: these ask for
// themselves, since a `Consumer` sees to it that nothing is left behind.
import { setTimeout as sleep } from "node:timers/promises";
import type { Batch, Delivery, GroupClient, StreamClient } from "../../client/index.ts";
import type { Progress } from "../progress.ts";
import { connect, type Endpoint } from "./connect.ts";
import { deliveryOf, type GroupTally } from "./tally.ts";
import type { Handler } from "./worker.ts";

/** `finished` ends the consumer between two polls, `signal` at once. */
export interface MortalOptions {
  readonly endpoint: Endpoint;
  readonly stream: StreamClient;
  readonly group: string;
  readonly consumer: string;
  readonly batchSize: number;
  readonly tally: GroupTally;
  readonly progress: Progress;
  readonly finished: AbortSignal;
  readonly signal: AbortSignal;
}

/** What a handler throws to take its whole consumer with it. */
class Crash extends Error {
  override readonly name = "Crash";
}

/** A consumer that is not asked often would wait 15 s in the end; the demo's audience would not. */
const MOST_PAUSE_MS = 200;

/** Does what `handle` does, but dies of the message with this delivery id, each time. */
export function poisonedBy(delivery: string, handle: Handler): Handler {
  return async (message) => {
    if (deliveryOf(message) !== delivery) return handle(message);
    throw new Crash(`died of ${message.type}, delivery ${message.deliveries}`);
  };
}

/** Consumes until it is finished; whenever it has crashed, it is started again under the same name, as by a process manager. */
export async function workAndCrash(options: MortalOptions, handle: Handler): Promise<void> {
  for (;;) {
    try {
      return await workUntilCrash(options, handle);
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      options.progress.say(`${options.group}/${options.consumer} ${error.message}; starts again`);
    }
  }
}

/** @throws what the handler threw; what was not acknowledged by then is handed out again when its lease ends */
async function workUntilCrash(options: MortalOptions, handle: Handler): Promise<void> {
  const { consumer, batchSize, tally, finished, signal } = options;
  const group = groupOf(options);
  let handled: readonly Delivery[] = [];
  let last: Batch | undefined;
  while (!finished.aborted) {
    const request = { consumer, batchSize, acks: leasesOf(handled), pollState: last?.pollState };
    last = await group.consume(request, { signal });
    // Only now is it certain that they are acknowledged.
    tally.handled(handled);
    tally.delivered(last.messages);
    for (const message of last.messages) await handle(message);
    handled = last.messages;
    // What was just handled is acknowledged without a pause, so that no lease ends over it.
    if (handled.length === 0) await sleep(Math.min(last.pollAfterMs, MOST_PAUSE_MS), undefined, { signal });
  }
}

/**
 * Waits for a batch, acknowledges its beginning, and is never heard of again.
 * @param keep how many of the batch it acknowledges before it dies
 */
export async function crashMidBatch(options: MortalOptions, keep: number): Promise<void> {
  const { consumer, tally, progress, signal } = options;
  const messages = await firstBatch(options);
  tally.delivered(messages);
  const done = messages.slice(0, keep);
  await groupOf(options).settle({ acks: leasesOf(done) }, { signal });
  tally.handled(done);
  progress.say(
    `${options.group}/${consumer} got ${messages.length}, acknowledged ${done.length}, and never comes back`,
  );
}

async function firstBatch(options: MortalOptions): Promise<readonly Delivery[]> {
  const { stream, consumer, batchSize, finished, signal } = options;
  const group = groupOf(options);
  let pollState: string | undefined;
  // Webhooks come one by one, and it is to die in the middle of many.
  while (!finished.aborted && (await stream.get({ signal })).length < batchSize) await sleep(20, undefined, { signal });
  for (;;) {
    const batch = await group.consume({ consumer, batchSize, pollState }, { signal });
    if (batch.messages.length > 0 || finished.aborted) return batch.messages;
    pollState = batch.pollState;
    await sleep(20, undefined, { signal });
  }
}

/** With the costs counted as the group's. */
function groupOf({ endpoint, stream, group, tally }: MortalOptions): GroupClient {
  return connect(endpoint, tally.usage).stream(stream.name).group(group);
}

function leasesOf(messages: readonly Delivery[]): string[] {
  return messages.map(({ lease }) => lease);
}
