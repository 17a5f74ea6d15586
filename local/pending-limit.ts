// Upstash lets a consumer hold at most 1,000 pending entries: XREADGROUP is refused when it would exceed that. Redis has
// no such limit, so it is checked in Lua, in the same atomic step as the read.

import type { Planned } from "./planned.ts";
import { type Arg, elements, errorText } from "./resp.ts";

/** Pending entries that one consumer may hold. */
export const PENDING_LIMIT = 1_000;

// Every command that the check itself runs is preceded by a LASTSAVE, which Upstash does not offer and hence nobody
// else calls: two commands per LASTSAVE are ours, not the client's (see usage.ts).
// The entries that are not yet delivered are only counted when COUNT would exceed the limit.
const GUARD = `
local weir_guard = function(redis)
  local function own(...)
    redis.pcall('LASTSAVE')
    return redis.pcall(...)
  end
  local function field(row, name)
    if row.map then return row.map[name] end
    for i = 1, #row, 2 do if row[i] == name then return row[i + 1] end end
  end
  local function row_of(rows, name)
    for i = 1, #rows do if field(rows[i], 'name') == tostring(name) then return rows[i] end end
  end
  local function undelivered(key, group, atmost)
    local found = row_of(own('XINFO', 'GROUPS', key), group)
    if not found then return 0 end
    return #own('XRANGE', key, '(' .. field(found, 'last-delivered-id'), '+', 'COUNT', atmost)
  end
  local function refused(key, group, consumer, count)
    local consumers = own('XINFO', 'CONSUMERS', key, group)
    if consumers.err then return nil end
    local found = row_of(consumers, consumer)
    local pending = found and field(found, 'pending') or 0
    if pending + count <= 1000 then return nil end
    local wanted = undelivered(key, group, math.max(1, math.min(count, 1001 - pending)))
    if wanted == 0 or pending + wanted <= 1000 then return nil end
    return 'ERR XReadGroup is cancelled. Pending Entries List limit per consumer is about to be reached. Limit: 1000, '
      .. 'Current PEL size: ' .. pending .. ', Requested Read: ' .. wanted .. ', Key: ' .. key .. ', Group: ' .. group
      .. ', Consumer: ' .. consumer .. '.'
  end
  local function check(...)
    local a = {...}
    local function at(i) return string.upper(tostring(a[i])) end
    if at(2) ~= 'GROUP' then return 'ERR syntax error' end
    local i, count = 5, 1001
    if at(i) == 'COUNT' then
      count = tonumber(a[i + 1]) or 1001
      if count <= 0 then count = 1001 end
      i = i + 2
    end
    if at(i) == 'BLOCK' then i = i + 2 end
    local noack = at(i) == 'NOACK'
    if noack then i = i + 1 end
    if at(i) ~= 'STREAMS' then return 'ERR syntax error' end
    local keys = math.floor((#a - i) / 2)
    for k = 1, noack and 0 or keys do
      local error = a[i + keys + k] == '>' and refused(a[i + k], a[3], a[4], count)
      if error then return error end
    end
  end
  return function(name, ...)
    if type(name) == 'string' and string.upper(name) == 'XREADGROUP' then return check(name, ...) end
  end
end`;

// The first LASTSAVE accounts for the EVAL itself.
/** Lua that defines `weir_guard(redis)`: tells of a command why it is refused, or nil. */
export const PENDING_GUARD = oneLine(GUARD);

const CHECKED_HEAD = `${PENDING_GUARD} redis.call('LASTSAVE') local text = weir_guard(redis)(unpack(ARGV)) `;

const CHECK = `${CHECKED_HEAD}
if not text then return 'OK' end
redis.pcall('LASTSAVE') redis.pcall('SET', KEYS[1], '')
redis.pcall('LASTSAVE') redis.pcall('DEL', KEYS[1])
return redis.error_reply(text)`;

const CHECK_AND_READ = `${CHECKED_HEAD}
if text then return redis.error_reply(text) end
return redis.pcall(unpack(ARGV))`;

const GUARD_KEY = "upstash:pending-limit";

/**
 * An XREADGROUP that is held to the limit, for a connection on which nothing comes between its commands. The check
 * touches a watched key when it refuses, and EXEC does nothing then. Reading inside the script would be simpler, but
 * turns the whole reply into Lua values and back: measured, 0.2 ms instead of 0.07 ms for 100 entries. A full Redis refuses
 * whatever is queued after MULTI, and an XREADGROUP by itself not: then it is read inside the script.
 *
 * @param args the command
 */
export function limitedRead(args: readonly Arg[]): Planned {
  const commands = [["WATCH", GUARD_KEY], ["EVAL", CHECK, "1", GUARD_KEY, ...args], ["MULTI"], args, ["EXEC"]];
  return { commands, reply: replyOfRead, whenFull: limitedReadInTransaction(args) };
}

/**
 * The same for use inside of a transaction, where WATCH is not possible.
 *
 * @param args the command
 */
export function limitedReadInTransaction(args: readonly Arg[]): Planned {
  return { commands: [["EVAL", CHECK_AND_READ, "0", ...args]] };
}

function replyOfRead(replies: readonly Buffer[]): Buffer {
  const refused = replies.find((reply) => errorText(reply) !== undefined);
  if (refused) return refused;
  const [read] = elements(replies[4] ?? Buffer.alloc(0)) ?? [];
  if (!read) throw new Error("the read was neither refused nor done");
  return read;
}

function oneLine(lua: string): string {
  return lua.trim().replace(/\s*\n\s*/g, " ");
}
