import fc from "fast-check";

/** What to settle: leases that a consumer has in hand, any lease ever given, those of another group, or none at all. */
export interface Pick {
  readonly act: "ack" | "retry" | "reject" | "release" | "extend";
  readonly from: "own" | "any" | "foreign" | "junk";
  readonly at: number;
  readonly count: number;
  readonly delayMs: number | undefined;
}

export type Op =
  | { readonly op: "produce"; readonly count: number; readonly key: number | undefined; readonly natively: boolean }
  | {
      readonly op: "consume";
      readonly group: number;
      readonly consumer: number;
      readonly size: number;
      readonly state: "last" | "none" | "forged";
      readonly recover: boolean;
      readonly settle: readonly Pick[];
    }
  | { readonly op: "settle"; readonly group: number; readonly consumer: number; readonly settle: readonly Pick[] }
  | { readonly op: "crash"; readonly consumer: number }
  | { readonly op: "sweep"; readonly later: boolean; readonly prune: boolean }
  | { readonly op: "seek"; readonly group: number; readonly to: "earliest" | "latest" | number }
  | { readonly op: "replay"; readonly group: number; readonly at: readonly number[] }
  | {
      readonly op: "claim";
      readonly group: number;
      readonly consumer: number;
      readonly at: readonly number[];
      readonly force: boolean;
      readonly limit: number;
    }
  | { readonly op: "remove"; readonly group: number; readonly consumer: number; readonly heir: number | undefined }
  | { readonly op: "nativeRead"; readonly group: number; readonly count: number }
  | { readonly op: "nativeAck"; readonly group: number; readonly at: number; readonly count: number }
  | { readonly op: "expire"; readonly group: number; readonly consumer: number | undefined }
  | { readonly op: "expireSide"; readonly group: number }
  | { readonly op: "addGroup"; readonly earliest: boolean }
  | { readonly op: "delete"; readonly at: number }
  /** Another client trims the oldest, read or not. */
  | { readonly op: "nativeTrim"; readonly count: number }
  /** Another wait for what is handed out from now on. */
  | { readonly op: "configure"; readonly group: number; readonly ackWaitMs: number }
  /** Some time passes: more than the shortest wait, less than the longest. */
  | { readonly op: "age"; readonly group: number }
  /** Redis stalls, and a poll is given up meanwhile. */
  | { readonly op: "stall"; readonly group: number; readonly consumer: number; readonly size: number };

/** One after the other, or all at once. */
export type Step = Op | { readonly op: "atOnce"; readonly ops: readonly Op[] };

/** The waits that groups may have: nothing in a run takes as long as the shortest. */
export const WAITS_MS = [60_000, 600_000, 900_000] as const;
export const CONSUMERS = ["a", "b", "c", "d"] as const;
/** Where Weir holds what is to be handed out again: an operator may remove it like any consumer. */
export const HOLDER = "@held:0";
export const NATIVE = "native one";

/** Records without a prototype are hard to read in a report. */
function plain<Members>(members: { [Name in keyof Members]: fc.Arbitrary<Members[Name]> }): fc.Arbitrary<Members> {
  return fc.record(members, { noNullPrototype: true });
}

const group = fc.nat(2);
const consumer = fc.nat(CONSUMERS.length - 1);
const at = fc.nat(999);

const pick: fc.Arbitrary<Pick> = plain({
  act: fc.constantFrom("ack", "ack", "ack", "retry", "retry", "reject", "release", "extend"),
  from: fc.constantFrom("own", "own", "own", "own", "any", "any", "foreign", "junk"),
  at,
  count: fc.integer({ min: 1, max: 12 }),
  delayMs: fc.constantFrom(0, 0, 3_600_000, undefined),
});
const settle = fc.array(pick, { maxLength: 4 });

