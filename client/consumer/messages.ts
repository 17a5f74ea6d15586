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
export function messagesOf(
  group: GroupClient,
  { signal, onError, ...options }: MessagesOptions,
): AsyncGenerator<ReceivedMessage, void, undefined> {
  const ending = new Ending();
  const intake = new Intake(group, options, () => ending.wake());
  if (onError !== undefined) intake.events.on("error", onError);
  const messages = loop(intake, ending, group.timeoutMs, signal);
  // A generator that waits in next() lets return() wait, too: for a message that may never come.
  const end = messages.return.bind(messages);
  messages.return = (value) => {
    ending.isEnded = true;
    ending.wake();
    return end(value);
  };
  return messages;
}

/** How a loop is told that it is over, or that it may go on. */
class Ending {
  isEnded = false;
  wake: () => void = () => undefined;
}

async function* loop(
  intake: Intake,
  ending: Ending,
  withinMs: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<ReceivedMessage, void, undefined> {
  const stop = () => ending.wake();
  signal?.addEventListener("abort", stop);
  intake.start();
  try {
    while (!signal?.aborted && !ending.isEnded) {
      const arrival = new Promise<void>((resolve) => {
        ending.wake = resolve;
      });
      const message = intake.working < intake.concurrency ? intake.next() : undefined;
      if (message === undefined) await arrival;
      else yield message;
    }
  } finally {
    signal?.removeEventListener("abort", stop);
    intake.beginStop();
    await intake.finish(withinMs);
  }
}
