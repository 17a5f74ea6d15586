import { randomUUID } from "node:crypto";
import type { Redis as IoRedis } from "ioredis";
import { inject } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { type ErrorCode, WeirError } from "../../shared/errors.ts";
import { compareIds } from "../../shared/ids.ts";
import { leaseFormat } from "../../shared/lease.ts";
import { Redis } from "../../shared/redis/redis.ts";
import { TcpConnection } from "../../shared/redis/tcp.ts";
import { claim } from "../../shared/stream/claim.ts";
import { consume } from "../../shared/stream/consume.ts";
import { removeConsumer } from "../../shared/stream/consumers.ts";
import { listDeadLetters } from "../../shared/stream/dead-letters.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, configureStream, deleteStream } from "../../shared/stream/manage.ts";
import { produce } from "../../shared/stream/produce.ts";
import { replayToGroup, seek } from "../../shared/stream/reread.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { type SettleRequest, settle } from "../../shared/stream/settle.ts";
import { type EventStream, openStream } from "../../shared/stream/stream.ts";
import { uniquePrefix } from "../support/redis.ts";
import { passTimeOfSideStore, WAITING } from "../support/streams.ts";
import { GroupModel, type Handed, type HandOut, Violation } from "./group-model.ts";
import { CONSUMERS, HOLDER, NATIVE, type Op, type Pick, type Plan, type Step, WAITS_MS } from "./plans.ts";

const HOUR_MS = 3_600_000;
/** No lease and no backoff ends by itself while a run lasts. */
const LONG_MS = 600_000;
const MAX_MESSAGES = 400;
/** JSON texts that must come back byte for byte. */
const PAYLOADS = [
  "1.0",
  "-0",
  "12345678901234567890",
  '"OK"',
  "null",
  '{ "b": 1, "a": [1e3] }',
  '"\u2028\u{1f600}"',
  '"\\u00e9"',
  "[ ]",
];

/**
 * What an operation did, to be told to the model. Of operations at once first all settling counts, then what was handed
 * out, then acknowledgements, which count whoever holds the message.
 */
interface Told {
  readonly fenced?: () => void;
  readonly handedOut?: readonly HandedOut[];
  readonly acked?: () => void;
}

interface Surroundings {
  readonly redis: Redis;
  readonly native: IoRedis;
}

/** Does a plan on a stream of its own, drains it, and checks the promises. @returns how many operations it did */
export async function runPlan({ redis, native }: Surroundings, plan: Plan): Promise<number> {
  const prefix = uniquePrefix();
  const stream = openStream(redis, prefix, `m-${randomUUID().slice(0, 4)}`);
  const retention = { none: {}, age: { maxAgeMs: HOUR_MS }, length: { maxLength: 30 } }[plan.retention];
  await configureStream(stream, { maxMessageBytes: 1_024, ...retention }, Date.now());
  const run = new Run(stream, prefix, native, plan.maxDeliveries);
  await run.addGroup(true);
  await run.addGroup(true);
  for (const step of plan.steps) await run.step(step);
  await run.drain();
  // What a failed run leaves can be looked at.
  await deleteStream(stream);
  return run.operations;
}

class Run {
  operations = 0;
  readonly #stream: EventStream;
  readonly #prefix: string;
  readonly #native: IoRedis;
  readonly #maxDeliveries: readonly number[];
  readonly #cache = new SettingsCache();
  readonly #groups: GroupModel[] = [];
  /** Every message's payload text, by id, in the order in which they were produced. */
  readonly #payloads = new Map<string, string>();
  /** What is yet to be compared with them. */
  #seen: { readonly id: string; readonly text: string }[] = [];
  readonly #deleted = new Set<string>();
  readonly #leases = new Map<string, string[]>();
  readonly #held = new Map<string, string[]>();
  readonly #nativelyHeld = new Map<string, string[]>();
  readonly #pollStates = new Map<string, string>();

  constructor(stream: EventStream, prefix: string, native: IoRedis, maxDeliveries: readonly number[]) {
    this.#stream = stream;
    this.#prefix = prefix;
    this.#native = native;
    this.#maxDeliveries = maxDeliveries;
  }

