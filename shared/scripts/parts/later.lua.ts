import { definePart } from "../../redis/script.ts";
import { redisTime } from "./redis-time.lua.ts";

/**
 * Scheduled messages: what is to be appended when it is due. They lie in buckets by the hour in which they are due; an hour
 * with more bytes than one key should hold (Upstash's small plans allow 100 MB) has several. A bucket `<hour>.<number>`
 * is two keys: a hash from member to payload, and a sorted set of the members by the time at which they are due. A member is
 * `<sequence>.<incarnation of the stream>`; the sequence is padded, so that what is due at once comes in its order.
 *
 * `keys.later` is a sorted set of the buckets by when their first message is due, or a lower bound; `keys.sizes` a hash from
 * bucket to `<messages> <bytes>`. The config's `laterDue` is a lower bound of all those times, and `scheduled` how many
 * messages there are: requests that read the config know both for no command more.
 *
 * A payload is the lengths in bytes of its names and values, with commas between, a line feed, and those texts in a row: JSON
 * would cost more time and not keep every byte.
 */
export const later = definePart(
  [
    "HOUR_MS",
    "MEMBER_BYTES",
    "readSize",
    "openBuckets",
    "checkBuckets",
    "roomyBucket",
    "writeLater",
    "readLater",
    "addLater",
    "mergeBuckets",
    "readNext",
    "takeLater",
    "recountLater",
  ],
  [redisTime],
  /* lua */ `
HOUR_MS = 3600000
-- What Redis takes for a message beside its payload, about.
MEMBER_BYTES = 100
-- The last time that a number tells exactly.
local MAX_MS = 9007199254740991
-- Members of one bucket that are read at once.
local PAGE = 100
-- Buckets that one step puts back into their list: more than there are, unless another client has written them.
local MAX_RESTORED = 4000
-- A message has far fewer. Lua's stack, on which they go to Redis, ends at some 8,000.
local MAX_FIELDS = 1000
-- Beyond it ids would be longer than those that Weir reads.
local MAX_SEQUENCE = 999999999999999
-- How often numbers are looked for that no message has, how far on, where another client has set the counter back.
local MAX_TRIES, TRY_ON = 8, 10000000000

-- @return how many messages and bytes a bucket holds
function readSize(text)
  local count, bytes = (text or ''):match('^(%d+) (%d+)$')
  return tonumber(count) or 0, tonumber(bytes) or 0
end

local function writeSize(count, bytes) return asMs(math.max(0, count)) .. ' ' .. asMs(math.max(0, bytes)) end

-- The buckets that a script was given: their names, and the place in KEYS of the first one's two keys.
-- @return them in that order, and by name
function openBuckets(names, firstKey)
  local list, named = {}, {}
  for i, name in ipairs(names) do
    local bucket = { name = name, messages = KEYS[firstKey + 2 * i - 2], due = KEYS[firstKey + 2 * i - 1] }
    list[i], named[name] = bucket, bucket
  end
  return list, named
end

-- That of their sizes has the names of the buckets, and those tell the hour. What is in one may be due an hour sooner.
-- @return whether there are none
local function restoreList(keys)
  local restored = {}
  for _, name in ipairs(call('HKEYS', keys.sizes)) do
    local hour = name:match('^(%d+)%.%d+$')
    if hour and #restored < 2 * MAX_RESTORED then
      restored[#restored + 1], restored[#restored + 2] = asMs((tonumber(hour) - 1) * HOUR_MS), name
    end
  end
  for i = 1, #restored, 2000 do
    call('ZADD', keys.later, unpack(restored, i, math.min(i + 1999, #restored)))
  end
  return #restored == 0
end

-- Raises WRONGTYPE where another client has put something else: called before a script writes anything. A list of buckets
-- that another client has deleted is restored before anything is noted in it: those that it lacks would be lost.
function checkBuckets(keys, buckets)
  keys.isEmpty = call('ZCARD', keys.later) == 0
  local hasSizes = call('HLEN', keys.sizes) > 0
  for _, bucket in ipairs(buckets) do
    call('HLEN', bucket.messages)
    call('ZCARD', bucket.due)
  end
  if hasSizes and keys.isEmpty then keys.isEmpty = restoreList(keys) end
end

-- @return the name of the first bucket of an hour that holds less
function roomyBucket(keys, hour, full)
  local first = 0
  while true do
    local names = {}
    for i = 1, PAGE do names[i] = hour .. '.' .. asMs(first + i - 1) end
    for i, text in ipairs(call('HMGET', keys.sizes, unpack(names))) do
      local _, bytes = readSize(text or nil)
      if bytes < full then return names[i] end
    end
    first = first + PAGE
  end
end

function writeLater(fields)
  local lengths, texts = {}, { '', '\\n' }
  for i, text in ipairs(fields) do
    lengths[i] = #text
    texts[i + 2] = text
  end
  -- All in one go: payloads are large.
  texts[1] = table.concat(lengths, ',')
  return table.concat(texts)
end

-- @return the fields, or nil for what another version or client has written
function readLater(payload)
  local lengths, start = payload:match('^([%d,]+)\\n()')
  if not lengths then return nil end
  local fields, at = {}, start
  for length in lengths:gmatch('%d+') do
    if #fields == MAX_FIELDS then return nil end
    fields[#fields + 1] = payload:sub(at, at + tonumber(length) - 1)
    at = at + tonumber(length)
  end
  if at ~= #payload + 1 or #fields % 2 ~= 0 then return nil end
  return fields
end

-- Notes how many there are in all, and when the first one is due.
-- @return that time, or -1
local function noteLater(keys, total)
  local first = call('ZRANGE', keys.later, 0, 0, 'WITHSCORES')
  if not first[1] then
    call('HDEL', keys.config, 'laterDue', 'scheduled')
    call('UNLINK', keys.sizes)
    return -1
  end
  -- Another client may have written any score there.
  local firstMs = math.max(0, math.min(MAX_MS, tonumber(first[2])))
  -- A Redis that is full may refuse it: both are corrected later.
  try('HSET', keys.config, 'laterDue', asMs(firstMs), 'scheduled', asMs(math.max(1, total)))
  return firstMs
end

-- Gives messages their numbers, in the order in which they came.
-- @return the last one's number
local function nextNumbers(keys, rows)
  local last = try('HINCRBY', keys.config, 'laterSequence', #rows)
  if type(last) == 'number' and last >= #rows and last <= MAX_SEQUENCE then return last end
  -- Another client has written something else there: on from the time, which is beyond all that was. (A Redis that is full
  -- refuses this too, and then nothing has been written.)
  last = rows[1].dueMs + #rows
  call('HSET', keys.config, 'laterSequence', asMs(last))
  return last
end

-- Sorts messages into their buckets by members of those numbers.
-- @return the buckets, each message's member, and whether one of those is there already
local function placeLater(rows, last, suffix)
  local members, touched = {}, {}
  for i, row in ipairs(rows) do
    local bucket, member = row.bucket, string.format('%012.0f', last - #rows + i) .. suffix
    if bucket.last ~= last then
      bucket.last, bucket.names, bucket.payloads, bucket.times, bucket.firstMs, bucket.bytes = last, {}, {}, {}, row.dueMs, 0
      touched[#touched + 1] = bucket
    end
    local names, payloads, times = bucket.names, bucket.payloads, bucket.times
    names[#names + 1], members[i] = member, member
    payloads[#payloads + 1], payloads[#payloads + 2] = member, row.payload
    times[#times + 1], times[#times + 2] = asMs(row.dueMs), member
    bucket.firstMs, bucket.bytes = math.min(bucket.firstMs, row.dueMs), bucket.bytes + #row.payload + MEMBER_BYTES
  end
  for _, bucket in ipairs(touched) do
    for _, score in ipairs(call('ZMSCORE', bucket.due, unpack(bucket.names))) do
      if score then return touched, members, true end
    end
  end
  return touched, members, false
end

-- Stores messages: each { bucket, dueMs, payload }. All keys were checked.
-- @param sizes of the buckets by name, as keys.sizes has them
-- @param total how many there are, as the config says
-- @return their ids, and when the first of all is due
function addLater(keys, rows, sizes, incarnation, total)
  -- Another client may have written anything there.
  local suffix = '.' .. incarnation:match('^[%w-]*'):sub(1, 8)
  local touched, members, isTaken = placeLater(rows, nextNumbers(keys, rows), suffix)
  for i = 1, isTaken and MAX_TRIES or 0 do
    local last = rows[1].dueMs + #rows + i * TRY_ON
    call('HSET', keys.config, 'laterSequence', asMs(last))
    touched, members, isTaken = placeLater(rows, last, suffix)
    if not isTaken then break end
  end
  local first, counts, ids = {}, {}, {}
  for _, bucket in ipairs(touched) do
    call('HSET', bucket.messages, unpack(bucket.payloads))
    call('ZADD', bucket.due, unpack(bucket.times))
    first[#first + 1], first[#first + 2] = asMs(bucket.firstMs), bucket.name
    local count, bytes = readSize(sizes[bucket.name])
    counts[#counts + 1] = bucket.name
    counts[#counts + 1] = writeSize(count + #bucket.names, bytes + bucket.bytes)
  end
  call('ZADD', keys.later, 'LT', unpack(first))
  call('HSET', keys.sizes, unpack(counts))
  for i, row in ipairs(rows) do ids[i] = 'later~' .. row.bucket.name .. '~' .. members[i] end
  return ids, noteLater(keys, (keys.isEmpty and 0 or total) + #rows)
end

-- Goes through the messages of buckets in the order in which they are due. A bucket is opened once its first message may be
-- the next.
-- @param found names and lower bounds of their times in turn, as keys.later has them
-- @param named the buckets whose keys the script was given; at the first other one that is needed it stops
-- @param startOf where to begin in a bucket, as a rank
-- @return a function that returns the next entry { bucket, member, dueMs }, or nil; one that tells whether it stopped so
function mergeBuckets(found, named, startOf)
  local open, at, isStopped = {}, 1, false
  local function fill(bucket)
    if bucket.at <= #bucket.rows then return true end
    bucket.rows = call('ZRANGE', bucket.due, bucket.rank, bucket.rank + PAGE - 1, 'WITHSCORES')
    bucket.at, bucket.rank = 1, bucket.rank + PAGE
    return #bucket.rows > 0
  end
  local function first()
    local best
    for i = #open, 1, -1 do
      local bucket = open[i]
      if fill(bucket) then
        local dueMs, member = tonumber(bucket.rows[bucket.at + 1]), bucket.rows[bucket.at]
        if not best or dueMs < best.dueMs or (dueMs == best.dueMs and member < best.member) then
          best = { bucket = bucket, member = member, dueMs = dueMs }
        end
      else
        table.remove(open, i)
      end
    end
    return best
  end
  local function nextEntry()
    local best = first()
    while found[at] and (not best or tonumber(found[at + 1]) <= best.dueMs) do
      local bucket = named[found[at]]
      if not bucket then
        isStopped = true
        return nil
      end
      bucket.rows, bucket.at, bucket.rank = {}, 1, startOf(bucket)
      open[#open + 1] = bucket
      at = at + 2
      best = first()
    end
    if best then best.bucket.at = best.bucket.at + 2 end
    return best
  end
  return nextEntry, function() return isStopped end
end

-- Reads the next entries that are due by then, with their payloads.
-- @param nextEntry of mergeBuckets
-- @return at most so many entries, and whether that was all
function readNext(nextEntry, count, untilMs)
  local entries, ofBucket, buckets = {}, {}, {}
  while #entries < count do
    local entry = nextEntry()
    if not entry or entry.dueMs > untilMs then break end
    entries[#entries + 1] = entry
    if not ofBucket[entry.bucket] then
      ofBucket[entry.bucket] = {}
      buckets[#buckets + 1] = entry.bucket
    end
    local mine = ofBucket[entry.bucket]
    mine[#mine + 1] = entry
  end
  for _, bucket in ipairs(buckets) do
    local members = {}
    for i, entry in ipairs(ofBucket[bucket]) do members[i] = entry.member end
    for i, payload in ipairs(call('HMGET', bucket.messages, unpack(members))) do ofBucket[bucket][i].payload = payload end
  end
  return entries, #entries < count
end

-- Takes messages out: bucket.taken are members, bucket.takenBytes what they weighed. What a bucket was said to hold goes with
-- it, so that the figures are right again whatever another client has deleted.
-- @param total how many there were
-- @return when the first of the rest is due, or -1; how many were lost, since another client has deleted what tells their time
function takeLater(keys, buckets, total)
  local gone, lost = 0, 0
  for _, bucket in ipairs(buckets) do
    if #bucket.taken > 0 then
      call('ZREM', bucket.due, unpack(bucket.taken))
      call('HDEL', bucket.messages, unpack(bucket.taken))
    end
    local count, bytes = readSize(call('HGET', keys.sizes, bucket.name) or nil)
    local first = call('ZRANGE', bucket.due, 0, 0, 'WITHSCORES')
    if first[1] then
      gone = gone + #bucket.taken
      try('ZADD', keys.later, first[2], bucket.name)
      try('HSET', keys.sizes, bucket.name, writeSize(count - #bucket.taken, bytes - bucket.takenBytes))
    else
      gone, lost = gone + count, lost + math.max(0, count - #bucket.taken)
      call('ZREM', keys.later, bucket.name)
      call('HDEL', keys.sizes, bucket.name)
      call('UNLINK', bucket.messages, bucket.due)
    end
  end
  return noteLater(keys, total - gone), lost
end

-- Notes anew what is there, for a config that has lost it. Keys of another type hold nothing.
-- @return whether there is something
function recountLater(keys)
  local there, sizes, total = try('ZCARD', keys.later), try('HVALS', keys.sizes), 0
  if type(there) == 'table' or sizes.err or there + #sizes == 0 then return false end
  if there == 0 and restoreList(keys) then return false end
  for _, text in ipairs(sizes) do total = total + readSize(text) end
  noteLater(keys, total)
  return true
end
`,
);
