import { defineReadingScript } from "../redis/script.ts";
import { later } from "./parts/later.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Lists scheduled messages by the time at which they are due.
 * KEYS: stream, config, later, the two keys of each bucket that is named
 * ARGV: max entries, time (ms) and member after which to begin ('0' and '': at the beginning), the buckets' names
 * Returns { { bucket, member, when it is due (ms), payload } each, the buckets that are needed, time and member to go on after
 *           (absent at the end) }, or 'unknown-stream'
 */
export const listScheduledScript = defineReadingScript(
  "list-scheduled",
  [later, messageSize, sideStore],
  /* lua */ `
local MAX_BUCKETS = 128

local stream, keys = KEYS[1], { config = KEYS[2], later = KEYS[3] }
if call('XLEN', stream) == 0 and call('EXISTS', stream) == 0 then return reply('unknown-stream') end
local max, afterMs, afterMember = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local names, needed = {}, {}
for i = 4, #ARGV do names[#names + 1] = ARGV[i] end
local _, named = openBuckets(names, 4)

local hourMs = math.floor(afterMs / HOUR_MS) * HOUR_MS
local found = call('ZRANGEBYSCORE', keys.later, asMs(hourMs), '+inf', 'WITHSCORES', 'LIMIT', 0, MAX_BUCKETS)
for i = 1, #found, 2 do needed[#needed + 1] = found[i] end

-- The rank of the first member after where the page before ended, found by halves.
local function startOf(bucket)
  if afterMember == '' then return 0 end
  local first, stop = ranksOf(bucket.due, asMs(afterMs))
  -- No member goes on with a space.
  return rankFrom(bucket.due, first, stop, afterMember .. ' ')
end
local nextEntry, isStopped = mergeBuckets(found, named, startOf)

local settings = call('HMGET', keys.config, 'maxMessageBytes', 'largestMessageBytes')
local reading = newReading(ANSWER_BYTES, largestMessage(settings[1], settings[2]), 64)
local rows, last, isAtEnd = {}, nil, false
local count = reading.next(max)
while count > 0 and not isAtEnd do
  local entries
  entries, isAtEnd = readNext(nextEntry, count, math.huge)
  for _, entry in ipairs(entries) do
    last = entry
    if entry.payload then
      rows[#rows + 1] = { entry.bucket.name, entry.member, asMs(entry.dueMs), entry.payload }
      reading.add({ entry.payload })
    end
  end
  count = reading.next(max - #rows)
end
if isAtEnd and not isStopped() then return reply({ rows, needed }) end
if last then return reply({ rows, needed, asMs(last.dueMs), last.member }) end
return reply({ rows, needed, asMs(afterMs), afterMember })
`,
);
