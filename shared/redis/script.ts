import { createHash } from "node:crypto";

/** A Lua script of `shared/scripts`, run by its hash. */
export interface Script {
  readonly name: string;
  readonly source: string;
  readonly sha1: string;
  /** Whether it changes nothing, so that a lost answer leaves nothing in doubt. */
  readonly onlyReads: boolean;
}

/** One run of a script, as a member of a pipeline. */
export interface ScriptCall {
  readonly script: Script;
  readonly keys: readonly string[];
  readonly args: readonly (string | number)[];
  /** Sent with its source, so that it runs in its turn whatever is cached: for a script that a later call depends on. */
  readonly inTurn?: true;
  /** Whether the other calls of a pipeline count without it: what goes wrong with its answer alone is its own outcome. */
  readonly isAside?: true;
}

/** Lua that several scripts share. */
export interface Part {
  /** The parts that must stand before it. */
  readonly needs: readonly Part[];
  readonly source: string;
}

/**
 * @param exports the names that the part gives to others. It writes them as `function name()` or `name = value`; all that
 *   it declares `local` is its own
 */
export function definePart(exports: readonly string[], needs: readonly Part[], source: string): Part {
  return { needs, source: `local ${exports.join(", ")}\ndo\n${source.trim()}\nend` };
}

// Upstash bills the commands inside a script, so every script counts them: it calls Redis by `call` (or `try`, which
// returns an error instead of raising it) and ends with `return reply(result)`. It reads stored numbers by `numberOf`: another
// client may have written anything there, which counts as not set.
const PRELUDE = /* lua */ `
local commands = 0
local function call(...) commands = commands + 1 return redis.call(...) end
local function try(...) commands = commands + 1 return redis.pcall(...) end
local function reply(result) return { commands, result } end
local function numberOf(text, fallback)
  local number = tonumber(text or nil)
  if number and number >= 0 and number <= 9007199254740992 then return number end
  return tonumber(fallback)
end
`;

/**
 * @param name the script's file name, for messages
 * @param parts those that the script itself uses; what they need is put before them
 * @param source Lua that ends with `return reply(result)`
 */
export function defineScript(name: string, parts: readonly Part[], source: string): Script {
  const whole = [PRELUDE, ...inOrder(parts).map((part) => part.source), source].join("\n");
  return { name, source: whole, sha1: createHash("sha1").update(whole).digest("hex"), onlyReads: false };
}

/** As {@link defineScript}, for a script that changes nothing. */
export function defineReadingScript(name: string, parts: readonly Part[], source: string): Script {
  return { ...defineScript(name, parts, source), onlyReads: true };
}

/** Each part once, behind all that it needs. */
function inOrder(parts: readonly Part[]): Part[] {
  const ordered = new Set<Part>();
  const add = (part: Part) => {
    part.needs.forEach(add);
    ordered.add(part);
  };
  parts.forEach(add);
  return [...ordered];
}
