import type { Redis as IoRedis } from "ioredis";

/** The name of the fuzzer's own connection. */
export const OWN_NAME = "weir-fuzz";

/** What is in Redis under a prefix, and what a request cost there. */

/** A key's contents in short, and how long it still lives. */
interface KeyState {
  readonly digest: string;
  /** -1: for ever. */
  readonly ttlMs: number;
  /** The groups that a stream has, or that the fields of a hash are of. */
  readonly groups: readonly string[];
}

export interface RedisState {
  readonly takenMs: number;
  readonly keys: ReadonlyMap<string, KeyState>;
}

/**
 * DUMP holds all that a key has: a stream's groups and pending entries too. A hash and a set come in an order that looking
 * at them may change, so they are sorted. It is hashed in Redis, since it may be long.
 */
const DIGEST = /* lua */ `
-- weir's fuzzer
local function hash(key)
  local fields = redis.call('HGETALL', key)
  local rows = {}
  for i = 1, #fields, 2 do rows[#rows + 1] = #fields[i] .. ':' .. fields[i] .. fields[i + 1] end
  table.sort(rows)
  return table.concat(rows, '|')
end
local function set(key)
  local members = redis.call('SMEMBERS', key)
  table.sort(members)
  return table.concat(members, '|')
end
local function groupsIn(key, kind)
  local names = {}
  if kind == 'stream' then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do names[#names + 1] = group[2] end
  elseif kind == 'hash' then
    for _, field in ipairs(redis.call('HKEYS', key)) do names[#names + 1] = field:match('^%w+:(.+)$') end
  end
  return names
end
local rows = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind = redis.call('TYPE', key).ok
  local text
  if kind == 'hash' then text = hash(key) elseif kind == 'set' then text = set(key) else text = redis.call('DUMP', key) end
  rows[#rows + 1] = { key, kind .. redis.sha1hex(text), redis.call('PTTL', key), groupsIn(key, kind) }
end
return rows
`;

/** Looks at Redis between requests: its contents, its commands, its processor time. */
export class RedisWatch {
  readonly #native: IoRedis;
  readonly #prefix: string;
  #commandsBefore = 0;
  #cpuBeforeMs = 0;
  /** The commands by which the figures themselves were asked. */
  #asked = 0;

  constructor(native: IoRedis, prefix: string) {
    this.#native = native;
    this.#prefix = prefix;
  }

  /** What is there now. */
  async look(): Promise<RedisState> {
    const rows: unknown = await this.#native.eval(DIGEST, 0, `${this.#prefix}*`);
    if (!Array.isArray(rows)) throw new TypeError("expected rows");
    const keys = new Map(
      rows.map(([key, digest, ttlMs, groups]): [string, KeyState] => [
        String(key),
        { digest: String(digest), ttlMs: Number(ttlMs), groups: Array.isArray(groups) ? groups.map(String) : [] },
      ]),
    );
    return { takenMs: Date.now(), keys };
  }

  /** From now on, what {@link cost} tells is counted. */
  async startCounting(): Promise<void> {
    const { commands, cpuMs } = await this.#figures();
    this.#commandsBefore = commands;
    this.#cpuBeforeMs = cpuMs;
  }

  /** Commands, those inside scripts included, and milliseconds of Redis' own processor time since counting began. */
  async cost(): Promise<{ readonly commands: number; readonly cpuMs: number }> {
    const { commands, cpuMs } = await this.#figures();
    return { commands: commands - this.#commandsBefore, cpuMs: cpuMs - this.#cpuBeforeMs };
  }

  async #figures(): Promise<{ readonly commands: number; readonly cpuMs: number }> {
    const own = this.#asked;
    this.#asked += 2;
    const [stats, cpu] = await Promise.all([this.#native.info("stats"), this.#native.info("cpu")]);
    const figure = (text: string, name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, "m").exec(text)?.[1]);
    const seconds = figure(cpu, "used_cpu_user_main_thread") + figure(cpu, "used_cpu_sys_main_thread");
    return { commands: figure(stats, "total_commands_processed") - own, cpuMs: seconds * 1_000 };
  }

  /** Commands that took Redis longer than it is told to note, other than the fuzzer's own; asking forgets them. */
  async slowCommands(): Promise<readonly string[]> {
    const rows: unknown = await this.#native.slowlog("GET", 100);
    await this.#native.slowlog("RESET");
    if (!Array.isArray(rows)) throw new TypeError("expected rows");
    return rows.flatMap(([, , durationUs, words, , client]) =>
      client === OWN_NAME ? [] : [`${Number(durationUs) / 1_000} ms: ${String(words).slice(0, 300)}`],
    );
  }

  async usedBytes(): Promise<number> {
    return Number(/^used_memory:(\d+)/m.exec(await this.#native.info("memory"))?.[1]);
  }
}

/**
 * What differs, in words; empty when nothing does. A key whose time had come may be gone, and the clock keys may be made
 * anew: they are only there to tell Redis' time, and scripts of reads need that too.
 */
export function differences(before: RedisState, after: RedisState): string[] {
  const passedMs = after.takenMs - before.takenMs + 50;
  const told: string[] = [];
  for (const [key, { digest, ttlMs }] of before.keys) {
    const now = after.keys.get(key);
    if (now?.digest === digest || key.endsWith(":clock")) continue;
    if (now === undefined && ttlMs >= 0 && ttlMs <= passedMs) continue;
    told.push(now === undefined ? `${key} is gone` : `${key} is changed`);
  }
  for (const key of after.keys.keys()) {
    if (!before.keys.has(key) && !key.endsWith(":clock")) told.push(`${key} is new`);
  }
  return told;
}

/** Keys that hold another type than Weir puts there, in words: what is to be known of a fault. */
export function oddTypes({ keys }: RedisState, prefix: string): string[] {
  return [...keys].flatMap(([key, { digest }]) => {
    const type = digest.slice(0, -40);
    const expected = expectedType(key.slice(prefix.length));
    return type === expected ? [] : [`${key} is a ${type}`];
  });
}

function expectedType(name: string): string {
  const what = /^\{[^}]*\}(?::([^:]+))?/.exec(name);
  const byPart = {
    config: "hash",
    dead: "stream",
    again: "hash",
    "again-due": "zset",
    "dead-index": "zset",
    later: "zset",
    "later-sizes": "hash",
    "later-messages": "hash",
    "later-due": "zset",
    once: "string",
    clock: "string",
  };
  if (what !== null) return Object.entries(byPart).find(([part]) => part === what[1])?.[1] ?? "stream";
  return { streams: "zset", "reaper:runs": "list", alerts: "hash" }[name] ?? "none";
}
