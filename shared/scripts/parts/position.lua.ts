import { definePart } from "../../redis/script.ts";
import { ids } from "./ids.lua.ts";
import { messageSize } from "./message-size.lua.ts";
import { xinfo } from "./xinfo.lua.ts";

/**
 * Sets where a group reads on, with what Redis counts as read up to there, so that its lag is right from the start. Where
 * Redis does not tell what it has counted, or does not take ENTRIESREAD (Upstash's reference lacks it), it finds the count
 * out by itself once the group has read the first entry or the last.
 *
 * The config's `counted:<group>` says `<id> <entries gone>`: up to there the group has left nothing unread, and what Redis
 * counts is right. It stays right as long as no more entries are gone, or neither trimming nor deleting has passed that id:
 * see `findLag` of `shared/stream/inspect.ts`.
 */
export const position = definePart(
  ["countAt", "setPosition", "countedAt"],
  [ids, messageSize, xinfo],
  /* lua */ `
-- Entries counted at most to place an id in the middle: counting reads their payloads.
local COUNTED = 128

-- What Redis counts as read by a group after an id ('$': the end); nil where that is not known, or would cost much.
function countAt(keys, info, after)
  local added, length = info['entries-added'], info.length
  if not added then return nil end
  local first = info['first-entry'] and info['first-entry'][1]
  if after == '$' or not less(after, info['last-generated-id']) then return added end
  if not first or less(after, first) then return added - length end
  local max = stepSize(keys, COUNTED)
  local behind = #call('XRANGE', keys.stream, '(' .. after, '+', 'COUNT', max)
  if behind < max then return added - behind end
end

-- @param command 'CREATE' or 'SETID'
-- @return whether Redis counts rightly from there on
function setPosition(keys, command, group, after, count)
  if count then
    local done = try('XGROUP', command, keys.stream, group, after, 'ENTRIESREAD', count)
    if type(done) ~= 'table' or not done.err then return true end
  end
  call('XGROUP', command, keys.stream, group, after)
  return false
end

-- What to note as counted for a group at that place.
function countedAt(info, after)
  if after == '$' then after = info['last-generated-id'] end
  local first = info['first-entry'] and info['first-entry'][1]
  if first and less(after, first) then after = first end
  local added = info['entries-added']
  return after .. ' ' .. (added and string.format('%.0f', added - info.length) or '-')
end
`,
);
