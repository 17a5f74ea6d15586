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
  /** Sent with its source, so that it runs in its turn in any case: for one that a later call depends on. */
  readonly inTurn?: true;
}

// Upstash bills the commands inside a script, so every script counts them: it calls Redis by `call` (or `try`, which
// returns an error instead of raising it) and ends with `return reply(result)`.
const COUNTING = /* lua */ `
local commands = 0
local function call(...) commands = commands + 1 return redis.call(...) end
local function try(...) commands = commands + 1 return redis.pcall(...) end
local function reply(result) return { commands, result } end
`;

/**
 * @param name the script's file name, for messages
 * @param parts Lua fragments, joined in order; the last one returns `reply(result)`
 */
export function defineScript(name: string, ...parts: readonly string[]): Script {
  const source = [COUNTING, ...parts].join("\n");
  return { name, source, sha1: createHash("sha1").update(source).digest("hex"), onlyReads: false };
}

/** As {@link defineScript}, for a script that changes nothing. */
export function defineReadingScript(name: string, ...parts: readonly string[]): Script {
  return { ...defineScript(name, ...parts), onlyReads: true };
}
