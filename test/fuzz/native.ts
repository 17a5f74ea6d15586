import fc from "fast-check";
import { alertsKey, reaperRunsKey, registryKey, type StreamKeys, streamKeys } from "../../shared/keys.ts";
import type { Pool } from "./pool.ts";

/** What other clients of the same Redis do between requests, and time that passes. */

export interface NativeStep {
  readonly action: number;
  readonly n: number;
}

export const nativeSteps: fc.Arbitrary<NativeStep> = fc.record({ action: fc.nat(1023), n: fc.nat(1023) });

/** A Redis command with its arguments. */
export type Command = readonly (string | Buffer)[];

interface Place {
  readonly prefix: string;
  readonly keys: StreamKeys;
  readonly group: string;
  /** An id that was learnt there. */
  readonly id: string;
  readonly n: number;
}

type Action = (place: Place) => readonly Command[];

/** Lets every lease of the group end. */
const AGE = /* lua */ `
-- weir's fuzzer
local rows = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000)
for _, row in ipairs(rows.err and {} or rows) do
  redis.call('XCLAIM', KEYS[1], ARGV[1], row[2], 0, row[1], 'IDLE', 100000000, 'RETRYCOUNT', row[4], 'JUSTID')
end
`;

/** Lets all that waits in the group's side store be due; what lies beyond any time is its index. */
const AGE_SIDE_STORE = /* lua */ `
-- weir's fuzzer
local rows = redis.pcall('ZRANGE', KEYS[1], 0, 999, 'WITHSCORES')
for i = 1, rows.err and 0 or #rows, 2 do
  local score = tonumber(rows[i + 1])
  if score < 1e15 then redis.call('ZADD', KEYS[1], score < 0 and -1 or 1, rows[i]) end
end
redis.pcall('HSET', KEYS[2], 'againDue:' .. ARGV[1], 1)
`;

/** Puts something else into one field of a hash. */
const SPOIL_FIELD = /* lua */ `
-- weir's fuzzer
local fields = redis.pcall('HKEYS', KEYS[1])
if not fields.err and #fields > 0 then redis.call('HSET', KEYS[1], fields[ARGV[1] % #fields + 1], ARGV[2]) end
`;

const ODD_VALUES = ["x", "", "-1", "1e400", "nan", "99999999999999999999", "0-0", "{", "\u0000", "1~2~3"];

const ODD_ENTRIES: readonly Command[] = [
  ["", ""],
  ["data", "{not json"],
  ["data", "1", "data", "2"],
  ["type", "", "key", "", "data", "null"],
  ["weir-encoding", "base64", "data", "!!!"],
  ["weir-encoding", "gzip", "data", "1"],
  ["datacontenttype", "", "data", "x"],
  ["datacontenttype", "\n", "data", "x"],
  ["datacontenttype", "text/plain", "data", Buffer.from([0xff, 0xfe])],
  [Buffer.from([0xff]), Buffer.from([0x80])],
  ["__proto__", "1", "constructor", "2"],
  ["id", "x", "lease", "y", "deliveries", "z"],
  ["data", `"${"x".repeat(100_000)}"`],
  ["data", "[".repeat(10_000)],
  ["data", '"\ud800"'],
  Array.from({ length: 600 }, (_, i) => `f${i}`),
];

function oddOf<T>(list: readonly T[], n: number): T {
  const item = list[n % list.length];
  if (item === undefined) throw new RangeError("an empty list");
  return item;
}

/** All keys that belong to a group of a stream, and the stream's own. */
function keysOf({ keys, group }: Place): readonly string[] {
  return [
    keys.stream,
    keys.config,
    keys.dead(group),
    keys.again(group),
    keys.againDue(group),
    keys.deadIndex(group),
    keys.clock,
  ];
}

const WRONG_TYPES: readonly ((key: string) => Command)[] = [
  (key) => ["SET", key, "x"],
  (key) => ["RPUSH", key, "x"],
  (key) => ["SADD", key, "x"],
  (key) => ["HSET", key, "x", "y"],
  (key) => ["ZADD", key, "1", "x"],
  (key) => ["XADD", key, "*", "x", "y"],
  (key) => ["SET", key, "9".repeat(400)],
];

const age: Action = ({ keys, group }) => [
  ["EVAL", AGE, "1", keys.stream, group],
  ["EVAL", AGE_SIDE_STORE, "2", keys.againDue(group), keys.config, group],
];

