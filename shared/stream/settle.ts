import { WeirError } from "../errors.ts";
import { compareIds, orderedId } from "../ids.ts";
import { type Lease, leaseFormat } from "../lease.ts";
import { type Outcome, ReplyError } from "../redis/connection.ts";
import type { Call } from "../redis/redis.ts";
import { asArray, asNumber, asText } from "../redis/reply.ts";
import { settleScript } from "../scripts/settle.lua.ts";
import { groupError, probeGroup } from "./missing.ts";
import { GROUP_DEFAULTS } from "./settings.ts";
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

/** The calls that settle, to be sent in a pipeline with others, and how to read their outcomes. */
export interface SettlePlan {
  readonly calls: readonly Call[];
  /** What was settled; a call that Redis refused has settled nothing. */
  decode(outcomes: readonly Outcome[]): Settled;
}

const NOTHING_FENCED = { retried: 0, rejected: 0, released: 0, extended: 0, stale: [] };

/** Plans settling: acknowledgements by plain commands, the rest by one script that is fenced by the leases. */
export function planSettle(stream: EventStream, group: string, request: SettleRequest): SettlePlan {
  const stale: StaleLeases = new Map();
  const acks = planAcks(stream, group, readAll(stream, group, request.acks, stale));
  const fenced = planFenced(stream, group, request, stale);
  return {
    calls: [...acks, ...(fenced === undefined ? [] : [fenced.call])],
    decode(outcomes) {
      const replies = outcomes.map((outcome) => (outcome instanceof ReplyError ? undefined : outcome));
      // XACK and HDEL count; ZREM, after HDEL, only tidies up.
      const counts = acks.map(([name], i) => (name === "ZREM" ? undefined : replies[i]));
      const acked = counts.reduce<number>((sum, count) => (count === undefined ? sum : sum + asNumber(count)), 0);
      const reply = replies[acks.length];
      const rest = fenced === undefined || reply === undefined ? NOTHING_FENCED : fenced.decode(reply);
      const unread = Array.from(stale, ([lease, outcome]) => ({ lease, outcome }));
      return { acked, ...rest, stale: [...unread, ...rest.stale] };
    },
  };
}

/**
 * Settles deliveries, in one round trip.
 * @throws {WeirError} `unknown-stream`, `unknown-group`; any other with what was settled all the same
 */
export async function settle(stream: EventStream, group: string, request: SettleRequest): Promise<Settled> {
  const plan = planSettle(stream, group, request);
  // XACK says 0 for a missing stream or group: XPENDING, cheap however much is pending, tells.
  const outcomes = await stream.redis.pipeline([probeGroup(stream, group), ...plan.calls]);
  const [probe = null, ...settled] = outcomes;
  if (probe instanceof ReplyError) throw await groupError(stream, group, probe);
  const done = plan.decode(settled);
  const fault = settled.find((outcome) => outcome instanceof ReplyError);
  if (fault !== undefined) throw withSettled(await groupError(stream, group, fault), done);
  return done;
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
): { text: string; lease: Lease }[] {
  const format = leaseFormat(stream.name, group);
  const read: { text: string; lease: Lease }[] = [];
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
function planAcks({ keys }: EventStream, group: string, leases: readonly { lease: Lease }[]): PlainCommand[] {
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
function handedMember({ deliveries, consumer }: Lease, side: string): string {
  return `${side} ${deliveries} h ${consumer}`;
}

/** What stands for that delivery in the index of the side store's schedule. */
function indexMembers({ id, deliveries, consumer }: Lease, side: string): string[] {
  const message = orderedId(id);
  return [
    `m ${message} ${side}`,
    `h ${message} ${side} ${deliveries} ${consumer}`,
    `c ${consumer} ${side} ${deliveries}`,
  ];
}

interface Fenced {
  readonly call: Call;
  decode(reply: Parameters<typeof asArray>[0]): Omit<Settled, "acked">;
}

function planFenced(
  stream: EventStream,
  group: string,
  request: SettleRequest,
  stale: StaleLeases,
): Fenced | undefined {
  const asked = [
    ...request.extends.map((lease) => ({ action: "extend", lease, delayMs: undefined, reason: undefined })),
    ...request.retries.map((retry) => ({ action: "retry", delayMs: undefined, reason: undefined, ...retry })),
    ...request.rejects.map((reject) => ({ action: "reject", delayMs: undefined, reason: undefined, ...reject })),
    ...request.releases.map((lease) => ({ action: "release", lease, delayMs: undefined, reason: undefined })),
  ];
  const byLease = new Map(asked.map((item) => [item.lease, item]));
  const items = readAll(stream, group, [...byLease.keys()], stale)
    .map(({ text, lease }) => ({ ...byLease.get(text), text, lease }))
    .sort((a, b) => compareText(a.lease.consumer, b.lease.consumer) || compareIds(a.lease.id, b.lease.id));
  if (items.length === 0) return undefined;
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
  ]);
  const { ackWaitMs, maxDeliveries, backoff } = GROUP_DEFAULTS;
  return {
    call: {
      script: settleScript,
      keys: groupKeys(stream, group),
      args: [group, ackWaitMs, maxDeliveries, backoff.minMs, backoff.maxMs, JSON.stringify(rows)],
    },
    decode(reply) {
      const [extended, retried, rejected, released, notHeld] = asArray(reply);
      return {
        retried: asNumber(retried),
        rejected: asNumber(rejected),
        released: asNumber(released),
        extended: asNumber(extended),
        stale: asArray(notHeld).map((row) => {
          const [number, outcome] = asArray(row);
          const lease = items[asNumber(number)]?.text ?? "";
          return { lease, outcome: asText(outcome) === "superseded" ? "superseded" : "settled" };
        }),
      };
    },
  };
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
