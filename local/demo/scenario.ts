// What happens in the demo: one stream of webhooks, a group in which all is well and one in which consumers crash.
import { setTimeout as sleep } from "node:timers/promises";
import type { StreamClient } from "../../client/index.ts";
import type { Progress } from "../progress.ts";
import type { Endpoint } from "./connect.ts";
import { crashMidBatch, poisonedBy, workAndCrash } from "./crash.ts";
import { feed } from "./feed.ts";
import { type Outcome, reckon, Tally } from "./tally.ts";
import type { Webhook, WebhookApi } from "./webhook-api.ts";
import { type Handler, work } from "./worker.ts";

const CALM = "archive";
const TROUBLED = "alerts";
/** The least that Weir allows: the shorter, the sooner a crashed consumer's messages are handed out again. */
const ACK_WAIT_MS = 1_000;
const MAX_DELIVERIES = { [CALM]: 5, [TROUBLED]: 3 };
const GROUPS = Object.keys(MAX_DELIVERIES);
const DRAIN_TIMEOUT_MS = 60_000;

/** `signal` calls all of it off. */
export interface Scene {
  readonly endpoint: Endpoint;
  readonly stream: StreamClient;
  readonly hooks: WebhookApi;
  readonly webhooks: readonly Webhook[];
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** What came out, by group, and how long it took. */
export interface Result {
  readonly tally: Tally;
  readonly outcomes: ReadonlyMap<string, Outcome>;
  readonly durationMs: number;
}

/**
 * Plays it in a stream that is empty, and which is left behind.
 *
 * @throws what went wrong on the way; a message that got lost is no error, but part of the result
 */
export async function play(scene: Scene): Promise<Result> {
  const tally = new Tally(MAX_DELIVERIES);
  await createGroups(scene);
  const startedMs = performance.now();
  const finished = new AbortController();
  const consumers = [calmGroup(scene, tally, finished.signal), troubledGroup(scene, tally, finished.signal)];
  try {
    const { hooks, stream, webhooks, progress, signal } = scene;
    const done = feed(hooks, stream, webhooks, tally, progress, signal).then(() => drained(scene, tally));
    // Consumers end only when they are told to, or when something went wrong.
    await Promise.race([done, Promise.all(consumers).then(() => done)]);
  } finally {
    finished.abort();
    await Promise.allSettled(consumers);
  }
  await Promise.all(consumers);
  return { tally, durationMs: performance.now() - startedMs, outcomes: await reckonAll(scene, tally) };
}

/** From the start of the stream: what is produced later is theirs, however late they begin to consume. */
async function createGroups({ stream, signal }: Scene): Promise<void> {
  for (const [group, maxDeliveries] of Object.entries(MAX_DELIVERIES)) {
    await stream.group(group).put({ start: "earliest", ackWaitMs: ACK_WAIT_MS, maxDeliveries }, { signal });
  }
}

/** One consumer that works. */
async function calmGroup({ endpoint, stream, progress }: Scene, tally: Tally, finished: AbortSignal): Promise<void> {
  const part = { endpoint, stream: stream.name, group: CALM, tally: tally.group(CALM), progress, finished };
  await work({ ...part, consumer: "only", handle: takingMs(2) });
}

/** One consumer that dies in the middle of its first batch, then two that share, and that one message kills. */
async function troubledGroup(scene: Scene, tally: Tally, finished: AbortSignal): Promise<void> {
  const { webhooks, hooks: _, ...rest } = scene;
  const part = { ...rest, group: TROUBLED, batchSize: 10, tally: tally.group(TROUBLED), finished };
  await crashMidBatch({ ...part, consumer: "mortal" }, 4);
  const handle = poisonedBy(poisonOf(webhooks), takingMs(5));
  await Promise.all(["left", "right"].map((consumer) => workAndCrash({ ...part, consumer }, handle)));
}

/** Stands for the work that a real handler would do. */
function takingMs(ms: number): Handler {
  return () => sleep(ms);
}

/** The delivery id of the message that no consumer of the troubled group survives: one from the middle. */
function poisonOf(webhooks: readonly Webhook[]): string {
  return webhooks[poisonIndex(webhooks)]?.delivery ?? "";
}

function poisonIndex(webhooks: readonly Webhook[]): number {
  return Math.floor(webhooks.length / 2);
}

/** Waits until no group has anything left to do, but not for ever: then the result says what is left. */
async function drained({ stream, progress, signal }: Scene, tally: Tally): Promise<void> {
  const deadline = performance.now() + DRAIN_TIMEOUT_MS;
  while (performance.now() < deadline) {
    const states = await Promise.all(GROUPS.map((group) => stream.group(group).get({ signal })));
    progress.status(GROUPS.map((group) => `${group} ${tally.group(group).handledPayloads.size}`).join(", "));
    if (states.every(({ lag, pending, delayed }) => lag === 0 && pending === 0 && delayed === 0)) return;
    await sleep(250, undefined, { signal });
  }
  progress.say(`not done after ${DRAIN_TIMEOUT_MS / 1_000} s: gave up waiting`);
}

async function reckonAll({ stream, webhooks, signal }: Scene, tally: Tally): Promise<Map<string, Outcome>> {
  const poison = [...tally.payloads.keys()][poisonIndex(webhooks)];
  const outcomes = new Map<string, Outcome>();
  for (const group of GROUPS) {
    const client = stream.group(group);
    const deadLetters = await client.deadLetters({}, { signal }).toArray();
    const deadLettered = deadLetters.map(({ message }) => message);
    const { handledPayloads } = tally.group(group);
    outcomes.set(group, reckon(tally.payloads, handledPayloads, deadLettered, await client.get({ signal }), poison));
  }
  return outcomes;
}
