// A soak: many messages through produce, consume with failures, sweep and trim, by clients of a server of its own, on a Redis
// of its own. Some answers get lost on their way. Every message must be appended once and end acknowledged or dead in each
// group, while Redis and this process stay within bounds. Leases expire by time.
//   MESSAGES=200000 node test/soak/soak.ts
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type ConsumeRequest,
  type Delivery,
  FullError,
  type GroupClient,
  type NewMessage,
  WeirClient,
} from "../../client/index.ts";
import { startServer } from "../../functions/server/server.ts";
import { startRedis } from "../../local/redis.ts";
import { Redis } from "../../shared/redis/redis.ts";
import { TcpConnection } from "../../shared/redis/tcp.ts";
import { decodeStreamFacts } from "../../shared/redis/xinfo.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { Ledger } from "./ledger.ts";
import { MemoryWatch } from "./memory-watch.ts";

const MESSAGES = Number(process.env.MESSAGES ?? 1_000_000);
const PREFIX = "soak:";
const PRODUCERS = 2;
const PRODUCE_BATCH = 500;
const CONSUME_BATCH = 200;
const ACK_WAIT_MS = 1_000;
/** The stream holds this many at most: producers wait then, as stream-full tells them to. */
const MAX_LENGTH = 50_000;
const REAPER_EVERY_MS = 1_000;
const PROGRESS_EVERY_MS = 5_000;
const STALLED_AFTER_MS = 60_000;
const PADDING = "x".repeat(80);
/** The part of the answers that get lost: what asked for them is asked again. */
const LOST_ANSWERS = 0.01;
/** For half of it a produce may be repeated; what is remembered of each is memory in Redis. */
const DEDUPE_WINDOW_MS = 30_000;
const TOKEN = "root-token-of-the-soak";

/** How a group's consumers fail, as probabilities of a batch or of a message. */
interface Failures {
  /** Of a batch: it is dropped, and its consumer comes back under its own name or another one. */
  readonly crash: number;
  /** Of a batch: it is acknowledged after its leases have expired. */
  readonly lateAck: number;
  /** Of a message. */
  readonly retry: number;
  readonly reject: number;
}

const GROUPS: readonly { readonly name: string; readonly consumers: number; readonly failures: Failures }[] = [
  { name: "work", consumers: 6, failures: { crash: 0.02, lateAck: 0.01, retry: 0.01, reject: 0.001 } },
  { name: "audit", consumers: 2, failures: { crash: 0.005, lateAck: 0, retry: 0, reject: 0 } },
];

if (!Number.isSafeInteger(MESSAGES) || MESSAGES < 1) throw new Error("MESSAGES: expected a whole number above 0");

const dir = await mkdtemp(join(tmpdir(), "weir-soak-"));
const redisServer = await startRedis({ dir });
const env = { ROOT_TOKEN: TOKEN, REDIS_URL: redisServer.url, KEY_PREFIX: PREFIX, REQUEST_LOG: "off" };
// Its own reaper never runs: the soak's upkeep does that by hand, to see what each run reports.
const server = await startServer(env, { host: "127.0.0.1", port: 0, reaperIntervalMs: 86_400_000 });
/** For what no client sees: what Redis holds. */
const connection = new TcpConnection({ url: redisServer.url, timeoutMs: 30_000 });
const redis = new Redis(connection);
const started = performance.now();
let produced = 0;
let refusedFull = 0;
let reaperRuns = 0;
let incompleteRuns = 0;
let requests = 0;
let lostAnswers = 0;
let repeats = 0;
let failed = false;

const weir = new WeirClient({
  url: server.url,
  token: TOKEN,
  timeoutMs: 30_000,
  async fetch(url, init) {
    const answer = await fetch(url, init);
    if (Math.random() >= LOST_ANSWERS) return answer;
    // To its end: what is lost is the answer, not the request.
    await answer.text();
    lostAnswers += 1;
    throw new TypeError("fetch failed", { cause: new Error("the answer got lost") });
  },
  onAttempt({ number }) {
    requests += 1;
    if (number > 1) repeats += 1;
  },
});
const stream = weir.stream("soak");
const ledgers = new Map(GROUPS.map(({ name }) => [name, new Ledger(MESSAGES, ACK_WAIT_MS)]));
const memory = new MemoryWatch(redis);

function isDone(): boolean {
  return failed || (produced === MESSAGES && [...ledgers.values()].every((ledger) => ledger.isComplete));
}

async function runProducer(next: { n: number }): Promise<void> {
  while (next.n < MESSAGES && !failed) {
    const from = next.n;
    const count = Math.min(PRODUCE_BATCH, MESSAGES - from);
    next.n += count;
    const messages = Array.from({ length: count }, (_, i) => ({ data: { n: from + i, padding: PADDING } }));
    await produceWhenThereIsRoom(messages);
    produced += count;
  }
}

