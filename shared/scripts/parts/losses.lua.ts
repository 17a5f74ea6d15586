import { definePart } from "../../redis/script.ts";
import { gap } from "./gap.lua.ts";
import { ids } from "./ids.lua.ts";
import { position } from "./position.lua.ts";

/**
 * Tells what a group has lost: other clients may trim what is unread, as `XADD MAXLEN ~` does. Redis goes on counting as if
 * that were still to come, which tells how much it was, while the group lies behind the first entry or once it has read
 * the last.
 *
 * What is found is put right in the same step, so that nothing is counted twice. Without `entries-added` in XINFO, and after
 * deletions (XDEL) of what was unread, no loss can be told from other reasons, and none is.
 */
export const losses = definePart(
  ["noteLosses"],
  [gap, ids, position],
  /* lua */ `
-- Adds what a group has lost to its gap, and notes up to where Redis counts rightly.
-- @param info of the stream; group: as XINFO has it
-- @return how many messages
function noteLosses(keys, info, group)
  local last, added = info['last-generated-id'], info['entries-added']
  local first = info['first-entry'] and info['first-entry'][1]
  local deleted = info['max-deleted-entry-id'] or '0-0'
  local name, delivered, read = group.name, group['last-delivered-id'], group['entries-read']
  local isAtEnd = not less(delivered, last)
  -- In the middle nothing tells.
  if not isAtEnd and first and not less(delivered, first) then return 0 end

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
  return lost
end
`,
);
