import type { ClientOptions } from "../../client/http.ts";
import {
  Consumer,
  type ConsumerOptions,
  type GroupClient,
  type GroupSettings,
  type NewMessage,
  type StreamClient,
  type WeirClient,
} from "../../client/index.ts";
import { clientOf } from "./client.ts";
import { eventually } from "./wait.ts";
import type { WorkerUnderTest } from "./worker.ts";

/** A stream with a group that reads from its beginning. */
export interface Filled {
  /** A client that no fault meets. */
  readonly weir: WeirClient;
  readonly name: string;
  readonly stream: StreamClient;
  readonly group: GroupClient;
}

let made = 0;

/** Makes a stream of so many messages, or of these, with a group `g`; a number's data is the number, its type `n`. */
export async function filled(
  worker: Pick<WorkerUnderTest, "url">,
  messages: number | readonly NewMessage[],
  settings: GroupSettings = {},
): Promise<Filled> {
  const weir = clientOf(worker);
  const name = `consumed-${made++}`;
  const stream = weir.stream(name);
  await stream.put();
  const group = stream.group("g");
  await group.put({ start: "earliest", ...settings });
  const all = typeof messages === "number" ? numbered(messages) : messages;
  for (let from = 0; from < all.length; from += 1_000) await stream.produce(all.slice(from, from + 1_000));
  return { weir, name, stream, group };
}

function numbered(count: number): NewMessage[] {
  return Array.from({ length: count }, (_, i) => ({ type: "n", data: i }));
}

/** What a handler's options are besides it. */
export type Others = Omit<ConsumerOptions, "handler" | "batchHandler" | "stream" | "group">;

/** A consumer of that group, started, with what it told; `client` is how it reaches Weir. */
export function consuming(
  worker: Pick<WorkerUnderTest, "url">,
  { name }: Pick<Filled, "name">,
  handler: NonNullable<ConsumerOptions["handler"]>,
  { client = {}, ...others }: Others & { readonly client?: Partial<ClientOptions> } = {},
) {
  const consumer = new Consumer(clientOf(worker, client), { stream: name, group: "g", handler, ...others });
  const errors: unknown[] = [];
  const lost: string[] = [];
  consumer.on("error", (error) => errors.push(error));
  consumer.on("leaseLost", ({ id }) => lost.push(id));
  consumer.start();
  return { consumer, errors, lost };
}

/** Waits until the group has nothing that it is not done with. */
export function drained(group: GroupClient): Promise<unknown> {
  return eventually("the group is done with all", async () => {
    const { lag, pending, delayed } = await group.get();
    return lag === 0 && pending === 0 && delayed === 0;
  });
}

/** Something to wait for. */
export function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  const { promise: opened, resolve: open } = Promise.withResolvers<void>();
  return { opened, open };
}
