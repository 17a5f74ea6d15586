// What happens in the demo: one stream of webhooks, a group in which all is well and one in which consumers crash.

import type { Progress } from "../progress.ts";
import type { StreamApi } from "./api.ts";
import { crashMidBatch, poisonedBy, restartOnCrash } from "./crash.ts";
import { feed } from "./feed.ts";
import { pause } from "./pause.ts";
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
  readonly api: StreamApi;
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
  await createGroups(scene.api);
  const startedMs = performance.now();
  const finished = new AbortController();
  const consumers = [calmGroup(scene, tally, finished.signal), troubledGroup(scene, tally, finished.signal)];
  try {
    const done = feed(scene.hooks, scene.api, scene.webhooks, tally, scene.progress).then(() => drained(scene, tally));
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
async function createGroups(api: StreamApi): Promise<void> {
  for (const [group, maxDeliveries] of Object.entries(MAX_DELIVERIES)) {
    await api.createGroup(group, { start: "earliest", ackWaitMs: ACK_WAIT_MS, maxDeliveries });
  }
}

/** One consumer that works. */
async function calmGroup({ api, signal }: Scene, tally: Tally, finished: AbortSignal): Promise<void> {
  const group = { group: CALM, tally: tally.group(CALM), finished, signal };
  await work(api, { ...group, consumer: "only", batchSize: 25, handle: takingMs(2, signal) });
}

/** One consumer that dies in the middle of its first batch, then two that share, and that one message kills. */
async function troubledGroup(scene: Scene, tally: Tally, finished: AbortSignal): Promise<void> {
  const { api, webhooks, progress, signal } = scene;
  const group = { group: TROUBLED, batchSize: 10, tally: tally.group(TROUBLED), finished, signal };
  await crashMidBatch(api, { ...group, consumer: "mortal", keep: 4 }, progress);
  const handle = poisonedBy(poisonOf(webhooks), takingMs(5, signal));
  const consumer = (name: string) =>
    restartOnCrash(`${TROUBLED}/${name}`, () => work(api, { ...group, consumer: name, handle }), progress);
  await Promise.all([consumer("left"), consumer("right")]);
}

/** Stands for the work that a real handler would do. */
function takingMs(ms: number, signal: AbortSignal): Handler {
  return () => pause(ms, signal);
}

/** The delivery id of the message that no consumer of the troubled group survives: one from the middle. */
function poisonOf(webhooks: readonly Webhook[]): string {
  return webhooks[poisonIndex(webhooks)]?.delivery ?? "";
}

function poisonIndex(webhooks: readonly Webhook[]): number {
  return Math.floor(webhooks.length / 2);
}

/** Waits until no group has anything left to do, but not for ever: then the result says what is left. */
async function drained({ api, progress, signal }: Scene, tally: Tally): Promise<void> {
  const deadline = performance.now() + DRAIN_TIMEOUT_MS;
  while (performance.now() < deadline) {
    const states = await Promise.all(GROUPS.map((group) => api.groupState(group)));
    progress.status(GROUPS.map((group) => `${group} ${tally.group(group).acknowledgedPayloads.size}`).join(", "));
    if (states.every(({ lag, pending, delayed }) => lag === 0 && pending === 0 && delayed === 0)) return;
    await pause(250, signal);
  }
  progress.say(`not done after ${DRAIN_TIMEOUT_MS / 1_000} s: gave up waiting`);
}

async function reckonAll({ api, webhooks }: Scene, tally: Tally): Promise<Map<string, Outcome>> {
  const poison = [...tally.payloads.keys()][poisonIndex(webhooks)];
  const outcomes = new Map<string, Outcome>();
  for (const group of GROUPS) {
    const [deadLetters, state] = [await api.deadLetters(group), await api.groupState(group)];
    const { acknowledgedPayloads } = tally.group(group);
    outcomes.set(group, reckon(tally.payloads, acknowledgedPayloads, deadLetters, state, poison));
  }
  return outcomes;
}
