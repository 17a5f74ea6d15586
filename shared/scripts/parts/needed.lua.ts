import { definePart } from "../../redis/script.ts";
import { ids } from "./ids.lua.ts";
import { xinfo } from "./xinfo.lua.ts";

/**
 * Finds what the groups of a stream still need, and trims up to there. Both in one script, so that neither a consume nor a
 * new group comes in between.
 */
export const needed = definePart(
  ["firstId", "findNeeded", "trimBelow", "trimToLength"],
  [ids, xinfo],
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
    if group.pending > 0 then
      local oldest = call('XPENDING', stream, group.name)[2]
      if less(oldest, group.needed) then group.needed = oldest end
    end
    -- Nothing below the first entry can be needed.
    if first and less(group.needed, first) then group.needed = first end
    if less(group.needed, watermark) then watermark = group.needed end
    groups[i] = group
  end
  return groups, watermark
end

-- Trims whole nodes, cheap and bounded, then the rest exactly: less than NODE entries by default.
local NODE = 100

-- @return how many it took, and whether there may be more
function trimBelow(stream, id, max, exact)
  local took = call('XTRIM', stream, 'MINID', '~', id, 'LIMIT', max)
  if took > max - NODE then return took, true end
  if exact then took = took + call('XTRIM', stream, 'MINID', '=', id) end
  return took, false
end

-- Trims the oldest to that length, not past the watermark.
-- @return how many it took, and whether there may be more
function trimToLength(stream, maxLength, watermark, max, exact)
  local excess = call('XLEN', stream) - maxLength
  if excess <= 0 or watermark == firstId(stream) then return 0, false end
  local limit = math.min(excess, max)
  local took = call('XTRIM', stream, 'MINID', '~', watermark, 'LIMIT', limit)
  excess = excess - took
  local first = excess > 0 and firstId(stream)
  if not first or not less(first, watermark) or not exact then return took, took > 0 and limit < excess + took end
  local rest = math.min(excess, NODE)
  local kept = call('XRANGE', stream, '-', '+', 'COUNT', rest + 1)[rest + 1]
  local cut = kept and less(kept[1], watermark) and kept[1] or watermark
  took = took + call('XTRIM', stream, 'MINID', '=', cut)
  return took, cut ~= watermark and excess > rest
end
`,
);
