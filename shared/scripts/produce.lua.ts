import { defineScript } from "../redis/script.ts";
import { deliveries } from "./parts/deliveries.lua.ts";
import { ids } from "./parts/ids.lua.ts";
import { later } from "./parts/later.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { room } from "./parts/room.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Appends messages, and stores those that are scheduled, all or nothing, once per idempotency key or delivery id.
 * KEYS: stream, config[, once][, with scheduled messages: clock, later, sizes, the two keys of each bucket]; with a delivery id:
 *       stream, config, the string of ids that it goes to, the other one that it may be in
 * ARGV: 1 to look at the settings, largest message in bytes, defaults of maxMessageBytes and dedupeWindowMs, fingerprint
 *       of the content (with `once`), for each message the lengths of its fields and values as JSON (-1 for a long one),
 *       the short ones in a row, '' or as JSON { buckets: their names, full: bytes from which one takes no more, messages:
 *       { number, place of its bucket (0: none), 1 for a delay or 0 for a time, ms } each }, '' or as JSON the delivery
 *       { digest: 14 hex digits, moment, oldest: moments from which on ids count in either string, lifeMs: for how long its
 *       string is kept, incarnation: of the stream, where the settings are not looked at }, the long ones
 * Returns { outcome, detail, maxMessageBytes, 1 if the length is bounded, when the first scheduled message is due or -1,
 *         the stream's incarnation, when the first of these messages is due or -1 } (the last five where it looked):
 *         'appended', ids | 'repeated', ids ('' for a delivery id) | 'mismatch' | 'too-large', limit | 'unknown-stream' | 'full', group |
 *         'exhausted' (no greater id is left) | 'unadopted' (another client has made the stream) | 'elsewhere', { now (ms),
 *         name of a bucket with room for each that was full } (some messages belong into other buckets)
 *
 * A missing or wrong key shows at the first XADD, or before it, and Redis checks memory before a script's first write only;
 * should one XADD fail in the middle all the same (at the very end of the id space), those before it are taken back.
 */
const SOURCE = /* lua */ `
local stream, config, once = KEYS[1], KEYS[2], ARGV[5] ~= '' and KEYS[3]
local largest, fingerprint, messages, short = tonumber(ARGV[2]), ARGV[5], cjson.decode(ARGV[6]), ARGV[7]
local schedule = ARGV[8] ~= '' and cjson.decode(ARGV[8])
local delivery = ARGV[9] ~= '' and cjson.decode(ARGV[9])
local count = #messages
local limit, windowMs, incarnation, maxLength, largestEver = tonumber(ARGV[3]), ARGV[4], '', nil, nil
local laterDueMs, scheduled, firstMs = -1, 0, -1

if ARGV[1] == '1' then
  local settings = call('HMGET', config, 'maxMessageBytes', 'dedupeWindowMs', 'incarnation', 'maxLength', 'unfinished',
    'largestMessageBytes', 'laterDue', 'scheduled')
  limit = numberOf(settings[1], limit)
  windowMs = math.max(1, numberOf(settings[2], windowMs))
  incarnation, largestEver = settings[3] or '', settings[6]
  maxLength = lengthLimit(settings[4], settings[5])
  laterDueMs, scheduled = numberOf(settings[7], -1), numberOf(settings[8], 0)
end
local function answer(outcome, detail)
  return reply({ outcome, detail or '', limit, maxLength and 1 or 0, string.format('%.0f', laterDueMs), incarnation, string.format('%.0f', firstMs) })
end
local function isThere()
  -- The length, for its WRONGTYPE.
  return call('XLEN', stream) > 0 or call('EXISTS', stream) == 1
end
if ARGV[1] == '1' and incarnation == '' then
  if not isThere() then return answer('unknown-stream') end
  if largest > limit then return answer('too-large', limit) end
  return answer('unadopted')
end

-- Whether the stream is gone, or was made anew by another client since it took these: it has never had them then.
local function isOther(ids)
  if call('EXISTS', stream) == 0 then return true end
  local first, last
  for id in ids:gmatch('%S+') do
    if id:sub(1, 6) ~= 'later~' then first, last = first or id, id end
  end
  -- All were scheduled: what lies beside the stream is of this incarnation.
  if not first then return false end
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
local deliveries, tag = nil, nil
if delivery then
  tag = ((ARGV[1] == '1' and incarnation or delivery.incarnation) .. '........'):sub(1, 8)
  delivery.id = delivery.digest:gsub('%x%x', function(hex) return string.char(tonumber(hex, 16)) end)
  local isRepeat
  isRepeat, deliveries = holdsDelivery(KEYS[3], tag, delivery.id, delivery.oldest[1])
  if isRepeat or holdsDelivery(KEYS[4], tag, delivery.id, delivery.oldest[2]) then return answer('repeated') end
end
if largest > limit then return answer('too-large', limit) end

-- What is scheduled for later, by the message's number: its bucket, and when it is due.
local rows, due, keys, sizes = {}, {}, nil, {}
if schedule then
  if not isThere() then return answer('unknown-stream') end
  local firstKey = once and 4 or 3
  keys = { config = config, later = KEYS[firstKey + 1], sizes = KEYS[firstKey + 2] }
  local buckets = openBuckets(schedule.buckets, firstKey + 3)
  checkBuckets(keys, buckets)
  local nowMs = redisNowMs(KEYS[firstKey], stream)
  local elsewhere = { asMs(nowMs) }
  for _, row in ipairs(schedule.messages) do
    local dueMs, bucket = row[3] == 1 and nowMs + row[4] or row[4], buckets[row[2]]
    if dueMs > nowMs then
      -- The hour beside it does: else a request with many around the turn of an hour would never fit, since time goes on.
      local isRight = bucket and math.abs(tonumber(bucket.name:match('^%d+')) - math.floor(dueMs / HOUR_MS)) <= 1
      if not isRight then return answer('elsewhere', elsewhere) end
      due[row[1]] = { bucket = bucket, dueMs = dueMs }
      firstMs = firstMs < 0 and dueMs or math.min(firstMs, dueMs)
      count = count - 1
    end
  end
  for i, text in ipairs(#buckets > 0 and call('HMGET', keys.sizes, unpack(schedule.buckets)) or {}) do
    local name = schedule.buckets[i]
    sizes[name] = text or nil
    local _, bytes = readSize(sizes[name])
    if bytes >= schedule.full then
      elsewhere[#elsewhere + 1] = roomyBucket(keys, name:match('^%d+'), schedule.full)
    end
  end
  if #elsewhere > 1 then return answer('elsewhere', elsewhere) end
end

if maxLength and count > 0 then
  local room, group = makeRoom(stream, maxLength, count, largestMessage(limit, largestEver))
  if room < count then return answer('full', group) end
end

local ids = {}
-- Those that are in the stream: all, unless some are scheduled.
local added = schedule and {} or ids
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
  if due[number] then
    due[number].payload, due[number].number = writeLater(fields), number
    rows[#rows + 1] = due[number]
  else
    local id = try('XADD', stream, 'NOMKSTREAM', '*', unpack(fields))
    if not id then return answer('unknown-stream') end
    if type(id) == 'table' then
      -- Redis rolls nothing back; nobody has seen these yet.
      if #added > 0 then call('XDEL', stream, unpack(added)) end
      if id.err:find('exhausted', 1, true) then return answer('exhausted') end
      return id
    end
    ids[number] = id
    if schedule then added[#added + 1] = id end
  end
end
if #rows > 0 then
  local laterIds
  laterIds, laterDueMs = addLater(keys, rows, sizes, incarnation, scheduled)
  for i, row in ipairs(rows) do ids[row.number] = laterIds[i] end
end
-- Behind the append: what was not appended is no repeat when it comes again. Redis refuses no later write of a script for want
-- of memory, and another type has shown already.
if delivery then
  noteDelivery(KEYS[3], tag, deliveries, delivery.id .. string.char(delivery.moment), asMs(delivery.lifeMs))
end
local joined = table.concat(ids, ' ')
if once then call('SET', once, incarnation .. '\\n' .. fingerprint .. '\\n' .. joined, 'PX', string.format('%.0f', windowMs)) end
return answer('appended', joined)
`;

/** For what has neither scheduled messages nor a delivery id: Redis makes each function of a script anew at each run. */
export const producePlainScript = defineScript("produce-plain", [ids, messageSize, room, xinfo], SOURCE);

export const produceScript = defineScript(
  "produce",
  [deliveries, ids, later, messageSize, redisTime, room, xinfo],
  SOURCE,
);
