// The producer: batches with an Idempotency-Key each, so that a repeated request appends nothing.

import type { Progress } from "../progress.ts";
import type { NewMessage, StreamApi } from "./api.ts";
import type { Tally } from "./tally.ts";

const MOST_PER_REQUEST = 100;

/**
 * Produces all messages in order, and the first request once more.
 *
 * @throws Error when the repeated request did not answer what the first one did, or appended anything
 */
export async function feed(
  api: StreamApi,
  messages: readonly NewMessage[],
  tally: Tally,
  progress: Progress,
): Promise<void> {
  const counted = api.countedBy(tally.producing);
  for (let from = 0; from < messages.length; from += MOST_PER_REQUEST) {
    const batch = messages.slice(from, from + MOST_PER_REQUEST);
    const { ids } = await counted.produce(batch, idempotencyKey(api, from));
    tally.produced(ids, batch);
    if (from === 0) await repeat(api, batch, ids, progress);
  }
  const length = await api.length();
  if (length !== messages.length) throw new Error(`produced ${messages.length} messages, the stream holds ${length}`);
  progress.say(`produced ${messages.length} messages; the stream holds ${length}`);
}

/** As a producer does that never saw the answer: not counted into the costs, it is no part of the work. */
async function repeat(api: StreamApi, batch: readonly NewMessage[], ids: readonly string[], progress: Progress) {
  const again = await api.produce(batch, idempotencyKey(api, 0));
  if (!again.replayed || again.ids.join() !== ids.join()) {
    throw new Error("a repeated request with the same Idempotency-Key produced its messages again");
  }
  progress.say(`repeated the first request: the same ${ids.length} ids, nothing appended`);
}

function idempotencyKey(api: StreamApi, from: number): string {
  return `${api.stream}-${from}`;
}
