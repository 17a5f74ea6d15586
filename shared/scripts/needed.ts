/**
 * Lua that finds what the groups of a stream still need, and trims up to there. Both in one script, so that no consume and
 * no new group comes in between. Stands behind the ids' Lua.
 */
export const NEEDED_LUA = /* lua */ `
local function firstId(stream)
  local first = call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  return first and first[1]
end

-- What each group needs still: { name, needed (the oldest id that it is not done with), lastDelivered, lag, pending },
-- and the watermark, which is the least of the needed ones.
local function findNeeded(stream)
  local groups, watermark = {}, NO_LIMIT
  local first = firstId(stream)
  for i, info in ipairs(call('XINFO', 'GROUPS', stream)) do
    local group = { name = info[2], pending = info[6], lastDelivered = info[8], lag = info[12] or nil }
    group.needed = after(group.lastDelivered)
    if group.pending > 0 then
      local oldest = call('XPENDING', stream, group.name)[2]
      if less(oldest, group.needed) then group.needed = oldest end
    end
    -- Below the first entry there is nothing that it could need.
    if first and less(group.needed, first) then group.needed = first end
    if less(group.needed, watermark) then watermark = group.needed end
    groups[i] = group
  end
  return groups, watermark
end

-- Trims whole nodes, which is cheap and bounded, then exactly what is left of one: less than NODE entries by default.
local NODE = 100

-- @return how many it took, and whether there may be more to take
local function trimBelow(stream, id, most, exact)
  local took = call('XTRIM', stream, 'MINID', '~', id, 'LIMIT', most)
  if took > most - NODE then return took, true end
  if exact then took = took + call('XTRIM', stream, 'MINID', '=', id) end
  return took, false
end

-- Trims the oldest to that length, not past the watermark.
-- @return how many it took, and whether there may be more to take
local function trimToLength(stream, maxLength, watermark, most, exact)
  local excess = call('XLEN', stream) - maxLength
  if excess <= 0 or watermark == firstId(stream) then return 0, false end
  local limit = math.min(excess, most)
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
`;
