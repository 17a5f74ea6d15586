import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { setPriority } from "node:os";
import { join } from "node:path";
import { LIBERTIES, libertiesOfEnvironment } from "../../local/liberties.ts";
import type { RunningRedis } from "../../local/redis.ts";
import { RedisLink } from "../../local/redis-link.ts";
import { toJson } from "../../local/resp.ts";
import { withUpstashRules } from "../../local/script-rules.ts";

/** What took the tests' Redis too long, told from what only waited for a processor. */

/** For redis-server: all from 20 ms on is noted. */
export const SLOW_LOG_ARGS: readonly string[] = ["--slowlog-log-slower-than", "20000", "--slowlog-max-len", "100000"];

/** The most that any command of Weir's own may take. */
const MAX_MS = 50;
/** A produce is all or nothing, so one step, and a request may have 8 MiB: of that alone Redis makes Lua values for some 40 ms. */
const MAX_PRODUCE_MS = 150;
/** How tests name the connections on which they send what they like. */
export const TEST_CLIENT = "weir-test";
const SAMPLE_EVERY_MS = 100;
/** Above that of the tests and their Workers, which are more than there are processors. */
const PRIORITY = -15;

export interface SlowCommand {
  /** The script's name, or the command's first words. */
  readonly what: string;
  readonly tookMs: number;
  /** For how much of that Redis may have had no processor, at the most. */
  readonly waitedMs: number;
}

/**
 * Watches Redis' slow log. Its times are of the clock on the wall, and a machine with two processors and three test
 * workers lets redis-server wait for its turn in the middle of a script. So it gets a higher priority, where that is
 * permitted; and Linux tells how long it was ready and not running, which is sampled and taken off.
 */
export class SlowLog {
  readonly #redis: RunningRedis;
  readonly #timer: NodeJS.Timeout;
  readonly #samples: { readonly atMs: number; readonly waitedMs: number }[] = [];

  constructor(redis: RunningRedis) {
    this.#redis = redis;
    raisePriority(redis.pid);
    this.#timer = setInterval(() => void this.#sample(), SAMPLE_EVERY_MS);
  }