  async addGroup(earliest: boolean): Promise<void> {
    const maxDeliveries = this.#maxDeliveries[this.#groups.length];
    if (maxDeliveries === undefined) return;
    const name = `g${this.#groups.length}`;
    const model = new GroupModel(this.#stream.name, name, maxDeliveries);
    if (earliest) for (const id of await this.#idsInStream()) model.expected.add(id);
    const settings = { ackWaitMs: LONG_MS, backoffMinMs: LONG_MS, backoffMaxMs: 2 * LONG_MS, maxDeliveries };
    await configureGroup(this.#stream, name, { kind: earliest ? "first" : "last" }, settings);
    this.#groups.push(model);
  }

  async step(step: Step): Promise<void> {
    if (step.op !== "atOnce") {
      const before = await this.#statesOfOthers(step);
      const { fenced, acked, handedOut } = await this.#do(step, { isAlone: true, loose: new Set() });
      // The order within one request.
      acked?.();
      fenced?.();
      for (const { tell } of handedOut ?? []) tell();
      const after = await this.#statesOfOthers(step);
      if (before !== after) throw new Violation(`${step.op} changed another group: ${before} became ${after}`);
    } else {
      const loose = this.#looseGroups(step.ops);
      const told = await Promise.all(step.ops.map((op) => this.#do(op, { isAlone: false, loose })));
      for (const { fenced } of told) fenced?.();
      // What was taken from another at the same time was handed to that one first.
      const handed = told.flatMap(({ handedOut = [] }) => handedOut);
      for (const { tell } of handed.sort((a, b) => a.deliveries - b.deliveries)) tell();
      for (const { acked } of told) acked?.();
      for (const group of loose) group.blur();
      for (const op of step.ops) if (op.op === "seek") await this.#seekDone(this.#group(op.group));
    }
    this.#checkPayloads();
  }

  #looseGroups(ops: readonly Op[]): Set<GroupModel> {
    const breaking = ops.flatMap((op) => {
      const breaks =
        op.op === "seek" ||
        op.op === "remove" ||
        (op.op === "claim" && op.force) ||
        (op.op === "consume" && op.recover);
      return breaks ? [this.#group(op.group)] : [];
    });
    return new Set([...breaking, ...this.#groups.filter(({ isRereading }) => isRereading)]);
  }

  async #do(op: Op, context: { isAlone: boolean; loose: ReadonlySet<GroupModel> }): Promise<Told> {
    this.operations += 1;
    const how = (group: GroupModel, consumer: string): HandOut => {
      const isLoose = context.loose.has(group);
      return { consumer, mayRepeat: false, isForced: false, isLoose, isAlone: context.isAlone };
    };
    switch (op.op) {
      case "produce":
        return this.#produce(op);
      case "consume":
      case "settle":
        return this.#consume(op, how(this.#group(op.group), this.#consumer(op.consumer)));
      case "claim":
        return this.#claim(op, how(this.#group(op.group), this.#consumer(op.consumer)));
      case "nativeRead":
        return this.#nativeRead(op, how(this.#group(op.group), NATIVE));
      case "replay":
        return this.#replay(op, context.isAlone);
      case "seek":
        return this.#seek(op, context.isAlone);
      case "addGroup":
        await this.addGroup(op.earliest);
        return {};
      case "crash":
        for (const { name } of this.#groups) this.#held.delete(`${name} ${this.#consumer(op.consumer)}`);
        return {};
      case "sweep":
        return this.#sweep(op);
      case "remove":
        return this.#remove(op);
      case "nativeAck":
        return this.#nativeAck(op);
      case "expire":
        return this.#expire(op);
      case "expireSide":
        await passTimeOfSideStore(this.#native, this.#stream, this.#group(op.group).name);
        this.#group(op.group).sideTimePassed();
        return {};
      case "delete":
        return this.#delete(op);
      case "nativeTrim":
        return this.#nativeTrim(op);
      case "configure":
        await configureGroup(this.#stream, this.#group(op.group).name, undefined, { ackWaitMs: op.ackWaitMs });
        return {};
      case "age":
        await this.#setIdle(this.#group(op.group), 2 * WAITS_MS[0], ({ idleMs }) => idleMs < WAITS_MS[0]);
        return {};
      case "stall":
        return this.#stall(op, this.#group(op.group), how(this.#group(op.group), this.#consumer(op.consumer)));
    }
  }

  async #produce({ count, key, natively }: Op & { op: "produce" }): Promise<Told> {
    if (this.#payloads.size > MAX_MESSAGES) return {};
    // The same key always comes with the same messages.
    const [size, from] = key === undefined ? [count, this.#payloads.size] : [3 * key + 1, key];
    const data = Array.from({ length: size }, (_, i) => PAYLOADS[(from + i) % PAYLOADS.length] ?? "0");
    if (natively && key === undefined) {
      for (const text of data) {
        const id = await this.#native.xadd(this.#stream.keys.stream, "*", "data", text);
        this.#produced([id ?? ""], [text]);
      }
    } else {
      const messages = data.map((text) => ({ data: text }));
      const ids = await produce(this.#stream, messages, key === undefined ? undefined : `key ${key}`).then(
        (produced) => produced.ids,
        refusedBy("stream-full"),
      );
      this.#produced(ids ?? [], data);
    }
    return {};
  }

  #produced(ids: readonly string[], data: readonly string[]): void {
    for (const [i, id] of ids.entries()) {
      if (this.#payloads.has(id)) continue;
      this.#payloads.set(id, data[i] ?? "");
      for (const group of this.#groups) group.expected.add(id);
    }
  }

  async #consume(op: Op & { op: "consume" | "settle" }, how: HandOut): Promise<Told> {
    const group = this.#group(op.group);
    const { consumer } = how;
    const request = this.#chooseLeases(group, consumer, op.settle);
    const held = `${group.name} ${consumer}`;
    if (op.op === "settle") {
      const settled = await settle(this.#stream, group.name, request);
      group.checkSettled(request, settled);
      return this.#toldOf(group, request, () => group.fenced(request, settled, how.isAlone && !how.isLoose));
    }
    const pollState = { last: this.#pollStates.get(held), none: undefined, forged: "1.999999.999999.7" }[op.state];
    const batch = await consume(
      this.#stream,
      group.name,
      { ...request, consumer, batchSize: op.size, recover: op.recover, pollState },
      { ...WAITING, cache: this.#cache, nowMs: Date.now() },
    );
    this.#pollStates.set(held, batch.pollState);
    group.checkSettled(request, batch.settled);
    const handed = this.#handed(group, consumer, batch.messages, op.size);
    return {
      ...this.#toldOf(group, request, () => group.fenced(request, batch.settled, how.isAlone && !how.isLoose)),
      handedOut: [
        { deliveries: 0, tell: () => op.recover && group.mayDie(consumer) },
        ...each(group, handed, { ...how, mayRepeat: op.recover }),
      ],
    };
  }

  #toldOf(group: GroupModel, request: SettleRequest, fenced: () => void): Told {
    return { fenced, acked: () => group.acked(request.acks) };
  }

  /** Notes a batch, and checks what can be told of it without knowing what came before. */
  #handed(group: GroupModel, consumer: string, texts: readonly string[], most: number): Handed[] {
    if (texts.length > most) throw new Violation(`${group.name}: ${texts.length} messages in a batch of ${most}`);
    const handed = texts.map((text) => readHanded(text));
    const firsts = handed.filter(({ deliveries, lease }) => deliveries === 1 && this.#isMain(group, lease));
    for (const [i, { id }] of firsts.entries()) {
      const next = firsts[i + 1];
      if (next !== undefined && compareIds(id, next.id) >= 0)
        throw new Violation(`${next.id} came after ${id} in a batch`);
    }
    const isLast = handed.some(({ deliveries }) => deliveries === group.maxDeliveries && deliveries > 1);
    if (isLast && handed.length > 1) throw new Violation(`${group.name}: a last permitted delivery is not alone`);
    const mainIds = handed.filter(({ lease }) => this.#isMain(group, lease)).map(({ id }) => id);
    if (new Set(mainIds).size < mainIds.length) throw new Violation(`${group.name}: a message is twice in a batch`);
    this.#seen.push(...handed.map(({ id }, i) => ({ id, text: texts[i] ?? "" })));
    const leases = handed.map(({ lease }) => lease);
    listAt(this.#leases, group.name).push(...leases);
    listAt(this.#held, `${group.name} ${consumer}`).push(...leases);
    return handed;
  }

  #isMain(group: GroupModel, text: string): boolean {
    const lease = leaseFormat(this.#stream.name, group.name).read(text);
    return typeof lease === "object" && lease.side === undefined;
  }

  /** Each lease goes to one list only; some lists have one twice. */
  #chooseLeases(group: GroupModel, consumer: string, picks: readonly Pick[]): SettleRequest {
    const own = listAt(this.#held, `${group.name} ${consumer}`);
    const any = listAt(this.#leases, group.name);
    const foreign = this.#groups.filter((other) => other !== group).flatMap(({ name }) => listAt(this.#leases, name));
    const junk = [...any.map((lease) => lease.slice(0, -1)), "", "1~x", "2~a~b~1-1~1~c"];
    const actOf = new Map<string, Pick>();
    for (const pick of picks) {
      const pool = { own, any, foreign, junk }[pick.from];
      for (const lease of slice(pool, pick.at, pick.count)) if (!actOf.has(lease)) actOf.set(lease, pick);
    }
    this.#held.set(
      `${group.name} ${consumer}`,
      own.filter((lease) => (actOf.get(lease)?.act ?? "extend") === "extend"),
    );
    const chosen = (act: Pick["act"]) => [...actOf].filter(([, pick]) => pick.act === act);
    const acks = chosen("ack").map(([lease]) => lease);
    return {
      acks: [...acks, ...acks.slice(0, 1)],
      retries: chosen("retry").map(([lease, { delayMs }]) => ({ lease, delayMs })),
      rejects: chosen("reject").map(([lease]) => ({ lease, reason: "no" })),
      releases: chosen("release").map(([lease]) => lease),
      extends: chosen("extend").map(([lease]) => lease),
    };
  }

  async #claim({ at, force, limit, group: number }: Op & { op: "claim" }, how: HandOut): Promise<Told> {
    const group = this.#group(number);
    const ids = at.flatMap((index) => slice([...this.#payloads.keys()], index, 1));
    const request = { consumer: how.consumer, force, limit, ...(force ? { minIdleMs: 0 } : {}) };
    const texts = await claim(
      this.#stream,
      group.name,
      { ...request, ids: ids.length === 0 ? undefined : ids },
      WAITING,
    );
    const handed = this.#handed(group, how.consumer, texts, limit);
    return {
      handedOut: [
        { deliveries: 0, tell: () => force && group.mayDie(undefined) },
        ...each(group, handed, { ...how, isForced: force }),
      ],
    };
  }

  async #nativeRead({ count, group: number }: Op & { op: "nativeRead" }, how: HandOut): Promise<Told> {
    const group = this.#group(number);
    const { stream } = this.#stream.keys;
    const reply = await this.#native.call(
      "XREADGROUP",
      "GROUP",
      group.name,
      NATIVE,
      "COUNT",
      count,
      "STREAMS",
      stream,
      ">",
    );
    const entries: unknown[] = Array.isArray(reply) ? reply[0][1] : [];
    const ids = entries.map((entry) => (Array.isArray(entry) ? String(entry[0]) : ""));
    listAt(this.#nativelyHeld, group.name).push(...ids);
    return { handedOut: [{ deliveries: 1, tell: () => group.readNatively(ids, how) }] };
  }

  async #nativeAck({ at, count, group: number }: Op & { op: "nativeAck" }): Promise<Told> {
    const group = this.#group(number);
    const ids = slice(listAt(this.#nativelyHeld, group.name), at, count);
    if (ids.length > 0) await this.#native.xack(this.#stream.keys.stream, group.name, ...ids);
    return { acked: () => group.ackedNatively(ids) };
  }

  async #replay({ at, group: number }: Op & { op: "replay" }, isAlone: boolean): Promise<Told> {
    const group = this.#group(number);
    const picked = at.slice(0, isAlone ? 5 : 1).flatMap((index) => slice([...this.#payloads.keys()], index, 1));
    if (picked.length === 0) return {};
    // An id that is named twice is replayed once.
    const chosen = [...new Set(picked)];
    const there = new Set(await this.#idsInStream());
    const { count: replayed } = await replayToGroup(this.#stream, group.name, { ids: picked, limit: 100 });
    const expected = chosen.filter((id) => there.has(id));
    if (isAlone && replayed !== expected.length) {
      throw new Violation(`${group.name}: ${replayed} replayed of ${expected.length}`);
    }
    return { fenced: () => group.replayed(isAlone ? expected : chosen.slice(0, replayed)) };
  }

  async #seek({ to, group: number }: Op & { op: "seek" }, isAlone: boolean): Promise<Told> {
    const group = this.#group(number);
    const [id] = typeof to === "number" ? slice([...this.#payloads.keys()], to, 1) : [];
    const position =
      id !== undefined
        ? ({ kind: "id", id } as const)
        : to === "earliest"
          ? ({ kind: "first" } as const)
          : ({ kind: "last" } as const);
    await seek(this.#stream, group.name, position);
    if (isAlone) await this.#seekDone(group);
    return {};
  }

  async #seekDone(group: GroupModel): Promise<void> {
    const { lastDeliveredId } = await groupInfo(this.#stream, group.name, Date.now());
    group.sought(lastDeliveredId, await this.#idsInStream());
  }

  async #sweep({ later, prune }: Op & { op: "sweep" }): Promise<Told> {
    const context = { redis: this.#stream.redis, keyPrefix: this.#prefix, consumerIdleMs: prune ? 0 : HOUR_MS };
    const nowMs = Date.now() + (later ? 2 * HOUR_MS : 0);
    const { errors, complete } = await runReaper(context, { nowMs, everyStream: true });
    if (errors.length > 0 || !complete) throw new Violation(`the reaper says ${JSON.stringify(errors)}`);
    return {};
  }

  async #remove({ group: number, consumer, heir }: Op & { op: "remove" }): Promise<Told> {
    const group = this.#group(number);
    const name = consumer === CONSUMERS.length ? HOLDER : this.#consumer(consumer);
    const target = heir === undefined || heir === consumer ? undefined : this.#consumer(heir);
    const removed = await removeConsumer(this.#stream, group.name, name, target).catch(refusedBy("unknown-consumer"));
    if (removed === undefined) return {};
    return { fenced: () => (name === HOLDER ? group.heldRemoved(target) : group.removed(name, target)) };
  }

  /** Lets the leases of one consumer, or of all, end. What has no payload stays: claiming it would drop it. */
  async #expire({ group: number, consumer }: Op & { op: "expire" }): Promise<Told> {
    const group = this.#group(number);
    const only = consumer === undefined ? undefined : this.#consumer(consumer);
    group.expired(await this.#setIdle(group, 2 * LONG_MS, ({ owner }) => only === undefined || owner === only));
    return {};
  }

  /** Sets for how long some entries have been pending. @returns them, those that Weir holds included */
  async #setIdle(
    group: GroupModel,
    forMs: number,
    isMeant: (entry: { owner: string; idleMs: number }) => boolean,
  ): Promise<string[]> {
    const { stream } = this.#stream.keys;
    const pending = await this.#native.xpending(stream, group.name, "-", "+", 10_000);
    const ids: string[] = [];
    const pipeline = this.#native.pipeline();
    for (const entry of pending) {
      if (!Array.isArray(entry)) throw new TypeError("expected a pending entry");
      const [id, owner, idleMs, deliveries] = entry.map(String);
      if (id === undefined || owner === undefined || deliveries === undefined || this.#deleted.has(id)) continue;
      if (!isMeant({ owner, idleMs: Number(idleMs) })) continue;
      ids.push(id);
      // What Weir holds has expired, whatever its idle time.
      if (owner.startsWith("@")) continue;
      const options = ["IDLE", forMs, "RETRYCOUNT", deliveries, "JUSTID"];
      pipeline.call("XCLAIM", stream, group.name, owner, 0, id, ...options);
    }
    await pipeline.exec();
    return ids;
  }

  /** A poll that its client gives up before Redis, which has stalled, comes to it: it must do nothing. */
  async #stall({ size }: Op & { op: "stall" }, group: GroupModel, how: HandOut): Promise<Told> {
    const { consumer } = how;
    const connection = new TcpConnection({ url: inject("redisUrl"), timeoutMs: 50 });
    const impatient = openStream(new Redis(connection), this.#prefix, this.#stream.name);
    // Connected, and the clock is known, before anything stalls.
    await WAITING.clock.deadline(impatient.redis, 0);
    await impatient.redis.send(["PING"]);
    await this.#native.call("CLIENT", "PAUSE", 150, "ALL");
    const nothing = { acks: [], retries: [], rejects: [], releases: [], extends: [] };
    const request = { ...nothing, consumer, batchSize: size, recover: false };
    const context = { ...WAITING, timeoutMs: 50, cache: new SettingsCache(), nowMs: Date.now() };
    const batch = await consume(impatient, group.name, request, context).catch(() => undefined);
    await connection.close();
    await this.#native.ping();
    const handed = this.#handed(group, consumer, batch?.messages ?? [], size);
    return { handedOut: each(group, handed, how) };
  }

  /** As `XADD MAXLEN ~` does: takes the oldest, whoever needs them. */
  async #nativeTrim({ count }: Op & { op: "nativeTrim" }): Promise<Told> {
    const ids = await this.#idsInStream();
    const gone = ids.slice(0, count);
    await this.#native.call("XTRIM", this.#stream.keys.stream, "MAXLEN", Math.max(0, ids.length - count));
    for (const id of gone) {
      this.#deleted.add(id);
      for (const group of this.#groups) group.deleted(id);
    }
    return {};
  }

  async #delete({ at }: Op & { op: "delete" }): Promise<Told> {
    const [id] = slice([...this.#payloads.keys()], at, 1);
    if (id === undefined) return {};
    const there = await this.#native.xdel(this.#stream.keys.stream, id);
    if (there === 1) {
      this.#deleted.add(id);
      for (const group of this.#groups) group.deleted(id);
    }
    return {};
  }

  /** Takes and acknowledges everything until nothing is left, then checks how it has ended. */
  async drain(): Promise<void> {
    for (const group of this.#groups) {
      await configureGroup(this.#stream, group.name, undefined, { ackWaitMs: 0 });
      // A shorter wait leaves running leases alone: here they are over.
      await this.#native.hdel(this.#stream.keys.config, `ackWaitBefore:${group.name}`);
      await this.#drainGroup(group);
      group.checkEnd(await this.#deadLetters(group));
    }
    for (const { name } of this.#groups) {
      const { again, againDue } = this.#stream.keys;
      // Beyond any time lies an index, which may be out of date.
      const left =
        (await this.#native.exists(again(name))) + (await this.#native.zcount(againDue(name), "-inf", "(1e15"));
      if (left !== 0) throw new Violation("something is left in a side store");
    }
    this.#checkPayloads();
  }

  async #drainGroup(group: GroupModel): Promise<void> {
    const how = { consumer: "drain", mayRepeat: true, isForced: true, isLoose: false, isAlone: true };
    let acks: readonly string[] = [];
    let empty = 0;
    for (let polls = 0; polls < 2_000; polls++) {
      const lists = { acks, retries: [], rejects: [], releases: [], extends: [] };
      const batch = await consume(
        this.#stream,
        group.name,
        { ...lists, consumer: how.consumer, batchSize: 1_000, recover: false },
        { ...WAITING, cache: new SettingsCache(), nowMs: Date.now() },
      );
      group.checkSettled(lists, batch.settled);
      group.acked(acks);
      const handed = this.#handed(group, how.consumer, batch.messages, 1_000);
      group.handOut(handed, how);
      acks = handed.map(({ lease }) => lease);
      if (handed.length > 0) continue;
      const { pending, delayed, lastDeliveredId, lag, lagIs } = await groupInfo(this.#stream, group.name, Date.now());
      const unread = await this.#native.xrange(this.#stream.keys.stream, `(${lastDeliveredId}`, "+", "COUNT", 1);
      if (unread.length === 0 && lagIs === "exact" && lag !== 0)
        throw new Violation(`nothing is left, but the lag ${lag}`);
      if (pending === 0 && delayed === 0 && unread.length === 0) return;
      empty += 1;
      if (empty > 100) break;
      await passTimeOfSideStore(this.#native, this.#stream, group.name);
      group.sideTimePassed();
    }
    const state = await groupInfo(this.#stream, group.name, Date.now());
    throw new Violation(`${group.name} does not end: ${JSON.stringify(state)}`);
  }

  async #deadLetters(group: GroupModel): Promise<{ id: string; reason: string }[]> {
    const { items } = await listDeadLetters(this.#stream, group.name, { limit: 5_000 });
    return items.map(({ message, reason }) => {
      const { id }: { id: string } = JSON.parse(message);
      if (reason !== "payload-missing") this.#seen.push({ id, text: message });
      return { id, reason };
    });
  }

  #checkPayloads(): void {
    for (const { id, text } of this.#seen) {
      const start = `{"id":"${id}","type":null,"data":${this.#payloads.get(id)},"attributes":{}`;
      if (!text.startsWith(start)) throw new Violation(`expected ${start}, got ${text}`);
    }
    this.#seen = [];
  }

  /** What of the groups that an operation does not name must stay as it is. */
  async #statesOfOthers(op: Op): Promise<string> {
    if (!("group" in op)) return "";
    const { keys } = this.#stream;
    const others = this.#groups.filter((group) => group !== this.#group(op.group));
    const pipeline = this.#native.pipeline();
    pipeline.xinfo("GROUPS", keys.stream);
    for (const { name } of others) {
      pipeline.xpending(keys.stream, name);
      pipeline.zrange(keys.againDue(name), "0", "-1", "WITHSCORES");
      pipeline.xlen(keys.dead(name));
    }
    const [groups, ...rest] = (await pipeline.exec()) ?? [];
    const rows: unknown = groups?.[1];
    const shown = Array.isArray(rows) ? rows.filter((row) => others.some(({ name }) => row.includes(name))) : [];
    return JSON.stringify([shown, rest]);
  }

  async #idsInStream(): Promise<string[]> {
    return (await this.#native.xrange(this.#stream.keys.stream, "-", "+")).map(([id]) => id);
  }

  #group(number: number): GroupModel {
    const group = this.#groups[number % this.#groups.length];
    if (group === undefined) throw new RangeError("there is no group yet");
    return group;
  }

  #consumer(number: number): string {
    return CONSUMERS[number % CONSUMERS.length] ?? "a";
  }
}

/** One message that was handed out, to be told to its group. */
interface HandedOut {
  readonly deliveries: number;
  readonly tell: () => unknown;
}

function each(group: GroupModel, handed: readonly Handed[], how: HandOut): HandedOut[] {
  return handed.map((message) => ({ deliveries: message.deliveries, tell: () => group.handOut([message], how) }));
}

/** A refusal that a random sequence may well meet. */
function refusedBy(code: ErrorCode): (error: unknown) => undefined {
  return (error) => {
    if (!(error instanceof WeirError && error.code === code)) throw error;
  };
}

function readHanded(text: string): Handed {
  const { id, deliveries, lease }: Handed = JSON.parse(text);
  return { id, deliveries, lease };
}

function listAt(lists: Map<string, string[]>, key: string): string[] {
  const list = lists.get(key) ?? [];
  lists.set(key, list);
  return list;
}

/** Some of a list, whatever its length; counted from its end, so that the newest are chosen as often as old ones. */
function slice<Item>(list: readonly Item[], at: number, count: number): Item[] {
  if (list.length === 0) return [];
  const from = list.length - 1 - (at % list.length);
  return list.slice(Math.max(0, from - count + 1), from + 1);
}
