import type { ConsumeRequest, GroupSettings, SettleRequest } from "../../client/index.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { clientOf } from "./client.ts";
import { openRedis } from "./redis.ts";
import type { Delivery } from "./streams.ts";
import type { Answer, WorkerUnderTest } from "./worker.ts";

let made = 0;

/** A stream with one group `g` that reads from its beginning, as a client of the Worker sees it. Nothing is repeated. */
export async function makeHttpGroup(worker: WorkerUnderTest, settings: GroupSettings = {}, count = 0) {
  const name = `d${made++}`;
  const path = `/v1/streams/${name}`;
  const group = `${path}/groups/g`;
  const client = clientOf(worker, { retry: 0 }).stream(name);
  const inGroup = client.group("g");
  await client.put({ maxMessageBytes: 1_024 });
  await inGroup.put({ start: "earliest", ...settings });
  const produce = (number: number): Promise<readonly string[]> => {
    const messages = Array.from({ length: number }, (_, i) => ({ type: i % 2 === 0 ? "even" : "odd", data: i }));
    return client.produce(messages, { idempotent: false });
  };
  const ids = count === 0 ? [] : await produce(count);
  return {
    name,
    path,
    group,
    ids,
    post: (what: string, body: object) => worker.call("POST", `${group}/${what}`, body),
    produce,
    /** For what needs another way in than HTTP: letting time pass. */
    stream: openStream(openRedis(), worker.prefix, name),
    consume: (request: Partial<ConsumeRequest> = {}) => inGroup.consume({ consumer: "a", ...request }),
    settle: (request: SettleRequest) => inGroup.settle(request),
    info: () => inGroup.get(),
  };
}

export type HttpGroup = Awaited<ReturnType<typeof makeHttpGroup>>;

export async function expectStatus(answer: Promise<Answer>, status: number): Promise<Answer> {
  const got = await answer;
  if (got.status !== status) throw new Error(`expected ${status}, got ${got.status}: ${got.text.slice(0, 500)}`);
  return got;
}

export function leases(messages: readonly Delivery[]): string[] {
  return messages.map(({ lease }) => lease);
}

export function idsOf(messages: readonly Delivery[]): string[] {
  return messages.map(({ id }) => id);
}
