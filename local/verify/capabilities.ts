// What a Redis behind Upstash's REST can do, tried by real commands under a prefix of its own.
import { type Command, type Outcome, ReplyError } from "../../shared/redis/connection.ts";
import type { Redis } from "../../shared/redis/redis.ts";

/** What was found of one capability. */
export interface Finding {
  readonly name: string;
  /** What Weir makes of it: cannot do without, is better with it, or does not use it. */
  readonly use: "needed" | "used if there" | "not used";
  readonly found: "yes" | "no";
  /** What was seen, in short. */
  readonly seen: string;
}

/** Runs commands one after the other, and says what each became. */
type Run = (...commands: Command[]) => Promise<Outcome[]>;

interface Capability {
  readonly name: string;
  readonly use: Finding["use"];
  /** @returns what was seen when it is there, or why it is not */
  readonly probe: (run: Run, key: string) => Promise<{ isThere: boolean; seen: string }>;
}

/** A stream of three entries with a group that has read two. */
async function prepare(run: Run, key: string): Promise<void> {
  await run(
    ["XADD", key, "1-0", "f", "v"],
    ["XADD", key, "2-0", "f", "v"],
    ["XADD", key, "3-0", "f", "v"],
    ["XGROUP", "CREATE", key, "g", "0"],
    ["XREADGROUP", "GROUP", "g", "c", "COUNT", 2, "STREAMS", key, ">"],
  );
}

/** Whether a command is taken. */
function taken(name: string, use: Finding["use"], toCommand: (key: string) => Command): Capability {
  return {
    name,
    use,
    async probe(run, key) {
      await prepare(run, key);
      const [outcome = null] = await run(toCommand(key));
      return { isThere: !(outcome instanceof ReplyError), seen: shown(outcome) };
    },
  };
}

/** Whether an answer tells a field. */
function field(name: string, what: "STREAM" | "GROUPS"): Capability {
  return {
    name: `XINFO ${what}: ${name}`,
    use: "used if there",
    async probe(run, key) {
      await prepare(run, key);
      const [outcome = null] = await run(["XINFO", what, key]);
      const isThere = JSON.stringify(outcome).includes(`"${name}"`);
      return { isThere, seen: isThere ? "told" : "not told" };
    },
  };
}

function script(name: string, use: Finding["use"], source: string, keys: number): Capability {
  return taken(name, use, (key) => ["EVAL", source, keys, ...Array.from({ length: keys }, (_, i) => `${key}:${i}`)]);
}