/** Each with how often it comes, against the others. */
const ACTIONS: readonly (readonly [weight: number, action: Action])[] = [
  [24, age],
  [6, ({ keys, n }) => [["XADD", keys.stream, "*", ...oddOf(ODD_ENTRIES, n)]]],
  [1, ({ keys }) => [["XADD", keys.stream, "18446744073709551615-18446744073709551614", "data", "1"]]],
  [1, ({ keys }) => [["XADD", keys.stream, "18446744073709551615-18446744073709551615", "data", "1"]]],
  [2, ({ keys, group, n }) => [["XGROUP", "CREATE", keys.stream, group, n % 2 === 0 ? "0" : "$", "MKSTREAM"]]],
  [2, ({ keys, group }) => [["XGROUP", "DESTROY", keys.stream, group]]],
  [2, ({ keys, group, id, n }) => [["XGROUP", "SETID", keys.stream, group, oddOf(["0", "$", id], n)]]],
  [
    2,
    ({ keys, group, n }) => [
      ["XGROUP", "CREATECONSUMER", keys.stream, group, oddOf(["a b", "@x", "\u0000", "ü/?", "@held:9"], n)],
    ],
  ],
  [1, ({ keys, group }) => [["XGROUP", "DELCONSUMER", keys.stream, group, "c0"]]],
  [1, (place) => [["DEL", oddOf(keysOf(place), place.n)]]],
  [1, ({ keys }) => [["DEL", keys.stream]]],
  [1, ({ keys, prefix }) => [["RENAME", keys.stream, streamKeys(prefix, "s1").stream]]],
  [1, ({ keys, prefix }) => [["COPY", streamKeys(prefix, "s1").stream, keys.stream]]],
  [2, ({ keys, n }) => [["XTRIM", keys.stream, "MAXLEN", String(n % 20)]]],
  [3, ({ keys, id }) => [["XDEL", keys.stream, id]]],
  [
    4,
    ({ keys, group, n }) => [
      ["XREADGROUP", "GROUP", group, oddOf(["native", "c0", "a b"], n), "COUNT", "5", "STREAMS", keys.stream, ">"],
    ],
  ],
  [2, ({ keys, group, id }) => [["XCLAIM", keys.stream, group, "native", "0", id, "RETRYCOUNT", "1000", "FORCE"]]],
  [
    1,
    ({ keys, group, id }) => [["XCLAIM", keys.stream, group, "native", "0", id, "RETRYCOUNT", "9223372036854775807"]],
  ],
  [2, ({ keys, group, id }) => [["XACK", keys.stream, group, id]]],
  [1, ({ keys, n }) => [["XSETID", keys.stream, "18446744073709551615-1", "ENTRIESADDED", String(n)]]],
  [3, ({ keys, n }) => [["EVAL", SPOIL_FIELD, "1", keys.config, String(n), oddOf(ODD_VALUES, n)]]],
  [1, ({ keys, group, n }) => [["EVAL", SPOIL_FIELD, "1", keys.again(group), String(n), oddOf(ODD_VALUES, n)]]],
  [1, ({ keys, group, n }) => [["HSET", keys.again(group), oddOf(ODD_VALUES, n), "x"]]],
  [
    1,
    ({ keys, group, n }) => [
      ["ZADD", keys.againDue(group), oddOf(["1", "-1", "inf", "1e16"], n), oddOf(ODD_VALUES, n)],
    ],
  ],
  [1, ({ keys, group, n }) => [["XADD", keys.dead(group), "*", ...oddOf(ODD_ENTRIES, n)]]],
  [1, ({ keys, group, n }) => [["ZADD", keys.deadIndex(group), "0", oddOf(ODD_VALUES, n)]]],
  [1, ({ keys, n }) => [["EVAL", SPOIL_FIELD, "1", keys.laterSizes, String(n), oddOf(ODD_VALUES, n)]]],
  [1, ({ keys, n }) => [["ZADD", keys.later, oddOf(["0", "-1", "inf", "1e16"], n), oddOf(ODD_VALUES, n)]]],
  [1, ({ keys, n }) => [["DEL", oddOf([keys.later, keys.laterSizes], n)]]],
  [1, ({ prefix, n }) => [["ZADD", registryKey(prefix), "0", oddOf(["gone", "", "a b", "{x}", "s0"], n)]]],
  [1, ({ prefix }) => [["DEL", registryKey(prefix)]]],
  [1, ({ prefix, n }) => [["LPUSH", reaperRunsKey(prefix), oddOf(["", "{", "null", "[]", '{"startedAt":"x"}'], n)]]],
  [1, ({ prefix, n }) => [["EVAL", SPOIL_FIELD, "1", alertsKey(prefix), String(n), oddOf(ODD_VALUES, n)]]],
  [2, () => [["SCRIPT", "FLUSH"]]],
  [4, (place) => plant(oddOf(keysOf(place), place.n), place.n)],
  [1, ({ prefix, n }) => plant(oddOf([registryKey(prefix), reaperRunsKey(prefix), alertsKey(prefix)], n), n)],
];

/** A key of another type where Weir has one. */
function plant(key: string, n: number): readonly Command[] {
  const write = oddOf(WRONG_TYPES, n >> 3);
  return [["DEL", key], write(key)];
}

const TURNS: readonly Action[] = ACTIONS.flatMap(([weight, action]) => new Array<Action>(weight).fill(action));

/** The commands of a step. Some break what is there for good: what they break is to be deleted some steps later. */
export function commandsOf({ action, n }: NativeStep, prefix: string, pool: Pool): readonly Command[] {
  const stream = pool.any("stream", n, { path: "" });
  const group = pool.any("group", n >> 2, { path: "", stream });
  const id = pool.any("id", n, { path: "", stream });
  return oddOf(TURNS, action)({ prefix, keys: streamKeys(prefix, stream), group, id, n });
}

/** Deletes all that a stream has, as a client does that knows Redis only: to end what was broken. */
export function cleanUp(prefix: string, stream: string): readonly Command[] {
  const glob = `${prefix}{${stream}}*`;
  const script = /* lua */ `
-- weir's fuzzer
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end
for i = 2, #ARGV do redis.call('DEL', ARGV[i]) end
`;
  return [["EVAL", script, "0", glob, registryKey(prefix), reaperRunsKey(prefix), alertsKey(prefix)]];
}
