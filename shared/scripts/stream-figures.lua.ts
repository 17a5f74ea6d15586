import { defineReadingScript } from "../redis/script.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Reads a stream's figures and those of its groups. A script, because XINFO STREAM brings the first and the last entry
 * with their payloads, which may be megabytes, and only their ids are wanted.
 * KEYS: stream
 * ARGV: what comes before a group's name in the key of its dead letters, and of what it is to be handed again
 * Returns { length, last generated id, first id or nil, last id or nil, groups }, each group as { name, consumers,
 * pending, last delivered id, entries read or nil, lag or nil, oldest pending id or nil, dead letters, handed out again,
 * waiting to be }; raises XINFO's error when there is no stream
 */
export const streamFiguresScript = defineReadingScript(
  "stream-figures",
  [xinfo],
  /* lua */ `
local stream, deadStart, dueStart = KEYS[1], ARGV[1], ARGV[2]

local function idOf(entry) return entry and entry[1] or false end

local info, groups = streamInfo(stream), groupInfos(stream)

-- Most groups have neither dead letters nor a side store: one command rules out up to 1,000.
local function anyHas(start)
  for first = 1, #groups, 1000 do
    local keys = {}
    for i = first, math.min(first + 999, #groups) do keys[#keys + 1] = start .. groups[i].name end
    if call('EXISTS', unpack(keys)) > 0 then return true end
  end
  return false
end
local anyDead, anyAgain = anyHas(deadStart), anyHas(dueStart)

local rows = {}
for i, group in ipairs(groups) do
  local due = dueStart .. group.name
  rows[i] = {
    group.name,
    group.consumers,
    group.pending,
    group['last-delivered-id'],
    group['entries-read'] or false,
    group.lag or false,
    group.pending > 0 and call('XPENDING', stream, group.name)[2] or false,
    anyDead and call('XLEN', deadStart .. group.name) or 0,
    anyAgain and call('ZCOUNT', due, '-inf', '(0') or 0,
    anyAgain and call('ZCOUNT', due, '(0', '(1e15') or 0,
  }
end
return reply({ info.length, info['last-generated-id'], idOf(info['first-entry']), idOf(info['last-entry']), rows })
`,
);
