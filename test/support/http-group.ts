import { openStream } from "../../shared/stream/stream.ts";
import { openRedis } from "./redis.ts";
import type { Delivery } from "./streams.ts";
import type { Answer, WorkerUnderTest } from "./worker.ts";

let made = 0;

/** A stream with one group `g` that reads from its beginning, as a client of the Worker sees it. */
export async function makeHttpGroup(worker: WorkerUnderTest, settings: object = {}, count = 0) {
  const name = `d${made++}`;
  const path = `/v1/streams/${name}`;
  const group = `${path}/groups/g`;
  await expectStatus(worker.call("PUT", path, { maxMessageBytes: 1_024 }), 201);
  await expectStatus(worker.call("PUT", group, { start: "earliest", ...settings }), 201);
  const post = (what: string, body: object) => worker.call("POST", `${group}/${what}`, body);
  const produce = async (number: number): Promise<string[]> => {
    const messages = Array.from({ length: number }, (_, i) => ({ type: i % 2 === 0 ? "even" : "odd", data: i }));
    return (await expectStatus(worker.call("POST", `${path}/messages`, { messages }), 201)).json.ids;
  };
  const ids = count === 0 ? [] : await produce(count);
  return {
    name,
    path,
    group,
    ids,
    post,
    produce,
    /** For what needs another way in than HTTP: letting time pass. */
    stream: openStream(openRedis(), worker.prefix, name),
    consume: async (body: object = {}) => (await expectStatus(post("consume", { consumer: "a", ...body }), 200)).json,
    settle: async (body: object) => (await expectStatus(post("settle", body), 200)).json.settled,
    info: async () => (await expectStatus(worker.call("GET", group), 200)).json,
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