/** Waits while the stream is full, as long as it says. */
async function produceWhenThereIsRoom(messages: readonly NewMessage[]): Promise<void> {
  while (!failed) {
    try {
      await stream.produce(messages);
      return;
    } catch (error) {
      if (!(error instanceof FullError && error.code === "stream-full")) throw error;
      refusedFull += 1;
      await sleep(error.retryAfterMs ?? 1_000);
    }
  }
}

/** A consumer that crashes, retries, rejects and acknowledges late, until every message of its group is done. */
async function runConsumer(name: string, number: number, failures: Failures, ledger: Ledger): Promise<void> {
  const group = stream.group(name);
  let consumer = `${name}-${number}`;
  let generation = 0;
  let request: Partial<ConsumeRequest> = {};
  const late: Promise<void>[] = [];
  while (!isDone()) {
    const sentAtMs = Date.now();
    const { messages, ...batch } = await group.consume({ consumer, batchSize: CONSUME_BATCH, ...request });
    ledger.acknowledged(request.acks ?? []);
    const receivedAtMs = Date.now();
    for (const { data, lease, deliveries } of messages) {
      const isRecovery = request.recover === true;
      ledger.delivered(numberOf(data), { lease, deliveries, sentAtMs, receivedAtMs, isRecovery });
    }

    if (messages.length > 0 && Math.random() < failures.crash) {
      ledger.crashes += 1;
      ledger.forget(messages.map(({ lease }) => lease));
      const keepsName = Math.random() < 0.5;
      if (!keepsName) {
        generation += 1;
        consumer = `${name}-${number}.${generation}`;
      }
      request = { recover: keepsName };
      continue;
    }
    request = { ...sort(messages, failures, ledger), pollState: batch.pollState };
    if (messages.length > 0 && Math.random() < failures.lateAck) {
      late.push(acknowledgeLate(group, request.acks ?? [], ledger));
      request = { ...request, acks: [] };
    }
    if (batch.pollAfterMs > 0) await sleep(Math.min(batch.pollAfterMs, 250));
  }
  await Promise.all(late);
}

/** Decides what becomes of each message of a batch. */
function sort(messages: readonly Delivery[], failures: Failures, ledger: Ledger) {
  const lists = {
    acks: [] as string[],
    retries: [] as { lease: string; delayMs: number }[],
    rejects: [] as { lease: string }[],
  };
  for (const { data, lease } of messages) {
    const dice = Math.random();
    if (dice < failures.retry) lists.retries.push({ lease, delayMs: Math.floor(Math.random() * 500) });
    else if (dice < failures.retry + failures.reject) lists.rejects.push({ lease });
    else {
      lists.acks.push(lease);
      continue;
    }
    // It may be handed out again as soon as that is said.
    ledger.released(numberOf(data), lease);
  }
  ledger.retries += lists.retries.length;
  ledger.rejects += lists.rejects.length;
  return lists;
}

async function acknowledgeLate(group: GroupClient, acks: readonly string[], ledger: Ledger): Promise<void> {
  await sleep(ACK_WAIT_MS * 1.3);
  await group.settle({ acks });
  ledger.lateAcks += acks.length;
  ledger.acknowledged(acks);
}

function numberOf(data: unknown): number {
  if (typeof data === "object" && data !== null && "n" in data && typeof data.n === "number") return data.n;
  throw new Error(`expected a message of the soak's, got ${JSON.stringify(data)}`);
}

/** Sweeps and trims; takes note of dead letters and deletes them, or hands them out again. */
async function runUpkeep(): Promise<void> {
  while (!isDone()) {
    const { complete, errors } = await weir.runReaper();
    reaperRuns += 1;
    if (!complete) incompleteRuns += 1;
    if (errors.length > 0) throw new Error(`the reaper reports ${JSON.stringify(errors)}`);
    for (const [name, ledger] of ledgers) {
      if (Math.random() < 0.3) ledger.redriven += await redriveRejected(stream.group(name));
      await collectDead(stream.group(name), ledger);
    }
    await sleep(REAPER_EVERY_MS);
  }
}

async function redriveRejected(group: GroupClient): Promise<number> {
  return (await group.redrive({ reason: "rejected", limit: 100 })).redriven;
}

async function collectDead(group: GroupClient, ledger: Ledger): Promise<void> {
  const { deadLetters } = await group.deadLetters({ limit: 1_000 }).first();
  if (deadLetters.length === 0) return;
  for (const { message, reason } of deadLetters) {
    if (reason === "payload-missing") throw new Error(`the payload of a message of "${group.name}" is missing`);
    ledger.dead(numberOf(message.data));
  }
  await group.deleteDeadLetters({ ids: deadLetters.map(({ id }) => id) });
}

