import { defineScript } from "../redis/script.ts";
import { gap } from "./parts/gap.lua.ts";
import { ids } from "./parts/ids.lua.ts";
import { position } from "./parts/position.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Notes how far Redis counts rightly what groups have read, and what groups have lost: other clients may trim what is
 * unread, as `XADD MAXLEN ~` does. Redis goes on counting as if that were still to come, which tells how much it was.
 * KEYS: stream, config
 * ARGV: group
 * Returns how many messages it has found lost
 *
 * What it finds it puts right in the same step, so that nothing is counted twice. Without `entries-added` in XINFO, and
 * after deletions (XDEL) of what was unread, no loss can be told from other reasons, and none is.
 */
export const noteCountsScript = defineScript(
  "note-counts",
  [gap, ids, position, xinfo],
  /* lua */ `
local keys = { stream = KEYS[1], config = KEYS[2] }
local info = streamInfo(keys.stream)
local last, added = info['last-generated-id'], info['entries-added']
local first = info['first-entry'] and info['first-entry'][1]
local deleted = info['max-deleted-entry-id'] or '0-0'

local group = groupInfo(keys.stream, ARGV[1])
if not group then return reply(0) end

local name, delivered, read = group.name, group['last-delivered-id'], group['entries-read']
local isAtEnd = not less(delivered, last)
-- In the middle nothing tells.
if not isAtEnd and first and not less(delivered, first) then return reply(0) end

local noted = call('HGET', keys.config, 'counted:' .. name)
local counted = (noted or ''):match('^(%d+%-%d+) ')
local count = countAt(keys, info, delivered)
-- What was deleted on purpose, and not read before, is no loss.
local mayBeDeleted
if isAtEnd then mayBeDeleted = not counted or less(counted, deleted) else mayBeDeleted = less(delivered, deleted) end
local lost = added and read and not mayBeDeleted and math.max(0, count - read) or 0
if lost > 0 then
  noteGap(keys.config, name, after(isAtEnd and counted or delivered), first and before(first) or last, lost)
end
if read and count and read ~= count then setPosition(keys, 'SETID', name, delivered, count) end
local at = countedAt(info, delivered)
if added and noted ~= at then call('HSET', keys.config, 'counted:' .. name, at) end
return reply(lost)
`,
);
