import { defineScript } from "../redis/script.ts";
import { later } from "./parts/later.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { room } from "./parts/room.lua.ts";

/**
 * Appends scheduled messages that are due, in the order of the times at which they are.
 * KEYS: stream, config, clock, later, sizes, the two keys of each bucket that is named
 * ARGV: how many messages at most, the buckets' names
 * Returns { now (ms), appended, 1 if more may be appended at once, when the first of the rest is due or -1, the group for whose
 *           sake a full stream takes no more or '', how many were lost (another client has deleted their payloads, or what
 *           tells their times), how many buckets and messages cannot be read, the buckets that hold what is due }
 *
 * What another version or client has put there is let be for an hour: it must not stop what comes behind it, and is nobody's to
 * delete.
 */
export const promoteScript = defineScript(
  "promote",
  [later, messageSize, redisTime, room],
  /* lua */ `
local UNREADABLE_MS = 3600000
-- Buckets that one step looks at.
local MAX_BUCKETS = 128

local stream = KEYS[1]
local keys = { config = KEYS[2], later = KEYS[4], sizes = KEYS[5] }
local names = {}
for i = 2, #ARGV do names[#names + 1] = ARGV[i] end
local buckets, named = openBuckets(names, 6)

local settings = call('HMGET', keys.config, 'laterDue', 'scheduled', 'maxMessageBytes', 'largestMessageBytes', 'maxLength',
  'unfinished')
local laterDueMs, total = numberOf(settings[1], -1), numberOf(settings[2], 0)
local most, maxLength = largestMessage(settings[3], settings[4]), lengthLimit(settings[5], settings[6])
-- The length, for its WRONGTYPE.
if call('XLEN', stream) == 0 and call('EXISTS', stream) == 0 then return reply({ 0, 0, 0, '-1', '', 0, 0, {} }) end
local nowMs = redisNowMs(KEYS[3], stream)
local function dueBuckets() return call('ZRANGEBYSCORE', keys.later, '-inf', asMs(nowMs), 'LIMIT', 0, MAX_BUCKETS) end
local function answer(appended, more, firstMs, full, missing, unreadable)
  return reply({ nowMs, appended, more and 1 or 0, asMs(firstMs), full or '', missing, unreadable, dueBuckets() })
end

-- Many steps may be sent at once, and most find nothing left.
local isNoted = settings[1] or settings[2]
if laterDueMs > nowMs or (not isNoted and call('EXISTS', keys.later, keys.sizes) == 0) then
  return reply({ nowMs, 0, 0, asMs(laterDueMs), '', 0, 0, {} })
end
checkBuckets(keys, {})

-- Buckets whose keys hold something else are not looked at.
local unreadable, isBroken = 0, {}
for _, bucket in ipairs(buckets) do
  bucket.taken, bucket.takenBytes, bucket.unreadable = {}, 0, {}
  local payloads, due = try('HLEN', bucket.messages), try('ZCARD', bucket.due)
  if type(payloads) == 'table' or type(due) == 'table' then
    isBroken[bucket.name] = true
    unreadable = unreadable + 1
  else
    bucket.count = due
  end
end

-- Another client has deleted all that names the buckets. Those that were given may hold something all the same: they are
-- looked at at once. What lay in others cannot be found.
local lost = 0
if keys.isEmpty then
  local there = 0
  for _, bucket in ipairs(buckets) do
    if (bucket.count or 0) > 0 then call('ZADD', keys.later, 0, bucket.name) end
    there = there + (bucket.count or 0)
  end
  lost, total = math.max(0, total - there), there
end

local found = call('ZRANGEBYSCORE', keys.later, '-inf', asMs(nowMs), 'WITHSCORES', 'LIMIT', 0, MAX_BUCKETS)
local sound, looked = {}, {}
for i = 1, #found, 2 do
  if not isBroken[found[i]] then sound[#sound + 1], sound[#sound + 2] = found[i], found[i + 1] end
end
-- Where there are more buckets, their messages may stand between those of the last ones here: these wait for the next step.
local hasMore, untilMs = #found == 2 * MAX_BUCKETS, nowMs
if hasMore then untilMs = math.max(tonumber(found[2]), tonumber(found[#found]) - 1) end
local nextEntry, isStopped = mergeBuckets(sound, named, function(bucket)
  looked[#looked + 1] = bucket
  return 0
end)

-- How many fit. A stream that is full takes none.
local max, full = tonumber(ARGV[1]), nil
if maxLength then
  local due = 0
  for _, bucket in ipairs(buckets) do
    if not isBroken[bucket.name] then due = due + call('ZCOUNT', bucket.due, '-inf', asMs(nowMs)) end
  end
  if due > 0 then max, full = makeRoom(stream, maxLength, math.min(max, due), most) end
end

local appended, missing, isAtEnd, fault = 0, 0, max == 0, nil
-- @return whether to go on
local function append(entry)
  local bucket = entry.bucket
  if not entry.payload then
    missing = missing + 1
    bucket.taken[#bucket.taken + 1] = entry.member
    return true
  end
  local fields = readLater(entry.payload)
  if not fields then
    bucket.unreadable[#bucket.unreadable + 1], bucket.unreadable[#bucket.unreadable + 2] =
      asMs(nowMs + UNREADABLE_MS), entry.member
    unreadable = unreadable + 1
    return true
  end
  local id = try('XADD', stream, 'NOMKSTREAM', '*', unpack(fields))
  if not id or type(id) == 'table' then
    fault = id or true
    return false
  end
  appended = appended + 1
  bucket.taken[#bucket.taken + 1] = entry.member
  bucket.takenBytes = bucket.takenBytes + #entry.payload + MEMBER_BYTES
  return true
end

local reading = newReading(STEP_BYTES, most, 64)
local handled, count = 0, 0
if not isAtEnd then count = reading.next(max) end
while count > 0 and not isAtEnd and not fault do
  local entries
  entries, isAtEnd = readNext(nextEntry, count, untilMs)
  for _, entry in ipairs(entries) do
    if not append(entry) then break end
    handled = handled + 1
    reading.add({ entry.payload or '' })
  end
  count = reading.next(max - handled)
end
-- Nothing was written, and nothing can be.
if fault and handled == 0 and type(fault) == 'table' then
  local isAtEndOfIds = fault.err:find('exhausted', 1, true)
  return isAtEndOfIds and redis.error_reply('WRONGTYPE the stream has given its greatest id') or fault
end

-- Buckets that are broken or empty, too, are put right.
local touched = {}
for _, bucket in ipairs(looked) do
  if #bucket.unreadable > 0 then try('ZADD', bucket.due, 'XX', unpack(bucket.unreadable)) end
  touched[#touched + 1] = bucket
end
for name in pairs(isBroken) do try('ZADD', keys.later, 'XX', asMs(nowMs + UNREADABLE_MS), name) end
if #touched > 0 or next(isBroken) or keys.isEmpty or laterDueMs < 0 then
  local untimed
  laterDueMs, untimed = takeLater(keys, touched, total)
  lost = lost + untimed
end
local more = not fault and max > 0 and (isStopped() or not isAtEnd or hasMore)
return answer(appended, more, laterDueMs, not more and full, missing + lost, unreadable)
`,
);
