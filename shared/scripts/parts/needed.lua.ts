import { definePart } from "../../redis/script.ts";
import { ids } from "./ids.lua.ts";
import { pending } from "./pending.lua.ts";
import { xinfo } from "./xinfo.lua.ts";

/**
 * Finds what the groups of a stream still need, and trims up to there. Both in one script, so that neither a consume nor a
 * new group comes in between.
 */
export const needed = definePart(
  ["firstId", "findNeeded", "trimBelow", "trimToLength"],
  [ids, pending, xinfo],
  /* lua */ `
function firstId(stream)
  local first = call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  return first and first[1]
end

-- What each group still needs: { name, needed (oldest id that it is not done with), lastDelivered, lag, pending },
-- and the watermark, the least of the needed ids.
function findNeeded(stream)
  local groups, watermark = {}, NO_LIMIT
  local first = firstId(stream)
  for i, info in ipairs(groupInfos(stream)) do
    local group = {
      name = info.name, pending = info.pending, lastDelivered = info['last-delivered-id'], lag = info.lag or nil,
    }
    group.needed = after(group.lastDelivered)
    local oldest = group.pending > 0 and oldestPending(stream, group.name)
    if oldest and less(oldest, group.needed) then group.needed = oldest end
    -- Nothing below the first entry can be needed.
    if first and less(group.needed, first) then group.needed = first end
    if less(group.needed, watermark) then watermark = group.needed end
    groups[i] = group
  end
  return groups, watermark
end

-- Trims below an id: by whole nodes, which is cheap, then a bounded number of entries exactly. How much Redis leaves with ~
-- depends on the size of its nodes, and Upstash may do otherwise: nothing here counts on it.
-- @param step how many entries one step may read
-- @return how many it took, and whether there may be more
function trimBelow(stream, id, max, exact, step)
  local took = call('XTRIM', stream, 'MINID', '~', id, 'LIMIT', max)
  local function isBelow(entry) return entry ~= nil and less(entry[1], id) end
  if took >= max / 2 or not exact then
    return took, took > 0 and isBelow(call('XRANGE', stream, '-', '+', 'COUNT', 1)[1])
  end
  local entries = call('XRANGE', stream, '-', '+', 'COUNT', step + 1)
  if not isBelow(entries[1]) then return took, false end
  local more = isBelow(entries[step + 1])
  took = took + call('XTRIM', stream, 'MINID', '=', more and entries[step + 1][1] or id)
  return took, more
end

-- Trims the oldest to that length, not past the watermark.
-- @param step how many entries one step may read
-- @return how many it took, and whether there may be more
function trimToLength(stream, maxLength, watermark, max, exact, step)
  local excess = call('XLEN', stream) - maxLength
  if excess <= 0 or watermark == firstId(stream) then return 0, false end
  local took = call('XTRIM', stream, 'MINID', '~', watermark, 'LIMIT', math.min(excess, max))
  excess = excess - took
  if excess <= 0 then return took, false end
  local entries = call('XRANGE', stream, '-', '+', 'COUNT', math.min(excess, step) + 1)
  if not entries[1] or not less(entries[1][1], watermark) then return took, false end
  if took >= max / 2 or not exact then return took, took > 0 end
  local kept = entries[math.min(excess, step) + 1]
  local cut = kept and less(kept[1], watermark) and kept[1] or watermark
  took = took + call('XTRIM', stream, 'MINID', '=', cut)
  return took, cut ~= watermark and excess > step
end
`,
);
