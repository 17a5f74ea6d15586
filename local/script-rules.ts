// Upstash's rules for what scripts do, and for XINFO, as Lua that shadows `redis` in the scripts that run here.
import type { Liberties } from "./liberties.ts";
import { PENDING_GUARD } from "./pending-limit.ts";
import type { Planned } from "./planned.ts";
import type { Arg } from "./resp.ts";

// What a command may not do, and what of its reply is hidden. `liberty` has the liberties that are taken; `declared` the
// keys that a script was given, nil outside of scripts.
const RULES = `
local weir_rules = function(liberty, declared)
  local options = { IDLE = true, TIME = true, RETRYCOUNT = true, FORCE = true, LASTID = true }
  local every = { EXISTS = true, DEL = true, UNLINK = true, MGET = true, TOUCH = true }
  local second = { XGROUP = true, XINFO = true, OBJECT = true }
  local keyless = { TIME = true, PING = true, ECHO = true, LASTSAVE = true }
  local hidden = { ['entries-added'] = true, ['max-deleted-entry-id'] = true, ['recorded-first-entry-id'] = true,
    ['entries-read'] = true, lag = true }
  local function undeclared(key)
    if declared[tostring(key)] then return nil end
    return 'ERR Script attempted to access a key that is not among its KEYS'
  end
  local function keys(name, a)
    if keyless[name] then return nil end
    if every[name] then
      for i = 2, #a do
        local text = undeclared(a[i])
        if text then return text end
      end
      return nil
    end
    if name == 'XREAD' or name == 'XREADGROUP' then
      local i = 2
      while a[i] and string.upper(tostring(a[i])) ~= 'STREAMS' do i = i + 1 end
      for k = i + 1, i + math.floor((#a - i) / 2) do
        local text = undeclared(a[k])
        if text then return text end
      end
      return nil
    end
    return undeclared(a[second[name] and 3 or 2])
  end
  local rules = {}
  function rules.refused(a)
    local name = string.upper(tostring(a[1]))
    if declared and name == 'TIME' and not liberty['time-in-scripts'] then
      return 'ERR This Redis command is not allowed from script'
    end
    if name == 'XGROUP' and not liberty['entriesread'] then
      for i = 5, #a do
        if string.upper(tostring(a[i])) == 'ENTRIESREAD' then return 'ERR syntax error' end
      end
    end
    if name == 'XCLAIM' and not liberty['xclaim-options'] then
      for i = 7, #a do
        if options[string.upper(tostring(a[i]))] then return 'ERR syntax error' end
      end
    end
    if declared and not liberty['undeclared-keys'] then return keys(name, a) end
  end
  local function visible(flat)
    if liberty['xinfo-counts'] then return flat end
    local kept = {}
    for i = 1, #flat, 2 do
      if not hidden[flat[i]] then kept[#kept + 1], kept[#kept + 2] = flat[i], flat[i + 1] end
    end
    return kept
  end
  function rules.shown(a, reply)
    if string.upper(tostring(a[1])) ~= 'XINFO' then return reply end
    local what = string.upper(tostring(a[2]))
    if reply.err then
      local isMissing = what == 'CONSUMERS' and reply.err:match('NOGROUP')
      if isMissing and not liberty['xinfo-missing-group'] then return {} end
      return reply
    end
    if what == 'STREAM' and #a == 3 then return visible(reply) end
    if what == 'GROUPS' then
      for i = 1, #reply do reply[i] = visible(reply[i]) end
    end
    return reply
  end
  return rules
end`;

// Shadows the script's own `redis`: call raises as the real one does, pcall returns the error.
const SHADOW = `
local redis = (function(real)
  local guard, rules = weir_guard(real), weir_applied
  local function guarded(raises)
    return function(...)
      local text = rules and rules.refused({ ... }) or guard(...)
      if text then
        if raises then error(real.error_reply(text)) end
        return real.error_reply(text)
      end
      if not rules or string.upper(tostring((...))) ~= 'XINFO' then
        if raises then return real.call(...) end
        return real.pcall(...)
      end
      local reply = rules.shown({ ... }, real.pcall(...))
      if raises and reply.err then error(reply) end
      return reply
    end
  end
  return setmetatable({ call = guarded(true), pcall = guarded(false) }, { __index = real })
end)(redis)`;

/** The liberties as a Lua table. */
function tableOf(liberties: Liberties): string {
  return `{ ${[...liberties].map((name) => `['${name}'] = true`).join(", ")} }`;
}

/** @param declared Lua for the keys that are declared */
function applied(liberties: Liberties, declared: string): string {
  return `${oneLine(RULES)} local weir_applied = weir_rules(${tableOf(liberties)}, ${declared})`;
}

const DECLARED = "(function() local all = {} for i = 1, #KEYS do all[KEYS[i]] = true end return all end)()";

/**
 * The script as it has to be run to hold Upstash's rules, with every line where it was. (Where a shadowed call fails,
 * Redis gives line 1: it looks one function up, which is the shadow. Errors of Lua itself name the right line.)
 *
 * @param script Lua source, with or without a shebang line
 * @param liberties what is allowed beyond Upstash's strictest document
 * @param isStrict whether any liberty is not taken
 * @returns the same text when nothing has to change
 */
export function withUpstashRules(script: string, liberties: Liberties, isStrict: boolean): string {
  const shebangEnd = script.startsWith("#!") ? script.indexOf("\n") + 1 : 0;
  // A flag of Upstash's own, which Redis refuses to load.
  const shebang = script
    .slice(0, shebangEnd)
    .replace(/,allow-key-locking|allow-key-locking,?/, "")
    .replace(/ flags=\s*$/, "\n");
  const body = script.slice(shebangEnd);
  const rules = isStrict ? applied(liberties, DECLARED) : "local weir_applied";
  const needsRules = isStrict ? /\bredis\b/.test(body) : /xreadgroup/i.test(body);
  return shebang + (needsRules ? `${PENDING_GUARD} ${rules} ${oneLine(SHADOW)} ` : "") + body;
}

/** Why Upstash's strictest document would refuse a command, outside of scripts. */
export function strictRefusal(name: string, args: readonly Arg[], liberties: Liberties): string | undefined {
  const words = args.map((arg) => (typeof arg === "string" ? arg.toUpperCase() : ""));
  if (name === "XGROUP" && !liberties.has("entriesread") && words.includes("ENTRIESREAD", 4)) return "ERR syntax error";
  const isClaim = name === "XCLAIM" && !liberties.has("xclaim-options");
  if (isClaim && words.some((word, i) => i > 5 && XCLAIM_OPTIONS.has(word))) return "ERR syntax error";
  return undefined;
}

const XCLAIM_OPTIONS = new Set(["IDLE", "TIME", "RETRYCOUNT", "FORCE", "LASTID"]);

/**
 * XINFO as Upstash's strictest document has it.
 * @returns undefined where it is as Redis has it
 */
export function plainInfo(name: string, args: readonly Arg[], liberties: Liberties): Planned | undefined {
  if (name !== "XINFO" || (liberties.has("xinfo-counts") && liberties.has("xinfo-missing-group"))) return undefined;
  // The LASTSAVE accounts for the EVAL: see pending-limit.ts.
  const script = `${applied(liberties, "nil")} redis.call('LASTSAVE')
return weir_applied.shown(ARGV, redis.pcall(unpack(ARGV)))`;
  return { commands: [["EVAL", script, "0", ...args]] };
}

function oneLine(lua: string): string {
  return lua.trim().replace(/\s*\n\s*/g, " ");
}
