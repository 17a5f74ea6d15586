import { defineReadingScript } from "../redis/script.ts";
import { pending } from "./parts/pending.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Reads a stream's figures and those of its groups. A script, because XINFO STREAM brings the first and the last entry
 * with their payloads, which may be megabytes, and only their ids are wanted.
 * KEYS: stream, config
 * Returns { length, last generated id, first id or false, last id or false, entries added or false, greatest deleted id or
 *           false, groups, how many scheduled messages there are or false, when the first is due or false }, each group as { name, consumers, pending, last delivered id, entries read or false, lag or
 *           false, oldest pending id or false, up to which id that is counted rightly or false, 1 if it has dead letters,
 *           1 if it has a side store }; raises XINFO's error when there is no stream
 */
export const streamFiguresScript = defineReadingScript(
  "stream-figures",
  [pending, xinfo],
  /* lua */ `
local stream, config = KEYS[1], KEYS[2]
local function idOf(entry) return entry and entry[1] or false end
local info, groups = streamInfo(stream), groupInfos(stream)

-- The config tells which groups have dead letters and a side store.
local FIELDS = { 'counted:', 'deadSince:', 'againDue:' }
local known = {}
for first = 1, #groups, 1000 do
  local fields = {}
  for i = first, math.min(first + 999, #groups) do
    for _, field in ipairs(FIELDS) do fields[#fields + 1] = field .. groups[i].name end
  end
  for _, value in ipairs(call('HMGET', config, unpack(fields))) do known[#known + 1] = value end
end

-- Where another client has put something else there, none are known.
local scheduled = try('HMGET', config, 'scheduled', 'laterDue')
local rows = {}
for i, group in ipairs(groups) do
  rows[i] = {
    group.name,
    group.consumers,
    group.pending,
    group['last-delivered-id'],
    group['entries-read'] or false,
    group.lag or false,
    group.pending > 0 and oldestPending(stream, group.name) or false,
    known[3 * i - 2],
    known[3 * i - 1] and 1 or 0,
    known[3 * i] and 1 or 0,
  }
end
return reply({
  info.length, info['last-generated-id'], idOf(info['first-entry']), idOf(info['last-entry']),
  info['entries-added'] or false, info['max-deleted-entry-id'] or false, rows, scheduled[1] or false, scheduled[2] or false,
})
`,
);