async function runProgress(): Promise<void> {
  let progress = -1;
  let progressAt = performance.now();
  let told = 0;
  while (!isDone()) {
    await memory.sample();
    const done = [...ledgers.values()].reduce((sum, ledger) => sum + ledger.doneCount, 0);
    if (done + produced > progress) {
      progress = done + produced;
      progressAt = performance.now();
    } else if (performance.now() - progressAt > STALLED_AFTER_MS) {
      failed = true;
      console.error(`nothing has moved for ${STALLED_AFTER_MS / 1_000} s`);
    }
    if (performance.now() - told >= PROGRESS_EVERY_MS) {
      told = performance.now();
      const seconds = Math.round((performance.now() - started) / 1_000);
      const groups = [...ledgers].map(([name, ledger]) => `${name} ${ledger.summary()}`).join("; ");
      console.log(`${seconds} s: produced ${produced} of ${MESSAGES}; ${groups}; ${memory.now()}`);
    }
    await sleep(500);
  }
}

/**
 * Polls until nothing is left. A late acknowledgement finishes a message while another consumer has it in hand: what is kept
 * of that delivery goes when its lease ends.
 */
async function letLeasesEnd(): Promise<void> {
  for (const name of ledgers.keys()) {
    const group = stream.group(name);
    let acks: readonly string[] = [];
    for (const startedMs = Date.now(); Date.now() - startedMs < 10 * ACK_WAIT_MS; await sleep(ACK_WAIT_MS / 10)) {
      const { messages } = await group.consume({ consumer: "last", batchSize: CONSUME_BATCH, acks });
      acks = messages.map(({ lease }) => lease);
      const { pending, delayed } = await group.get();
      if (pending + delayed === 0) break;
    }
  }
}

/** What is left in Redis when all is done: nothing. */
async function faultsAtEnd(): Promise<string[]> {
  const faults: string[] = [];
  await letLeasesEnd();
  await weir.runReaper();
  for (const [name, ledger] of ledgers) {
    // What was rejected and then acknowledged late was done before its dead letter was seen.
    await collectDead(stream.group(name), ledger);
    const lost = ledger.missing();
    if (lost.length > 0) faults.push(`${name} has LOST ${lost.length} messages: ${lost.slice(0, 20).join(", ")} ...`);
    if (ledger.early > 0) faults.push(`${name} was handed ${ledger.early} messages whose lease was still running`);
    const { pending, delayed, lag, deadLetters } = await stream.group(name).get();
    if (pending + delayed + (lag ?? 1) + deadLetters > 0) {
      faults.push(`${name} is left with ${JSON.stringify({ pending, delayed, lag, deadLetters })}`);
    }
  }
  const { length } = await stream.get();
  const appended = await appendedInAll();
  if (appended !== MESSAGES) faults.push(`${appended} messages were appended in place of ${MESSAGES}`);
  if (length > 0) faults.push(`the stream still holds ${length} messages`);
  if (memory.grows) faults.push(`memory grows: ${memory.report()}`);
  return faults;
}

/** As Redis has counted, what is gone included. */
async function appendedInAll(): Promise<number> {
  const { keys } = openStream(redis, PREFIX, stream.name);
  return decodeStreamFacts(await redis.send(["XINFO", "STREAM", keys.stream])).added ?? Number.NaN;
}

try {
  const retention = { maxLength: MAX_LENGTH, deleteAcknowledged: true };
  await stream.put({ maxMessageBytes: 1_024, dedupeWindowMs: DEDUPE_WINDOW_MS, retention });
  for (const { name } of GROUPS) await stream.group(name).put({ start: "earliest", ackWaitMs: ACK_WAIT_MS });
  const next = { n: 0 };
  await Promise.all(
    [
      ...Array.from({ length: PRODUCERS }, () => runProducer(next)),
      ...GROUPS.flatMap(({ name, consumers, failures }) => {
        const ledger = ledgers.get(name);
        return ledger === undefined
          ? []
          : Array.from({ length: consumers }, (_, i) => runConsumer(name, i, failures, ledger));
      }),
      runUpkeep(),
      runProgress(),
    ].map((party) =>
      party.catch((error: unknown) => {
        failed = true;
        throw error;
      }),
    ),
  );
  const seconds = (performance.now() - started) / 1_000;
  const faults = await faultsAtEnd();
  console.log(`${MESSAGES} messages in ${seconds.toFixed(0)} s, ${Math.round(MESSAGES / seconds)} a second`);
  for (const [name, ledger] of ledgers) console.log(`${name}: ${ledger.report()}`);
  console.log(
    `reaper: ${reaperRuns} runs, ${incompleteRuns} incomplete; produce refused as stream-full: ${refusedFull}`,
  );
  console.log(`requests: ${requests}, of them repeats ${repeats}; answers lost on their way: ${lostAnswers}`);
  console.log(`memory: ${memory.report()}`);
  for (const fault of faults) console.error(fault);
  console.log(faults.length === 0 ? "nothing lost" : "FAILED");
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  await server.stop();
  await connection.close();
  await redisServer.stop();
  await rm(dir, { recursive: true, force: true });
}
