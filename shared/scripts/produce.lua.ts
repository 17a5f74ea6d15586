import { defineScript } from "../redis/script.ts";
import { ids } from "./parts/ids.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { needed } from "./parts/needed.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Appends messages, all or nothing, once per idempotency key or delivery id.
 * KEYS: stream, config[, once | the set of delivery ids that this one goes to, the other one that it may be in]
 * ARGV: 1 to look at the settings, largest message in bytes, defaults of maxMessageBytes and dedupeWindowMs, fingerprint
 *       of the content (with `once`), for each message the lengths of its fields and values as JSON (-1 for a long one),
 *       the short ones in a row, the delivery id ('' without), for how long its set is kept (ms), the long ones
 * Returns { outcome, detail, maxMessageBytes, 1 if the length is bounded } (the last two where it looked):
 *         'appended', ids | 'repeated', ids ('' for a delivery id) | 'mismatch' | 'too-large', limit | 'unknown-stream' | 'full', group |
 *         'exhausted' (no greater id is left) | 'unadopted' (another client has made the stream)
 *
 * A missing or wrong key shows at the first XADD, and Redis checks memory before a script's first write only; should one
 * fail in the middle all the same (at the very end of the id space), those before it are taken back.
 */
export const produceScript = defineScript(
  "produce",
  [ids, messageSize, needed, xinfo],
  /* lua */ `
-- Trims a little more than needed: the next requests need not.
local SPARE_PART, MAX_SPARE = 0.1, 100

local stream, config, delivery = KEYS[1], KEYS[2], ARGV[8]
local once = delivery == '' and KEYS[3] or nil
local largest, fingerprint, messages, short = tonumber(ARGV[2]), ARGV[5], cjson.decode(ARGV[6]), ARGV[7]
local count = #messages
local limit, windowMs, incarnation, maxLength, largestEver = tonumber(ARGV[3]), ARGV[4], '', nil, nil

if ARGV[1] == '1' then
  local settings = call('HMGET', config, 'maxMessageBytes', 'dedupeWindowMs', 'incarnation', 'maxLength', 'unfinished',
    'largestMessageBytes')
  limit = numberOf(settings[1], limit)
  windowMs = math.max(1, numberOf(settings[2], windowMs))
  incarnation, largestEver = settings[3] or '', settings[6]
  if (settings[5] or 'keep') == 'keep' then maxLength = numberOf(settings[4]) end
  if maxLength and maxLength < 1 then maxLength = nil end
end
local function answer(outcome, detail)
  return reply({ outcome, detail or '', limit, maxLength and 1 or 0 })
end
if ARGV[1] == '1' and incarnation == '' then
  -- The length, for its WRONGTYPE.
  local isThere = call('XLEN', stream) > 0 or call('EXISTS', stream) == 1
  if not isThere then return answer('unknown-stream') end
  if largest > limit then return answer('too-large', limit) end
  return answer('unadopted')
end

-- Whether the stream is gone, or was made anew by another client since it took these: it has never had them then.
local function isOther(ids)
  local first, last = ids:match('^%S+'), ids:match('%S+$')
  if call('EXISTS', stream) == 0 then return true end
  local info = streamInfo(stream)
  if less(info['last-generated-id'], last) then return true end
  if call('XRANGE', stream, first, first, 'COUNT', 1)[1] then return false end
  return info['entries-added'] ~= nil and info['entries-added'] - info.length < 1
end

if once then
  local seen = call('GET', once)
  if seen then
    -- A stream made anew has a new incarnation: its predecessor's keys do not count.
    local seenIncarnation, seenFingerprint, ids = seen:match('^(%S*)\\n(%S*)\\n(.*)$')
    if seenIncarnation == incarnation and not isOther(ids) then
      if seenFingerprint ~= fingerprint then return answer('mismatch') end
      return answer('repeated', ids)
    end
  end
end
if largest > limit then return answer('too-large', limit) end

if maxLength then
  local length = call('XLEN', stream)
  if length > 0 and length + count > maxLength then
    local groups, watermark = findNeeded(stream)
    local spare = math.min(MAX_SPARE, math.floor(maxLength * SPARE_PART))
    local most = largestMessage(limit, largestEver)
    local took, more = trimToLength(stream, math.max(0, maxLength - count - spare), watermark,
      fitting(10000, MAX_FREED_BYTES, most), true, fitting(100, STEP_BYTES, most))
    length = length - took
    if length > 0 and length + count > maxLength and not more then
      for _, group in ipairs(groups) do
        if group.needed == watermark then return answer('full', group.name) end
      end
    end
  end
end

if delivery ~= '' then
  if call('SISMEMBER', KEYS[4], delivery) == 1 or call('SADD', KEYS[3], delivery) == 0 then return answer('repeated') end
  call('PEXPIRE', KEYS[3], ARGV[9])
end
-- Nothing was appended: the provider's next attempt is no repeat.
local function forgetDelivery()
  if delivery ~= '' then call('SREM', KEYS[3], delivery) end
end

local ids = {}
local at, long = 1, 10
for number, lengths in ipairs(messages) do
  local fields = {}
  for i, length in ipairs(lengths) do
    if length < 0 then
      fields[i] = ARGV[long]
      long = long + 1
    else
      fields[i] = short:sub(at, at + length - 1)
      at = at + length
    end
  end
  local id = try('XADD', stream, 'NOMKSTREAM', '*', unpack(fields))
  if not id then
    forgetDelivery()
    return answer('unknown-stream')
  end
  if type(id) == 'table' then
    forgetDelivery()
    -- Redis rolls nothing back; nobody has seen these yet.
    if #ids > 0 then call('XDEL', stream, unpack(ids)) end
    if id.err:find('exhausted', 1, true) then return answer('exhausted') end
    return id
  end
  ids[number] = id
end
local joined = table.concat(ids, ' ')
if once then call('SET', once, incarnation .. '\\n' .. fingerprint .. '\\n' .. joined, 'PX', string.format('%.0f', windowMs)) end
return answer('appended', joined)
`,
);
