import type { GroupClient } from "../group.ts";
import { type ConsumerEvents, Intake, type IntakeOptions } from "./intake.ts";
import type { ReceivedMessage } from "./received.ts";

export interface MessagesOptions extends IntakeOptions {
  /** Ends the loop as `break` does. */
  readonly signal?: AbortSignal | undefined;
  /** Told of errors, none of which ends the loop. */
  readonly onError?: ((error: ConsumerEvents["error"]) => void) | undefined;
}

/**
 * The messages of a group, one by one, for a loop that settles each by itself. At most `concurrency` of them may be
 * unsettled at once; the next one comes when one of them is settled.
 */
export async function* messagesOf(
  group: GroupClient,
  { signal, onError, ...options }: MessagesOptions,
): AsyncGenerator<ReceivedMessage, void, undefined> {
  let wake: () => void = () => undefined;
  const intake = new Intake(group, options, () => wake());
  if (onError !== undefined) intake.events.on("error", onError);
  const stop = () => wake();
  signal?.addEventListener("abort", stop);
  intake.start();
  try {
    while (!signal?.aborted) {
      const arrival = new Promise<void>((resolve) => {
        wake = resolve;
      });
      const message = intake.working < intake.concurrency ? intake.next() : undefined;
      if (message === undefined) await arrival;
      else yield message;
    }
  } finally {
    signal?.removeEventListener("abort", stop);
    intake.beginStop();
    await intake.finish(group.timeoutMs);
  }
}
