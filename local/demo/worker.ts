// A consumer as most are.
import { once } from "node:events";
import { Consumer, type Delivery } from "../../client/index.ts";
import type { Progress } from "../progress.ts";
import { connect, type Endpoint } from "./connect.ts";
import type { GroupTally } from "./tally.ts";

/** Does the work for one message. */
export type Handler = (message: Pick<Delivery, "type" | "attributes" | "deliveries">) => Promise<void>;

/** `finished` ends the consumer in order. */
export interface WorkerOptions {
  readonly endpoint: Endpoint;
  readonly stream: string;
  readonly group: string;
  readonly consumer: string;
  readonly handle: Handler;
  readonly tally: GroupTally;
  readonly progress: Progress;
  readonly finished: AbortSignal;
}

/** Consumes until it is finished. */
export async function work(options: WorkerOptions): Promise<void> {
  const { endpoint, stream, group, consumer: name, handle, tally, progress, finished } = options;
  if (finished.aborted) return;
  await using consumer = new Consumer(connect(endpoint, tally.usage), {
    stream,
    group,
    name,
    async handler(message) {
      await handle(message);
      tally.handled([message]);
    },
  });
  consumer.on("batch", ({ redelivered }) => {
    tally.redelivered += redelivered;
  });
  consumer.on("error", (error) => progress.say(`${group}/${name}: ${error instanceof Error ? error.message : error}`));
  consumer.start();
  await once(finished, "abort");
}
