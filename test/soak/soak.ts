// A soak: many messages through produce, consume with failures, sweep and trim, on a Redis of its own. Every message must
// end acknowledged or dead in each group, while Redis and this process stay within bounds. Leases expire by time.
//   MESSAGES=200000 node test/soak/soak.ts
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startRedis } from "../../local/redis.ts";
import { runReaper } from "../../scheduled/reaper.ts";
import { WeirError } from "../../shared/errors.ts";
import { RedisClock } from "../../shared/redis/clock.ts";
import { Redis } from "../../shared/redis/redis.ts";
import { TcpConnection } from "../../shared/redis/tcp.ts";
import { type ConsumeRequest, consume } from "../../shared/stream/consume.ts";
import { deleteDeadLetters, listDeadLetters, redrive } from "../../shared/stream/dead-letters.ts";
import { groupInfo, streamInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, configureStream } from "../../shared/stream/manage.ts";
import { produce } from "../../shared/stream/produce.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { settle } from "../../shared/stream/settle.ts";
import { type EventStream, openStream } from "../../shared/stream/stream.ts";
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
const NOTHING = { acks: [], retries: [], rejects: [], releases: [], extends: [] };

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

interface Message {
  readonly data: { readonly n: number };
  readonly deliveries: number;
  readonly lease: string;
}

if (!Number.isSafeInteger(MESSAGES) || MESSAGES < 1) throw new Error("MESSAGES: expected a whole number above 0");

const dir = await mkdtemp(join(tmpdir(), "weir-soak-"));
const server = await startRedis({ dir });
const connections: TcpConnection[] = [];
const started = performance.now();
let produced = 0;
let refusedFull = 0;
let reaperRuns = 0;
let incompleteRuns = 0;
let failed = false;

/** Each party has a connection of its own, as it would in a process of its own. */
function openOwn(): EventStream {
  const connection = new TcpConnection({ url: server.url, timeoutMs: 30_000 });
  connections.push(connection);
  return openStream(new Redis(connection), PREFIX, "soak");
}

const stream = openOwn();
const ledgers = new Map(GROUPS.map(({ name }) => [name, new Ledger(MESSAGES, ACK_WAIT_MS)]));
const memory = new MemoryWatch(stream.redis);

function isDone(): boolean {
  return failed || (produced === MESSAGES && [...ledgers.values()].every((ledger) => ledger.isComplete));
}

async function runProducer(next: { n: number }): Promise<void> {
  const own = openOwn();
  const cache = new SettingsCache();
  while (next.n < MESSAGES && !failed) {
    const from = next.n;
    const count = Math.min(PRODUCE_BATCH, MESSAGES - from);
    next.n += count;
    const messages = Array.from({ length: count }, (_, i) => ({ data: `{"n":${from + i},"padding":"${PADDING}"}` }));
    while (!(await wasTaken(own, messages, cache)) && !failed) await sleep(20);
    produced += count;
  }
}

async function wasTaken(own: EventStream, messages: readonly { data: string }[], cache: SettingsCache) {
  try {
    await produce(own, messages, undefined, cache);
    return true;
  } catch (error) {
    if (!(error instanceof WeirError && error.code === "stream-full")) throw error;
    refusedFull += 1;
    return false;
  }
}

/** A consumer that crashes, retries, rejects and acknowledges late, until every message of its group is done. */
async function runConsumer(group: string, number: number, failures: Failures, ledger: Ledger): Promise<void> {
  const own = openOwn();
  const cache = new SettingsCache();
  const clock = new RedisClock();
  let consumer = `${group}-${number}`;
  let generation = 0;
  let request: Partial<ConsumeRequest> = {};
  const late: Promise<void>[] = [];
  while (!isDone()) {
    const sentAtMs = Date.now();
    const base = { ...NOTHING, consumer, batchSize: CONSUME_BATCH, recover: false };
    const batch = await consume(
      own,
      group,
      { ...base, ...request },
      { clock, timeoutMs: 10_000, cache, nowMs: sentAtMs },
    );
    ledger.acknowledged(request.acks ?? []);
    const messages = batch.messages.map((text): Message => JSON.parse(text));
    const receivedAtMs = Date.now();
    for (const { data, lease, deliveries } of messages) {
      ledger.delivered(data.n, { lease, deliveries, sentAtMs, receivedAtMs, isRecovery: request.recover === true });
    }

    if (messages.length > 0 && Math.random() < failures.crash) {
      ledger.crashes += 1;
      ledger.forget(messages.map(({ lease }) => lease));
      const keepsName = Math.random() < 0.5;
      if (!keepsName) {
        generation += 1;
        consumer = `${group}-${number}.${generation}`;
      }
      request = { recover: keepsName };
      continue;
    }
    request = { ...sort(messages, failures, ledger), pollState: batch.pollState };
    if (messages.length > 0 && Math.random() < failures.lateAck) {
      late.push(acknowledgeLate(own, group, request.acks ?? [], ledger));
      request = { ...request, acks: [] };
    }
    if (batch.pollAfterMs > 0) await sleep(Math.min(batch.pollAfterMs, 250));
  }
  await Promise.all(late);
}

