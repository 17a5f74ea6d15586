// The main paths of the HTTP contract, step by step, against any deployment.
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { type Answer, type Client, same, Unexpected } from "./client.ts";

/** How a step ended. */
export interface StepResult {
  readonly name: string;
  readonly ms: number;
  /** What was expected and what came; undefined when all was well. */
  readonly fault: string | undefined;
}

const Delivery = z.object({ id: z.string(), data: z.unknown(), deliveries: z.int(), lease: z.string() });
const Batch = z.object({
  messages: z.array(Delivery),
  settled: z.object({
    acked: z.int(),
    retried: z.int(),
    rejected: z.int(),
    released: z.int(),
    extended: z.int(),
    stale: z.array(z.object({ lease: z.string(), outcome: z.string() })),
  }),
  ackWaitMs: z.int(),
  pollState: z.string(),
  pollAfterMs: z.int(),
});
const Ids = z.object({ ids: z.array(z.string()) });
const Group = z.object({
  name: z.string(),
  lag: z.int().nullable(),
  pending: z.int(),
  delayed: z.int(),
  deadLetters: z.int(),
});
const Problem = z.object({ type: z.string(), title: z.string(), status: z.int(), code: z.string() });
const DeadLetters = z.object({
  deadLetters: z.array(z.object({ id: z.string(), reason: z.string(), detail: z.string().nullable() })),
});

/** The shortest lease that there is: the one thing that has to be waited for. */
const LEASE_MS = 1_000;

/** The stream of one walk, as its steps see it. */
class Walk {
  readonly client: Client;
  readonly stream: string;
  readonly group: string;
  ids: readonly string[] = [];

  constructor(client: Client, name: string) {
    this.client = client;
    this.stream = `/v1/streams/${name}`;
    this.group = `${this.stream}/groups/g`;
  }

  async consume(body: object, group = this.group) {
    const answer = await this.client.expect(200, "POST", `${group}/consume`, { body: { consumer: "verify", ...body } });
    return read(Batch, answer);
  }

  async settle(body: object) {
    const answer = await this.client.expect(200, "POST", `${this.group}/settle`, { body });
    return read(Batch.pick({ settled: true }), answer).settled;
  }

  async info(group = this.group) {
    return read(Group, await this.client.expect(200, "GET", group));
  }

  async refused(status: number, code: string, ...request: Parameters<Client["send"]>): Promise<void> {
    const answer = await this.client.expect(status, ...request);
    same("code", read(Problem, answer).code, code);
  }

  /** Polls until messages come: what is due is handed out by the first poll that looks. */
  async consumeSome(body: object, count: number) {
    const found: z.output<typeof Delivery>[] = [];
    for (let polls = 0; polls < 20 && found.length < count; polls++) found.push(...(await this.consume(body)).messages);
    if (found.length !== count) throw new Unexpected(`expected ${count} messages within 20 polls, got ${found.length}`);
    return found;
  }
}

function read<Schema extends z.ZodType>(schema: Schema, { json, text }: Answer): z.output<Schema> {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new Unexpected(
    `expected another answer (${z.prettifyError(parsed.error).replaceAll("\n", " ")}), got ${text.slice(0, 300)}`,
  );
}

const leasesOf = (messages: readonly z.output<typeof Delivery>[]) => messages.map(({ lease }) => lease);