const CAPABILITIES: readonly Capability[] = [
  taken("XADD NOMKSTREAM", "needed", (key) => ["XADD", key, "NOMKSTREAM", "*", "f", "v"]),
  taken("XCLAIM … JUSTID", "needed", (key) => ["XCLAIM", key, "g", "d", 0, "1-0", "JUSTID"]),
  {
    name: "XAUTOCLAIM … JUSTID tells deleted ids",
    use: "used if there",
    async probe(run, key) {
      await prepare(run, key);
      const [, outcome = null] = await run(
        ["XDEL", key, "1-0"],
        ["XAUTOCLAIM", key, "g", "d", 0, "0-0", "COUNT", 10, "JUSTID"],
      );
      const deleted = Array.isArray(outcome) ? JSON.stringify(outcome[2] ?? null) : "";
      return { isThere: deleted === '["1-0"]', seen: shown(outcome) };
    },
  },
  {
    name: "XTRIM … ~ … LIMIT",
    use: "needed",
    async probe(run, key) {
      await prepare(run, key);
      const [outcome = null, length = null] = await run(
        ["XTRIM", key, "MINID", "~", "3-0", "LIMIT", 1000],
        ["XLEN", key],
      );
      return {
        isThere: typeof outcome === "number",
        seen: `of 2 to go it took ${shown(outcome)}, ${shown(length)} left`,
      };
    },
  },
  script(
    "EVAL, with PTTL of a key by SET … PXAT",
    "needed",
    "redis.call('SET', KEYS[1], '', 'PXAT', 32503680000000) return redis.call('PTTL', KEYS[1])",
    1,
  ),
  {
    name: "EVALSHA, NOSCRIPT for an unknown script",
    use: "needed",
    async probe(run) {
      const [outcome = null] = await run(["EVALSHA", "0".repeat(40), 0]);
      return { isThere: outcome instanceof ReplyError && outcome.word === "NOSCRIPT", seen: shown(outcome) };
    },
  },
  {
    name: "XREADGROUP after XGROUP SETID back",
    use: "needed",
    async probe(run, key) {
      await prepare(run, key);
      const read: Command = ["XREADGROUP", "GROUP", "g", "d", "COUNT", 9, "STREAMS", key, ">"];
      const [, outcome = null] = await run(["XGROUP", "SETID", key, "g", "0"], read);
      const count = JSON.stringify(outcome).match(/"\d-0"/g)?.length ?? 0;
      return { isThere: count === 3, seen: `${count} of 3 read again` };
    },
  },
  {
    name: "values that are not UTF-8, as base64",
    use: "needed",
    async probe(run, key) {
      const made: Command = ["EVAL", "return redis.call('SET', KEYS[1], string.char(255, 254))", 1, key];
      const [, outcome = null] = await run(made, ["GET", key]);
      return { isThere: outcome instanceof Uint8Array && outcome.length === 2, seen: shown(outcome) };
    },
  },
  {
    name: "XPENDING names the group that is missing",
    use: "needed",
    async probe(run, key) {
      await prepare(run, key);
      const [outcome = null] = await run(["XPENDING", key, "none"]);
      return { isThere: outcome instanceof ReplyError && outcome.word === "NOGROUP", seen: shown(outcome) };
    },
  },
  field("entries-added", "STREAM"),
  field("max-deleted-entry-id", "STREAM"),
  field("entries-read", "GROUPS"),
  field("lag", "GROUPS"),
  taken("XGROUP CREATE … ENTRIESREAD", "used if there", (key) => ["XGROUP", "CREATE", key, "h", "$", "ENTRIESREAD", 3]),
  script("TIME in scripts", "not used", "return redis.call('TIME')", 0),
  script("keys that are not among KEYS", "not used", "return redis.call('GET', 'weir-verify-undeclared')", 0),
  taken("XCLAIM … IDLE", "not used", (key) => ["XCLAIM", key, "g", "d", 0, "1-0", "IDLE", 5]),
  taken("XCLAIM … TIME", "not used", (key) => ["XCLAIM", key, "g", "d", 0, "1-0", "TIME", 5]),
  taken("XCLAIM … RETRYCOUNT", "not used", (key) => ["XCLAIM", key, "g", "d", 0, "1-0", "RETRYCOUNT", 5]),
  taken("XCLAIM … FORCE", "not used", (key) => ["XCLAIM", key, "g", "d", 0, "3-0", "FORCE"]),
  {
    name: "XINFO CONSUMERS names the group that is missing",
    use: "not used",
    async probe(run, key) {
      await prepare(run, key);
      const [outcome = null] = await run(["XINFO", "CONSUMERS", key, "none"]);
      return { isThere: outcome instanceof ReplyError, seen: shown(outcome) };
    },
  },
];

/**
 * Tries every capability, and deletes the keys again.
 * @param prefix of the keys, unlike any other
 */
export async function findCapabilities(redis: Redis, prefix: string): Promise<Finding[]> {
  const findings: Finding[] = [];
  const run: Run = async (...commands) => redis.pipeline(commands);
  for (const [at, { name, use, probe }] of CAPABILITIES.entries()) {
    const key = `${prefix}capability-${at}`;
    try {
      const { isThere, seen } = await probe(run, key);
      findings.push({ name, use, found: isThere ? "yes" : "no", seen });
    } finally {
      await redis.pipeline([["UNLINK", key, `${key}:0`]]);
    }
  }
  return findings;
}

function shown(outcome: Outcome): string {
  if (outcome instanceof ReplyError) return outcome.message.slice(0, 70);
  if (outcome instanceof Uint8Array) return `${outcome.length} bytes`;
  const text = JSON.stringify(outcome);
  return text.length > 40 ? `${text.slice(0, 39)}…` : text;
}
