import { defineScript } from "../redis/script.ts";

/**
 * Trims a stream to its settings, never past the oldest message that some group has not been handed or has not
 * acknowledged. Watermark and XTRIM are one step, so that no consume and no new group comes in between.
 * KEYS: stream, config
 * ARGV: now (ms), most entries to trim
 * Returns { trimmed, 1 if there is more to trim }
 */
export const trimScript = defineScript(
  "trim",
  /* lua */ `
local stream, config = KEYS[1], KEYS[2]
local nowMs, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local settings = call('HMGET', config, 'maxAgeMs', 'maxLength')
local maxAgeMs, maxLength = tonumber(settings[1] or nil), tonumber(settings[2] or nil)
if not maxAgeMs and not maxLength then return reply({ 0, 0 }) end

-- The halves of an id are 64 bits, more than a Lua number holds: they are compared as digits.
local function lessDigits(a, b) return #a < #b or (#a == #b and a < b) end
local function less(a, b)
  local aMs, aSeq = a:match('(%d+)-(%d+)')
  local bMs, bSeq = b:match('(%d+)-(%d+)')
  return lessDigits(aMs, bMs) or (aMs == bMs and lessDigits(aSeq, bSeq))
end
local function after(id)
  local ms, seq = id:match('(%d+)-(%d+)')
  local number = tonumber(seq)
  -- Past 2^53 the sum would be rounded: one entry more is kept instead.
  return number < 9007199254740991 and string.format('%s-%.0f', ms, number + 1) or id
end

local watermark = '18446744073709551615-18446744073709551615'
for _, info in ipairs(call('XINFO', 'GROUPS', stream)) do
  local group, pending, lastDelivered = info[2], info[6], info[8]
  local needed = after(lastDelivered)
  if pending > 0 then
    local oldest = call('XPENDING', stream, group)[2]
    if less(oldest, needed) then needed = oldest end
  end
  if less(needed, watermark) then watermark = needed end
end

-- Whole nodes first: cheap, and bounded by LIMIT. The rest, less than a node (100 entries by default), exactly.
local NODE = 100
local trimmed, more = 0, 0
local function trimNodesBelow(id, limit)
  local took = call('XTRIM', stream, 'MINID', '~', id, 'LIMIT', limit)
  trimmed = trimmed + took
  return took
end

if maxAgeMs then
  local cut = string.format('%.0f-0', math.max(0, nowMs - maxAgeMs))
  if less(watermark, cut) then cut = watermark end
  if trimNodesBelow(cut, most) > most - NODE then
    more = 1
  else
    trimmed = trimmed + call('XTRIM', stream, 'MINID', '=', cut)
  end
end

local excess = maxLength and call('XLEN', stream) - maxLength or 0
if excess > 0 and more == 0 then
  excess = excess - trimNodesBelow(watermark, math.min(excess, most))
  local rest = math.min(excess, NODE)
  local first = rest > 0 and call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  if first and less(first[1], watermark) then
    local kept = call('XRANGE', stream, '-', '+', 'COUNT', rest + 1)[rest + 1]
    local cut = kept and less(kept[1], watermark) and kept[1] or watermark
    trimmed = trimmed + call('XTRIM', stream, 'MINID', '=', cut)
    if cut ~= watermark and excess > rest then more = 1 end
  end
end
return reply({ trimmed, more })
`,
);
