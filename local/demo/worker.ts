// A consumer: gets a batch, handles it, acknowledges it with the next poll.
import type { Batch, Delivery, StreamApi } from "./api.ts";
import { pause } from "./pause.ts";
import type { GroupTally } from "./tally.ts";

/** Does the work for one message; when it throws, the consumer crashes. */
export type Handler = (message: Delivery) => Promise<void>;

/** `finished` ends the consumer between two polls, `signal` at once. */
export interface WorkerOptions {
  readonly group: string;
  readonly consumer: string;
  readonly batchSize: number;
  readonly handle: Handler;
  readonly tally: GroupTally;
  readonly finished: AbortSignal;
  readonly signal: AbortSignal;
}

/** A consumer that is not asked often would wait 15 s in the end; the demo's audience would not. */
const MOST_PAUSE_MS = 200;

/**
 * Consumes until it is finished.
 *
 * @throws what the handler threw; what was not acknowledged by then is handed out again when its lease ends
 */
export async function work(api: StreamApi, options: WorkerOptions): Promise<void> {
  const { group, consumer, batchSize, handle, tally, finished, signal } = options;
  const counted = api.countedBy(tally.usage);
  let handled: Delivery[] = [];
  let last: Batch | undefined;
  while (!finished.aborted) {
    const acks = handled.map(({ lease }) => lease);
    last = await counted.consume(group, { consumer, batchSize, acks, pollState: last?.pollState });
    // Only now is it certain that they are acknowledged.
    tally.acknowledged(handled);
    tally.delivered(last.messages);
    handled = [];
    for (const message of last.messages) {
      await handle(message);
      handled.push(message);
    }
    // What was just handled is acknowledged without a pause, so that no lease ends over it.
    if (handled.length === 0) await pause(Math.min(last.pollAfterMs, MOST_PAUSE_MS), signal);
  }
}