/** Each step, in order; later ones stand on what earlier ones left. */
const STEPS: readonly (readonly [name: string, run: (walk: Walk) => Promise<void>])[] = [
  [
    "is up, and reaches Redis",
    async ({ client }) => {
      await client.expect(200, "GET", "/healthz", { token: null });
      await client.expect(200, "GET", "/readyz", { token: null });
    },
  ],
  [
    "refuses who has no token, or a wrong one",
    async (walk) => {
      await walk.refused(401, "unauthenticated", "GET", walk.stream, { token: null });
      await walk.refused(401, "unauthenticated", "GET", walk.stream, { token: "not-the-token" });
    },
  ],
  [
    "creates a stream and a group, and changes them",
    async (walk) => {
      await walk.refused(404, "unknown-stream", "GET", walk.stream);
      await walk.client.expect(201, "PUT", walk.stream, { body: { dedupeWindowMs: 60_000 } });
      await walk.client.expect(200, "PUT", walk.stream, { body: {} });
      await walk.client.expect(201, "PUT", walk.group, { body: { start: "earliest", maxDeliveries: 3 } });
      await walk.client.expect(200, "PUT", walk.group, { body: { ackWaitMs: 30_000 } });
      await walk.refused(409, "conflict", "PUT", walk.group, { body: { start: "latest" } });
      await walk.refused(400, "invalid-request", "PUT", walk.group, { body: { maxDeliveries: 0 } });
    },
  ],
  [
    "produces a batch, once per Idempotency-Key",
    async (walk) => {
      const path = `${walk.stream}/messages`;
      const messages = [1, 2, 3, 4, 5, 6].map((n) => ({ type: "verify.number", data: { n, text: "ü \u{1f30a} 1.0" } }));
      const headers = { "idempotency-key": "verify-1" };
      walk.ids = read(Ids, await walk.client.expect(201, "POST", path, { body: { messages }, headers })).ids;
      const again = await walk.client.expect(201, "POST", path, { body: { messages }, headers });
      same("ids of the repeat", read(Ids, again).ids, walk.ids);
      same("Idempotency-Replayed", again.headers.get("idempotency-replayed"), "true");
      await walk.refused(422, "idempotency-mismatch", "POST", path, { body: { messages: [{ data: 0 }] }, headers });
      const lines = { "content-type": "application/x-ndjson" };
      const ndjson = await walk.client.expect(201, "POST", path, { body: '{"data":7}\n{"data":8}\n', headers: lines });
      same("ids of two lines", read(Ids, ndjson).ids.length, 2);
      await walk.refused(404, "unknown-stream", "POST", `${walk.stream}-none/messages`, {
        body: { messages: [{ data: 1 }] },
      });
    },
  ],
  [
    "hands out in order, and takes acknowledgements with the next poll",
    async (walk) => {
      const first = await walk.consume({ batchSize: 8 });
      same(
        "ids",
        first.messages.slice(0, 6).map(({ id }) => id),
        walk.ids,
      );
      same("data", first.messages[0]?.data, { n: 1, text: "ü \u{1f30a} 1.0" });
      const acks = leasesOf(first.messages.slice(5));
      const next = await walk.consume({ acks, pollState: first.pollState });
      same("acknowledged", next.settled.acked, 3);
      same("second batch", next.messages.length, 0);
      const [a = "", b = "", c = "", d = "", e = ""] = leasesOf(first.messages);
      const settled = await walk.settle({
        retries: [{ lease: a, delayMs: 0 }],
        rejects: [{ lease: b, reason: "not wanted" }],
        releases: [c],
        extends: [d],
        acks: [e],
      });
      same("settled", settled, { acked: 1, retried: 1, rejected: 1, released: 1, extended: 1, stale: [] });
      const stale = await walk.settle({ rejects: [{ lease: a }], acks: ["rubbish"] });
      same("outcomes", stale.stale.map(({ outcome }) => outcome).sort(), ["malformed", "settled"]);
      await walk.settle({ acks: [d] });
    },
  ],
  [
    "hands out again what was retried and what was released",
    async (walk) => {
      const found = await walk.consumeSome({ batchSize: 8 }, 2);
      same("deliveries", found.map(({ deliveries }) => deliveries).sort(), [1, 2]);
      same("acknowledged", (await walk.settle({ acks: leasesOf(found) })).acked, 2);
    },
  ],
  [
    "keeps what was rejected as a dead letter, and drives it again",
    async (walk) => {
      const path = `${walk.group}/dead-letters`;
      const { deadLetters } = read(DeadLetters, await walk.client.expect(200, "GET", path));
      same(
        "reasons",
        deadLetters.map(({ reason, detail }) => [reason, detail]),
        [["rejected", "not wanted"]],
      );
      const body = { ids: deadLetters.map(({ id }) => id) };
      await walk.client.expect(200, "POST", `${path}/redrive`, { body });
      same("acknowledged", (await walk.settle({ acks: leasesOf(await walk.consumeSome({}, 1)) })).acked, 1);
    },
  ],
  [
    `hands on what a crashed consumer held, once its lease of ${LEASE_MS} ms has ended`,
    async (walk) => {
      const group = `${walk.stream}/groups/crashes`;
      await walk.client.expect(201, "PUT", group, {
        body: { start: "earliest", ackWaitMs: LEASE_MS, maxDeliveries: 5 },
      });
      const crashed = await walk.consume({ consumer: "crashes", batchSize: 3 }, group);
      same("handed out", crashed.messages.length, 3);
      const others = await walk.consume({ consumer: "other", batchSize: 10 }, group);
      await walk.client.expect(200, "POST", `${group}/settle`, { body: { acks: leasesOf(others.messages) } });
      await sleep(LEASE_MS + 250);
      const again = await walk.consume({ consumer: "other", batchSize: 10 }, group);
      same(
        "again",
        again.messages.map(({ id, deliveries }) => [id, deliveries]),
        walk.ids.slice(0, 3).map((id) => [id, 2]),
      );
      await walk.client.expect(204, "DELETE", group);
    },
  ],
  [
    "shows what is pending, claims it, and hands over what a leaving consumer held",
    async (walk) => {
      await walk.client.expect(200, "POST", `${walk.group}/replay`, { body: { ids: walk.ids.slice(0, 2) } });
      const held = await walk.consumeSome({ consumer: "leaves" }, 2);
      const list = z.object({
        pending: z.array(z.object({ id: z.string(), lease: z.string(), leaseEndsAt: z.int() })),
      });
      const { pending } = read(list, await walk.client.expect(200, "GET", `${walk.group}/pending`));
      same("pending", pending.map(({ lease }) => lease).sort(), leasesOf(held).sort());
      await walk.refused(400, "invalid-request", "POST", `${walk.group}/claim`, {
        body: { consumer: "ops", minIdleMs: 0 },
      });
      const body = { consumer: "ops", ids: walk.ids.slice(0, 1), minIdleMs: 0, force: true };
      const claimed = await walk.client.expect(200, "POST", `${walk.group}/claim`, { body });
      same(
        "claimed",
        read(Batch.pick({ messages: true }), claimed).messages.map(({ deliveries }) => deliveries),
        [2],
      );
      const left = await walk.client.expect(200, "DELETE", `${walk.group}/consumers/leaves?handoverTo=heir`);
      same("handed over", left.json, { handedOver: 1 });
      const heir = await walk.consume({ consumer: "heir", recover: true });
      const mine = await walk.consume({ consumer: "ops", recover: true });
      same("recovered", [heir.messages.length, mine.messages.length], [1, 1]);
      await walk.settle({ acks: leasesOf([...heir.messages, ...mine.messages]) });
    },
  ],
  [
    "tells where a message is, and what is delayed",
    async (walk) => {
      const [id = ""] = walk.ids;
      await walk.client.expect(200, "POST", `${walk.group}/replay`, { body: { ids: [id] } });
      const delayed = z.object({ delayed: z.array(z.object({ id: z.string(), from: z.string() })) });
      const list = read(delayed, await walk.client.expect(200, "GET", `${walk.group}/delayed`));
      same("delayed", list.delayed, [{ id, from: "replay" }]);
      const States = z.object({ states: z.array(z.object({ group: z.string(), state: z.string() })) });
      const states = read(States, await walk.client.expect(200, "GET", `${walk.stream}/messages/${id}/states`));
      same("states", states.states, [{ group: "g", state: "delayed" }]);
      await walk.settle({ acks: leasesOf(await walk.consumeSome({}, 1)) });
    },
  ],
  [
    "seeks back, and reads a range without touching the group",
    async (walk) => {
      await walk.client.expect(200, "POST", `${walk.group}/seek`, { body: { to: "earliest" } });
      same("lag", (await walk.info()).lag, 8);
      const range = z.object({ messages: z.array(z.object({ id: z.string() })), next: z.string().nullable() });
      const page = read(range, await walk.client.expect(200, "GET", `${walk.stream}/messages?limit=2`));
      same(
        "page",
        page.messages.map(({ id }) => id),
        walk.ids.slice(0, 2),
      );
      const all = await walk.consumeSome({ batchSize: 8 }, 8);
      await walk.settle({ acks: leasesOf(all) });
      const { lag, pending, delayed, deadLetters } = await walk.info();
      same("figures", { lag, pending, delayed, deadLetters }, { lag: 0, pending: 0, delayed: 0, deadLetters: 0 });
    },
  ],
  [
    "trims what is done with, and tells what retention would take",
    async (walk) => {
      await walk.client.expect(200, "GET", `${walk.stream}/retention`);
      const trimmed = await walk.client.expect(200, "POST", `${walk.stream}/trim`, {
        body: { maxLength: 3, exact: true },
      });
      same("trimmed", trimmed.json, { trimmed: 5, keptFor: [], next: null });
    },
  ],
  [
    "runs its reaper, and keeps the reports",
    async ({ client }) => {
      await client.expect(200, "POST", "/v1/reaper/run");
      const runs = z.object({ runs: z.array(z.object({ startedAt: z.int(), complete: z.boolean() })) });
      if (read(runs, await client.expect(200, "GET", "/v1/reaper")).runs.length === 0) {
        throw new Unexpected("expected the report of a run, got none");
      }
    },
  ],
  [
    "answers metrics, alerts and its own description",
    async ({ client }) => {
      await client.expect(200, "GET", "/metrics");
      await client.expect(200, "GET", "/v1/alerts");
      await client.expect(200, "GET", "/openapi.json", { token: null });
    },
  ],
  [
    "deletes the stream",
    async (walk) => {
      await walk.client.expect(204, "DELETE", walk.stream);
      await walk.refused(404, "unknown-stream", "GET", walk.group);
    },
  ],
];

/**
 * Walks all steps; after one that fails the others, which stand on it, are left out, but the stream is deleted.
 * @param name of a stream that is not there
 * @param onStep is told of each step as it ends
 * @returns whether all was well, and how many steps were left out
 */
export async function walk(
  client: Client,
  name: string,
  onStep: (result: StepResult) => void,
): Promise<{ isWell: boolean; leftOut: number }> {
  const walk = new Walk(client, name);
  for (const [at, [step, run]] of STEPS.entries()) {
    const started = performance.now();
    const fault = await run(walk).then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
    onStep({ name: step, ms: Math.round(performance.now() - started), fault });
    if (fault !== undefined) return { isWell: false, leftOut: STEPS.length - at - 1 };
  }
  return { isWell: true, leftOut: 0 };
}