  /** Ends watching. @returns Weir's own commands that took longest, the longest first */
  async end(): Promise<SlowCommand[]> {
    clearInterval(this.#timer);
    await this.#sample();
    const link = new RedisLink(this.#redis.url);
    const [reply] = await link.send([["SLOWLOG", "GET", "-1"]]).finally(() => link.close());
    const rows: [id: number, atS: number, tookUs: number, words: string[], address: string, client: string][] =
      JSON.parse(reply === undefined ? "[]" : toJson(reply, false));
    const known = await knownScripts();
    const own = rows.filter(([, , , words, , client]) => client !== TEST_CLIENT && isOfWeir(words, known));
    return own
      .map(([, atS, tookUs, words]) => {
        const tookMs = tookUs / 1_000;
        return {
          what: describe(words, known),
          tookMs,
          waitedMs: Math.min(tookMs, this.#waitedAround(atS * 1_000, tookMs)),
        };
      })
      .sort((a, b) => b.tookMs - a.tookMs);
  }

  async #sample(): Promise<void> {
    const text = await readFile(`/proc/${this.#redis.pid}/schedstat`, "utf8").catch(() => undefined);
    const waitedNs = text?.split(" ")[1];
    if (waitedNs !== undefined) this.#samples.push({ atMs: Date.now(), waitedMs: Number(waitedNs) / 1e6 });
  }

  /** @param atMs when it ended, in whole seconds, as the slow log says it */
  #waitedAround(atMs: number, tookMs: number): number {
    const before = this.#samples.findLast((sample) => sample.atMs <= atMs - tookMs) ?? this.#samples.at(0);
    const after = this.#samples.find((sample) => sample.atMs >= atMs + 1_000) ?? this.#samples.at(-1);
    return (after?.waitedMs ?? 0) - (before?.waitedMs ?? 0);
  }
}

/** Those that surely took longer than they may. */
export function tooSlow(commands: readonly SlowCommand[]): SlowCommand[] {
  return commands.filter(({ what, tookMs, waitedMs }) => {
    return tookMs - waitedMs > (what.startsWith("produce ") ? MAX_PRODUCE_MS : MAX_MS);
  });
}

/** A line for each script or command: how often it was slow, and the slowest. @param commands the slowest first */
export function summaryOf(commands: readonly SlowCommand[]): string {
  return [...Map.groupBy(commands, ({ what }) => what.split(" ")[0] ?? "")]
    .map(([name, some]) => {
      const [{ what, tookMs, waitedMs } = { what: "", tookMs: 0, waitedMs: 0 }] = some;
      return `  ${name}: ${some.length} times, ${tookMs.toFixed(1)} ms at the most, of which it waited up to ${waitedMs.toFixed(1)} (${what})`;
    })
    .join("\n");
}

/** Of the process and, since it has a session of its own, of what Linux schedules together as its autogroup. */
/** @returns whether it is served before the tests now */
export function raisePriority(pid: number): boolean {
  try {
    setPriority(pid, PRIORITY);
    writeFileSync(`/proc/${pid}/autogroup`, String(PRIORITY));
    return true;
  } catch (error) {
    // Only root may, and only some systems have groups: else more of what is slow cannot be told from what waited.
    if (!(error instanceof Error && "code" in error)) throw error;
    return false;
  }
}

/** What `shared/` sends besides scripts; tests set up on its connections with others. */
const COMMANDS = [
  "xack",
  "xdel",
  "xinfo",
  "xlen",
  "xpending",
  "xrange",
  "xreadgroup",
  "xrevrange",
  "hgetall",
  "hmget",
  "zrange",
];

function isOfWeir([name = "", text = ""]: readonly string[], { beginnings }: KnownScripts): boolean {
  const command = name.toLowerCase();
  // A script that a test wrote itself does not begin as Weir's do.
  if (command === "eval") return beginnings.has(text.slice(0, BEGINNING));
  return command === "evalsha" || COMMANDS.includes(command);
}

function describe([name = "", text = "", ...rest]: readonly string[], { names }: KnownScripts): string {
  const [, moreBytes] = /\.\.\. \((\d+) more bytes\)$/.exec(text) ?? [];
  const script = names.get(text) ?? (moreBytes && names.get(lengthKey(KEPT_BYTES + Number(moreBytes))));
  const words = [script || `${name} ${text.trim().slice(0, 40)}`, ...rest.slice(0, 4)];
  return words.join(" ").replaceAll(/\s+/g, " ").slice(0, 160);
}

/** The slow log keeps 128 bytes of an argument, and says how many more there were. */
const KEPT_BYTES = 128;
const BEGINNING = 100;

function lengthKey(bytes: number): string {
  return `${bytes} bytes`;
}

interface KnownScripts {
  /** By digest, and by length for those that were sent with their source. */
  readonly names: Map<string, string>;
  readonly beginnings: Set<string>;
}

/** Weir's scripts, as they are and as the local endpoint rewords them. */
async function knownScripts(): Promise<KnownScripts> {
  const dir = join(import.meta.dirname, "../../shared/scripts");
  const liberties = libertiesOfEnvironment();
  const isStrict = LIBERTIES.some((liberty) => !liberties.has(liberty));
  const known: KnownScripts = { names: new Map(), beginnings: new Set() };
  for (const file of await readdir(dir)) {
    if (!file.endsWith(".lua.ts")) continue;
    const exported: Record<string, unknown> = await import(join(dir, file));
    for (const script of Object.values(exported)) {
      if (!isScript(script)) continue;
      for (const source of [script.source, withUpstashRules(script.source, liberties, isStrict)]) {
        known.names.set(createHash("sha1").update(source).digest("hex"), script.name);
        known.names.set(lengthKey(Buffer.byteLength(source)), script.name);
        known.beginnings.add(source.slice(0, BEGINNING));
      }
    }
  }
  return known;
}

function isScript(value: unknown): value is { readonly name: string; readonly source: string } {
  return typeof value === "object" && value !== null && "name" in value && "source" in value;
}