/** Decides what becomes of each message of a batch. */
function sort(messages: readonly Message[], failures: Failures, ledger: Ledger) {
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
    ledger.released(data.n, lease);
  }
  ledger.retries += lists.retries.length;
  ledger.rejects += lists.rejects.length;
  return lists;
}

async function acknowledgeLate(own: EventStream, group: string, acks: readonly string[], ledger: Ledger) {
  await sleep(ACK_WAIT_MS * 1.3);
  await settle(own, group, { ...NOTHING, acks });
  ledger.lateAcks += acks.length;
  ledger.acknowledged(acks);
}

/** Sweeps and trims; takes note of dead letters and deletes them, or hands them out again. */
async function runUpkeep(): Promise<void> {
  const own = openOwn();
  const context = { redis: own.redis, keyPrefix: PREFIX, consumerIdleMs: 10_000 };
  while (!isDone()) {
    const { complete, errors } = await runReaper(context, { nowMs: Date.now(), everyStream: true });
    reaperRuns += 1;
    if (!complete) incompleteRuns += 1;
    if (errors.length > 0) throw new Error(`the reaper reports ${JSON.stringify(errors)}`);
    for (const [group, ledger] of ledgers) await collectDead(own, group, ledger);
    await sleep(REAPER_EVERY_MS);
  }
}

async function collectDead(own: EventStream, group: string, ledger: Ledger): Promise<void> {
  if (Math.random() < 0.3) ledger.redriven += (await redrive(own, group, { reason: "rejected", limit: 100 })).count;
  const { items } = await listDeadLetters(own, group, { limit: 1_000 });
  if (items.length === 0) return;
  for (const { message, reason } of items) {
    if (reason === "payload-missing") throw new Error(`the payload of a message of "${group}" is missing`);
    const { data }: Message = JSON.parse(message);
    ledger.dead(data.n);
  }
  await deleteDeadLetters(own, group, { ids: items.map(({ id }) => id) });
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
  const waiting = { clock: new RedisClock(), timeoutMs: 10_000 };
  for (const [group] of ledgers) {
    let acks: readonly string[] = [];
    for (const startedMs = Date.now(); Date.now() - startedMs < 10 * ACK_WAIT_MS; await sleep(ACK_WAIT_MS / 10)) {
      const request = { ...NOTHING, acks, consumer: "last", batchSize: CONSUME_BATCH, recover: false };
      const context = { ...waiting, cache: new SettingsCache(), nowMs: Date.now() };
      const { messages } = await consume(stream, group, request, context);
      acks = messages.map((text) => JSON.parse(text).lease);
      const { pending, delayed } = await groupInfo(stream, group, Date.now());
      if (pending + delayed === 0) break;
    }
  }
}

/** What is left in Redis when all is done: nothing. */
async function faultsAtEnd(): Promise<string[]> {
  const faults: string[] = [];
  await letLeasesEnd();
  await runReaper(
    { redis: stream.redis, keyPrefix: PREFIX, consumerIdleMs: 10_000 },
    { nowMs: Date.now(), everyStream: true },
  );
  for (const [group, ledger] of ledgers) {
    const lost = ledger.missing();
    if (lost.length > 0) faults.push(`${group} has LOST ${lost.length} messages: ${lost.slice(0, 20).join(", ")} ...`);
    if (ledger.early > 0) faults.push(`${group} was handed ${ledger.early} messages whose lease was still running`);
    const { pending, delayed, lag, deadLetters } = await groupInfo(stream, group, Date.now());
    if (pending + delayed + (lag ?? 1) + deadLetters > 0) {
      faults.push(`${group} is left with ${JSON.stringify({ pending, delayed, lag, deadLetters })}`);
    }
  }
  const { length } = await streamInfo(stream);
  if (length > 0) faults.push(`the stream still holds ${length} messages`);
  if (memory.grows) faults.push(`memory grows: ${memory.report()}`);
  return faults;
}

try {
  const settings = { maxMessageBytes: 1_024, maxLength: MAX_LENGTH, deleteAcknowledged: 1 };
  await configureStream(stream, settings, Date.now());
  for (const { name } of GROUPS) await configureGroup(stream, name, { kind: "first" }, { ackWaitMs: ACK_WAIT_MS });
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
  console.log(`memory: ${memory.report()}`);
  for (const fault of faults) console.error(fault);
  console.log(faults.length === 0 ? "nothing lost" : "FAILED");
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  await Promise.all(connections.map((connection) => connection.close()));
  await server.stop();
  await rm(dir, { recursive: true, force: true });
}
