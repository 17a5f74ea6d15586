import { WeirError } from "../errors.ts";
import { compareIds, orderedId } from "../ids.ts";
import { type LeaseText, leaseFormat } from "../lease.ts";
import { type Outcome, type Reply, ReplyError } from "../redis/connection.ts";
import type { Call } from "../redis/redis.ts";
import { asArray, asNumber } from "../redis/reply.ts";
import { settleScript } from "../scripts/settle.lua.ts";
import { groupError, probeGroup, sendToGroup } from "./missing.ts";
import { GROUP_DEFAULTS } from "./settings.ts";
import { type CachedGroup, SettingsCache } from "./settings-cache.ts";
import { type EventStream, groupKeys } from "./stream.ts";

/** What to do with deliveries, by their leases. A lease is in one of the lists at most. */
export interface SettleRequest {
  readonly acks: readonly string[];
  readonly retries: readonly Retry[];
  readonly rejects: readonly Reject[];
  /** Given back: not counted, and handed out again at once, under another lease. */
  readonly releases: readonly string[];
  readonly extends: readonly string[];
}

export interface Retry {
  readonly lease: string;
  /** When to hand it out again; undefined: by the group's backoff. */
  readonly delayMs?: number | undefined;
  /** The consumer's words, for the dead letter if there is no delivery left. */
  readonly reason?: string | undefined;
}

export interface Reject {
  readonly lease: string;
  readonly reason?: string | undefined;
}

/** A lease that could not be settled, and why. */
export interface StaleLease {
  readonly lease: string;
  /**
   * `superseded`: another delivery holds the message; `settled`: none does; `foreign`: of another stream or group;
   * `malformed`: no whole lease. Acknowledgements are late without harm, and have only the last two.
   */
  readonly outcome: "superseded" | "settled" | "foreign" | "malformed";
}

/** What settling did; of acknowledgements it counts those that took something off the pending ones. */
export interface Settled {
  readonly acked: number;
  readonly retried: number;
  readonly rejected: number;
  readonly released: number;
  readonly extended: number;
  readonly stale: readonly StaleLease[];
}

/** What was settled, and what is left for another step: Redis must not be held up by very much at once. */
export interface PartlySettled {
  readonly settled: Settled;
  readonly rest: readonly Item[];
}

/** The calls that settle, to be sent in a pipeline with others, and how to read their outcomes. */
export interface SettlePlan {
  readonly calls: readonly Call[];
  /**
   * Acknowledgements that no plain command can make, since it is not known which group of that name it is: for the script that
   * goes with the calls.
   */
  readonly uncertain: Uncertain;
  /** How many messages it moves: their payloads are what settling costs. */
  readonly moves: number;
  /** Those, for the script of the poll beside: their ids, or side ids, as JSON; "" where nothing can be refused. */
  readonly moving: string;
  /** What was settled, and what is left; a call that Redis refused has settled nothing. */
  decode(outcomes: readonly Outcome[]): PartlySettled;
}

/** Acknowledgements for a script: its argument, and how to read its answer. See `scripts/parts/acknowledge.lua.ts`. */
export interface Uncertain {
  readonly argument: string;
  decode(acked: Reply | undefined, foreign: Reply | undefined): Settled;
}

const NOTHING: Settled = { acked: 0, retried: 0, rejected: 0, released: 0, extended: 0, stale: [] };

/**
 * Plans settling: acknowledgements by plain commands, the rest by one script that is fenced by the leases.
 * @param known the group's settings, where they are known
 */
export function planSettle(
  stream: EventStream,
  group: string,
  request: SettleRequest,
  known: Pick<CachedGroup, "incarnation"> | undefined,
): SettlePlan {
  const stale: StaleLeases = new Map();
  const read = readAll(stream, group, request.acks, stale);
  const isPlain = ({ incarnation }: LeaseText) => incarnation === undefined || incarnation === known?.incarnation;
  const acks = planAcks(
    stream,
    group,
    read.filter(({ lease }) => isPlain(lease)),
  );
  // What is known may be ten seconds old: whether a lease is of another group, only the script tells.
  const others = read.filter(({ lease }) => !isPlain(lease));
  const items = fencedItems(stream, group, request, stale);
  const moving = items.filter(({ action }) => action !== "extend").map(({ lease }) => lease.side ?? lease.id);
  return {
    calls: [...acks, ...(items.length === 0 ? [] : [fencedCall(stream, group, items)])],
    uncertain: uncertainOf(others),
    moves: moving.length,
    moving: items.some(mayBeRefused) ? JSON.stringify(moving) : "",
    decode(outcomes) {
      const replies = outcomes.map((outcome) => (outcome instanceof ReplyError ? undefined : outcome));
      // XACK and HDEL count; ZREM, after HDEL, only tidies up.
      const counts = acks.map(([name], i) => (name === "ZREM" ? undefined : replies[i]));
      const acked = counts.reduce<number>((sum, count) => (count === undefined ? sum : sum + asNumber(count)), 0);
      const unread = Array.from(stale, ([lease, outcome]) => ({ lease, outcome }));
      const plain = { ...NOTHING, acked, stale: unread };
      const reply = items.length === 0 ? undefined : replies[acks.length];
      if (reply === undefined) return { settled: plain, rest: [] };
      const { settled, rest } = decodeFenced(reply, items);
      return { settled: both(plain, settled), rest };
    },
  };
}

