import { type Known, Learnt } from "./values.ts";

/** What a request is about, so that what it hands back was mostly learnt there. */
export interface Scope {
  readonly stream?: string;
  readonly group?: string;
  /** The path with its `{…}`: cursors belong to a list. */
  readonly path: string;
}

const LONG = "n".repeat(128);
const LAST_ID = "18446744073709551615-18446744073709551615";
const EDGE_IDS = [
  "0-0",
  "0-1",
  "1-0",
  LAST_ID,
  "18446744073709551615-18446744073709551614",
  "18446744073709551615-0",
  "18446744073709551614-18446744073709551615",
  "9007199254740993-1",
  "1690000000000-0",
];
const TIMES = ["2023-07-22T00:00:00Z", "0", "1690000000000", "99999999999999"];

/** What is tried as long as nothing is learnt, and now and then later. */
const SEEDS: Readonly<Record<Known, readonly string[]>> = {
  stream: ["s0", "s1", "s2", "s0:config", "S0", LONG, "..a"],
  group: ["g0", "g1", "g:0", "G0", "__proto__", LONG],
  consumer: ["c0", "c1", "c2", "c:3", "constructor", LONG],
  anyConsumer: ["c0", "c1", "@held:0", "@held", "a b", "ü/ÿ", "\u0000", "%2F", "..", "a:b"],
  id: EDGE_IDS,
  deadId: EDGE_IDS,
  scheduledId: ["later~1.0~000000000001.", "later~999999999.999999~999999999999999.abcdefgh", "later~", "1-0"],
  position: [...EDGE_IDS, ...TIMES, "-", "+"],
  place: [...EDGE_IDS, ...TIMES, "earliest", "latest"],
  lease: ["1~1~c0~1~1-0~1", "1~~~~~", "", "1~1", "2~future"],
  pollState: ["1.9.0.1.1.0.0", "1.0.0.0", "1.999999.999999.1.1.999999999999999.999999999999999", "2.x", ""],
  cursor: [
    ...EDGE_IDS,
    "s0",
    "g0",
    "0",
    "1:0",
    "1690000000000:0-1",
    "again:",
    "again:1",
    "again:0-1",
    "~",
    "1~1",
    "1~000000000001.",
  ],
  type: ["order", "t", "order.paid", "ü", "\u2028", "0"],
  onceKey: ["k0", "k1", "k2", ":", "~".repeat(255), "{}"],
};

/** Few of those that others belong to, so that what is learnt about one is soon of use. */
const MOST_KEPT: Readonly<Partial<Record<Known, number>>> = { stream: 4, group: 4, consumer: 6, type: 6, onceKey: 6 };
const MOST_KEPT_ELSE = 48;

/** What was learnt from answers: the latest of each kind in each stream, group or list. */
export class Pool {
  readonly #kept = new Map<string, string[]>();

  learn(kind: Known, scope: Scope, text: string): void {
    const key = keyOf(kind, scope);
    const kept = this.#kept.get(key) ?? [];
    if (kept.includes(text)) return;
    kept.push(text);
    if (kept.length > (MOST_KEPT[kind] ?? MOST_KEPT_ELSE)) kept.shift();
    this.#kept.set(key, kept);
  }

  /** It is not there any more. */
  forget(kind: Known, scope: Scope, text: string): void {
    const kept = this.#kept.get(keyOf(kind, scope));
    if (kept?.includes(text)) kept.splice(kept.indexOf(text), 1);
  }

  /** What a pick stands for now. */
  resolve({ kind, n, twist }: Learnt, scope: Scope): string {
    const known = this.#candidates(kind, scope, twist === FOREIGN);
    const text = known[n % known.length] ?? "";
    return TWISTS[twist]?.(text, n) ?? text;
  }

  /** One of that kind, as it is. */
  any(kind: Known, n: number, scope: Scope): string {
    return this.resolve(new Learnt(kind, n), scope);
  }

  /** All that are known of a kind, wherever, with those that are tried anyway. */
  all(kind: Known): readonly string[] {
    const learnt = [...this.#kept].filter(([key]) => key.startsWith(`${kind} `)).flatMap(([, kept]) => kept);
    return [...new Set([...learnt, ...SEEDS[kind]])];
  }

  /** Whether anything of that kind was learnt there. */
  knows({ kind, twist }: Learnt, scope: Scope): boolean {
    return twist === FOREIGN || (this.#kept.get(keyOf(kind, scope))?.length ?? 0) > 0;
  }

  /** Forgets what belongs to a stream that is gone, but for a few: what is stale must be refused too. */
  shrink(stream: string): void {
    for (const [key, kept] of this.#kept) if (key.includes(` ${stream}/`)) kept.splice(0, kept.length - 2);
  }

  #candidates(kind: Known, scope: Scope, foreign: boolean): readonly string[] {
    if (foreign) {
      const others = [...this.#kept].filter(([key]) => key.startsWith(`${kind} `)).flatMap(([, kept]) => kept);
      return others.length > 0 ? others : SEEDS[kind];
    }
    const learnt = [...(this.#kept.get(keyOf(kind, scope)) ?? [])];
    // Times and ids mean the same to a range.
    if (kind === "position" || kind === "place") learnt.push(...(this.#kept.get(keyOf("id", scope)) ?? []));
    return learnt.length > 0 ? learnt : SEEDS[kind];
  }
}

function keyOf(kind: Known, { stream = "", group = "", path }: Scope): string {
  switch (kind) {
    case "stream":
    case "consumer":
    case "type":
      return `${kind} /`;
    case "group":
    case "id":
    case "scheduledId":
    case "position":
    case "place":
    case "onceKey":
      return `${kind} ${stream}/`;
    case "cursor":
      return `${kind} ${stream}/${group} ${path}`;
    default:
      return `${kind} ${stream}/${group}`;
  }
}

/** The twist that takes what was learnt elsewhere: other groups' leases, other lists' cursors. */
const FOREIGN = 1;

/** How a learnt text is spoilt, by number; 0 leaves it. */
const TWISTS: readonly ((text: string, n: number) => string)[] = [
  (text) => text,
  (text) => text,
  (text) => text.slice(0, -1),
  (text, n) => text.slice(0, n % (text.length + 1)) + text.slice((n % (text.length + 1)) + 1),
  (text) => text.toUpperCase(),
  (text) => `${text} `,
  (text) => `${text}~1`,
  (text) => `${text}\n`,
  (text) => `0${text}`,
  (text) => text.replace(/\d+$/, (digits) => String(BigInt(digits) + 1n)),
  (text) => text.replace(/\d(?=\D*$)/, "x"),
  (text) => `${text}\u0000`,
  (text) => text + text,
];

export const TWIST_COUNT = TWISTS.length;

export function seedsOf(kind: Known): readonly string[] {
  return SEEDS[kind];
}