const produce = plain({
  op: fc.constant("produce" as const),
  // More than a poll looks through where it has little time.
  count: fc.oneof(
    { weight: 30, arbitrary: fc.integer({ min: 1, max: 20 }) },
    { weight: 1, arbitrary: fc.constant(300) },
  ),
  key: fc.option(fc.nat(2), { nil: undefined, freq: 2 }),
  natively: fc.boolean(),
});
const consume = plain({
  op: fc.constant("consume" as const),
  group,
  consumer,
  size: fc.constantFrom(1, 2, 3, 7, 20, 100),
  state: fc.constantFrom("last", "last", "none", "forged"),
  recover: fc.constantFrom(false, false, false, false, true),
  settle,
});
const settleAlone = plain({ op: fc.constant("settle" as const), group, consumer, settle });
const crash = plain({ op: fc.constant("crash" as const), consumer });
const sweep = plain({ op: fc.constant("sweep" as const), later: fc.boolean(), prune: fc.boolean() });
const seek = plain({
  op: fc.constant("seek" as const),
  group,
  to: fc.oneof(fc.constantFrom("earliest" as const, "latest" as const), at),
});
const replay = plain({
  op: fc.constant("replay" as const),
  group,
  at: fc.array(at, { minLength: 1, maxLength: 5 }),
});
const claim = plain({
  op: fc.constant("claim" as const),
  group,
  consumer,
  at: fc.array(at, { maxLength: 4 }),
  force: fc.constantFrom(false, false, true),
  limit: fc.integer({ min: 1, max: 20 }),
});
const remove = plain({
  op: fc.constant("remove" as const),
  group,
  consumer: fc.nat(CONSUMERS.length),
  heir: fc.option(consumer, { nil: undefined, freq: 2 }),
});
const nativeRead = plain({
  op: fc.constant("nativeRead" as const),
  group,
  count: fc.constantFrom(1, 2, 5, 10, 300),
});
const nativeAck = plain({
  op: fc.constant("nativeAck" as const),
  group,
  at,
  count: fc.integer({ min: 1, max: 10 }),
});
const expire = plain({
  op: fc.constant("expire" as const),
  group,
  consumer: fc.option(consumer, { nil: undefined, freq: 2 }),
});
const expireSide = plain({ op: fc.constant("expireSide" as const), group });
const addGroup = plain({ op: fc.constant("addGroup" as const), earliest: fc.boolean() });
const deleteOne = plain({ op: fc.constant("delete" as const), at });

const nativeTrim = plain({ op: fc.constant("nativeTrim" as const), count: fc.integer({ min: 1, max: 6 }) });
const configure = plain({
  op: fc.constant("configure" as const),
  group,
  ackWaitMs: fc.constantFrom(...WAITS_MS),
});
const ageSome = plain({ op: fc.constant("age" as const), group });
const stall = plain({ op: fc.constant("stall" as const), group, consumer, size: fc.constantFrom(1, 20) });

function weighted<Item>(...parts: readonly (readonly [weight: number, arbitrary: fc.Arbitrary<Item>])[]) {
  return fc.oneof(...parts.map(([weight, arbitrary]) => ({ weight, arbitrary })));
}

const shared = [
  [5, produce],
  [14, consume],
  [5, settleAlone],
  [2, crash],
  [3, sweep],
  [1, seek],
  [2, replay],
  [2, claim],
  [2, remove],
  [2, nativeRead],
  [1, nativeAck],
] as const;
const alone = [
  [5, expire],
  [4, expireSide],
  [1, addGroup],
  [1, deleteOne],
  [1, nativeTrim],
  [2, configure],
  [2, ageSome],
  [1, stall],
] as const;

const op: fc.Arbitrary<Op> = weighted<Op>(...shared, ...alone);
const atOnce: fc.Arbitrary<Step> = plain({
  op: fc.constant("atOnce" as const),
  ops: fc.array(weighted<Op>(...shared), { minLength: 2, maxLength: 8 }),
});

export interface Plan {
  /** For each of the groups. */
  readonly maxDeliveries: readonly number[];
  readonly retention: "none" | "age" | "length";
  readonly steps: readonly Step[];
}

/** @param isConcurrent whether some of the steps are done at once */
export function plans(isConcurrent: boolean): fc.Arbitrary<Plan> {
  const step: fc.Arbitrary<Step> = isConcurrent ? weighted<Step>([2, op], [1, atOnce]) : op;
  const maxDeliveries = fc.constantFrom(1, 2, 3, 5);
  return plain({
    maxDeliveries: fc.array(maxDeliveries, { minLength: 3, maxLength: 3 }),
    retention: fc.constantFrom("none", "age", "length"),
    steps: fc.array(step, { minLength: 1, maxLength: 60, size: "max" }),
  });
}