/**
 * Whether a poll beside it has to be a script. Extending in the main stream may go along with a fast poll: it reads the settings,
 * and writes to the stream alone. Where another client has put something else in place of the settings it is refused, and what
 * was handed out beside comes again when its leases end; the error says so.
 */
function mayBeRefused({ action, lease }: Item): boolean {
  return action !== "extend" || lease.side !== undefined;
}

function uncertainOf(acks: readonly { readonly text: string; readonly lease: LeaseText }[]): Uncertain {
  const rows = acks.map(({ lease: { id, side, deliveries, consumer, incarnation } }) => {
    return [id, side ?? "", deliveries, consumer, incarnation ?? ""];
  });
  return {
    argument: rows.length === 0 ? "" : JSON.stringify(rows),
    decode(acked, foreign) {
      const stale = asArray(foreign).flatMap((number): StaleLease[] => {
        const ack = acks[asNumber(number)];
        return ack === undefined ? [] : [{ lease: ack.text, outcome: "foreign" }];
      });
      return { ...NOTHING, acked: asNumber(acked), stale };
    },
  };
}

/**
 * Settles what a first step has left, step by step.
 * @throws {WeirError} `unknown-stream`, `unknown-group`; any other with what was settled all the same
 */
export async function settleRest(stream: EventStream, group: string, first: PartlySettled): Promise<Settled> {
  let { settled, rest } = first;
  while (rest.length > 0) {
    const call = fencedCall(stream, group, rest);
    const reply = await sendToGroup(stream, group, call).catch((error: unknown) => {
      throw withSettled(error, settled);
    });
    const step = decodeFenced(reply, rest);
    settled = both(settled, step.settled);
    rest = step.rest;
  }
  return settled;
}

/** Two parts of what one request settled. */
export function both(a: Settled, b: Settled): Settled {
  return {
    acked: a.acked + b.acked,
    retried: a.retried + b.retried,
    rejected: a.rejected + b.rejected,
    released: a.released + b.released,
    extended: a.extended + b.extended,
    stale: [...a.stale, ...b.stale],
  };
}

/**
 * Settles deliveries, in one round trip unless their messages weigh megabytes.
 * @param cache knows which group of that name it is, which spares commands
 * @throws {WeirError} `unknown-stream`, `unknown-group`; any other with what was settled all the same
 */
export async function settle(
  stream: EventStream,
  group: string,
  request: SettleRequest,
  cache = new SettingsCache(),
): Promise<Settled> {
  const plan = planSettle(stream, group, request, cache.group(stream, group));
  const { uncertain } = plan;
  const asked = uncertain.argument === "" ? [] : [fencedCall(stream, group, [], uncertain.argument)];
  // XACK says 0 for a missing stream or group.
  const outcomes = await stream.redis.pipeline([probeGroup(stream, group), ...asked, ...plan.calls]);
  const [probe = null, ...settling] = outcomes;
  if (probe instanceof ReplyError) throw await groupError(stream, group, probe);
  const answer = asked.length === 0 ? [] : (settling.shift() ?? null);
  const [acked = 0, foreign = []] = answer instanceof ReplyError ? [] : asArray(answer);
  const { settled, rest } = plan.decode(settling);
  const done = both(uncertain.decode(acked, foreign), settled);
  const fault = outcomes.find((outcome) => outcome instanceof ReplyError);
  if (fault !== undefined) throw withSettled(await groupError(stream, group, fault), done);
  return settleRest(stream, group, { settled: done, rest });
}

/**
 * An error of a request that settled something all the same, and says so.
 * @param rest what else is known, as the end of its sentence
 */
export function withSettled(error: unknown, settled: Settled, rest = ""): unknown {
  if (!(error instanceof WeirError) || error.code.startsWith("unknown-")) return error;
  const { acked, retried, rejected, released, extended } = settled;
  const count = acked + retried + rejected + released + extended;
  const told = count > 0 ? "; `settled` says what was settled all the same" : "";
  return new WeirError(error.code, `${error.message}${told}${rest}`, { ...error.options, settled });
}

/** Leases that are not of this stream and group, and why. */
type StaleLeases = Map<string, "malformed" | "foreign">;

/** Reads leases; those that are not valid here go to `stale`. */
function readAll(
  stream: EventStream,
  group: string,
  leases: readonly string[],
  stale: StaleLeases,
): { text: string; lease: LeaseText }[] {
  const format = leaseFormat(stream.name, group);
  const read: { text: string; lease: LeaseText }[] = [];
  for (const text of leases) {
    const lease = format.read(text);
    if (typeof lease === "object") read.push({ text, lease });
    else stale.set(text, lease);
  }
  return read;
}

/** The latest message that a request acknowledges ('' if none): a gap that ends before it has been told. */
export function latestAcked(stream: EventStream, group: string, { acks }: SettleRequest): string {
  const format = leaseFormat(stream.name, group);
  return acks.reduce((latest, text) => {
    const lease = format.read(text);
    return typeof lease === "object" && (latest === "" || compareIds(lease.id, latest) > 0) ? lease.id : latest;
  }, "");
}

type PlainCommand = readonly [name: "XACK" | "HDEL" | "ZREM", key: string, ...members: string[]];

/**
 * Also for a delivery whose lease has expired or that another holds by now: the work was done. What is acknowledged
 * twice counts once, in XACK and HDEL too.
 */
function planAcks({ keys }: EventStream, group: string, leases: readonly { lease: LeaseText }[]): PlainCommand[] {
  const ids: string[] = [];
  const sides: string[] = [];
  const members: string[] = [];
  for (const { lease } of leases) {
    if (lease.side === undefined) ids.push(lease.id);
    else {
      sides.push(lease.side);
      members.push(handedMember(lease, lease.side), ...indexMembers(lease, lease.side));
    }
  }
  const calls: PlainCommand[] = [];
  if (ids.length > 0) calls.push(["XACK", keys.stream, group, ...ids]);
  if (sides.length > 0) {
    calls.push(["HDEL", keys.again(group), ...sides], ["ZREM", keys.againDue(group), ...members]);
  }
  return calls;
}

/** The member of the side store's schedule that stands for a delivery: see `scripts/parts/side-store.lua.ts`. */
function handedMember({ deliveries, consumer }: LeaseText, side: string): string {
  return `${side} ${deliveries} h ${consumer}`;
}

/** What stands for that delivery in the index of the side store's schedule. */
function indexMembers({ id, deliveries, consumer }: LeaseText, side: string): string[] {
  const message = orderedId(id);
  return [
    `m ${message} ${side}`,
    `h ${message} ${side} ${deliveries} ${consumer}`,
    `c ${consumer} ${side} ${deliveries}`,
  ];
}

/** A lease that the script settles. */
export interface Item {
  readonly action: "extend" | "retry" | "reject" | "release";
  readonly text: string;
  readonly lease: LeaseText;
  readonly delayMs?: number | undefined;
  readonly reason?: string | undefined;
}

function fencedItems(stream: EventStream, group: string, request: SettleRequest, stale: StaleLeases): Item[] {
  const asked: (Omit<Item, "text" | "lease"> & { readonly lease: string })[] = [
    ...request.extends.map((lease) => ({ action: "extend" as const, lease })),
    ...request.retries.map((retry) => ({ action: "retry" as const, ...retry })),
    ...request.rejects.map((reject) => ({ action: "reject" as const, ...reject })),
    ...request.releases.map((lease) => ({ action: "release" as const, lease })),
  ];
  const byLease = new Map(asked.map((item) => [item.lease, item]));
  return readAll(stream, group, [...byLease.keys()], stale)
    .flatMap(({ text, lease }) => {
      const item = byLease.get(text);
      return item === undefined ? [] : [{ ...item, text, lease }];
    })
    .sort((a, b) => compareText(a.lease.consumer, b.lease.consumer) || compareIds(a.lease.id, b.lease.id));
}

function fencedCall(stream: EventStream, group: string, items: readonly Item[], acks = ""): Call {
  const rows = items.map(({ action, lease, delayMs, reason }, i) => [
    i,
    action,
    lease.id,
    lease.side ?? "",
    lease.deliveries,
    lease.consumer,
    delayMs ?? -1,
    Math.random(),
    reason ?? "",
    lease.incarnation ?? "",
  ]);
  const { ackWaitMs, maxDeliveries, backoff } = GROUP_DEFAULTS;
  return {
    script: settleScript,
    keys: groupKeys(stream, group),
    args: [group, ackWaitMs, maxDeliveries, backoff.minMs, backoff.maxMs, JSON.stringify(rows), acks],
  };
}

function decodeFenced(reply: Reply, items: readonly Item[]): PartlySettled {
  const [, , extended, retried, rejected, released, notHeld, rest] = asArray(reply);
  const stale = asArray(notHeld).map((row): StaleLease => {
    const [number, why] = asArray(row);
    const outcome = OUTCOMES.find((one) => one === why) ?? "settled";
    return { lease: items[asNumber(number)]?.text ?? "", outcome };
  });
  return {
    settled: {
      acked: 0,
      retried: asNumber(retried),
      rejected: asNumber(rejected),
      released: asNumber(released),
      extended: asNumber(extended),
      stale,
    },
    rest: asArray(rest).flatMap((number) => items[asNumber(number)] ?? []),
  };
}

const OUTCOMES = ["superseded", "settled", "foreign"] as const;

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
