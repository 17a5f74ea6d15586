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
-- Messages that one step looks at: those whose payload is gone count for no answer.
local MAX_ENTRIES = 1000
-- No message stands before this one in its moment: a page that ends between two messages goes on from it.
local FIRST_MEMBER, LAST_MS = '000000000000.', 999999999999999

local stream, keys = KEYS[1], { config = KEYS[2], later = KEYS[3] }
if call('XLEN', stream) == 0 and call('EXISTS', stream) == 0 then return reply('unknown-stream') end
local max, afterMs, afterMember = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local names, needed = {}, {}
for i = 4, #ARGV do names[#names + 1] = ARGV[i] end
local _, named = openBuckets(names, 4)

-- Where a message lies in a bucket of the hour beside its own, that one's first message may be due in yet another hour.
local hourMs = math.floor(afterMs / HOUR_MS - 2) * HOUR_MS
local found = call('ZRANGEBYSCORE', keys.later, asMs(hourMs), '+inf', 'WITHSCORES', 'LIMIT', 0, MAX_BUCKETS)
for i = 1, #found, 2 do needed[#needed + 1] = found[i] end
-- Where there are more buckets, their messages may stand between those of the last ones here.
local untilMs, endsMs = math.huge, nil
if #found == 2 * MAX_BUCKETS then
  endsMs = math.min(LAST_MS, math.max(afterMs + 1, math.floor(tonumber(found[#found]))))
  untilMs = endsMs - 1
end

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
local rows, last, isAtEnd, handled = {}, nil, false, 0
local count = reading.next(max)
while count > 0 and not isAtEnd do
  local entries
  entries, isAtEnd = readNext(nextEntry, count, untilMs)
  handled = handled + #entries
  for _, entry in ipairs(entries) do
    last = entry
    if entry.payload then
      rows[#rows + 1] = { entry.bucket.name, entry.member, asMs(entry.dueMs), entry.payload }
      reading.add({ entry.payload })
    end
  end
  count = reading.next(math.min(max - #rows, MAX_ENTRIES - handled))
end
if isAtEnd and not isStopped() then
  if endsMs then return reply({ rows, needed, asMs(endsMs), FIRST_MEMBER }) end
  return reply({ rows, needed })
end
if last then return reply({ rows, needed, asMs(last.dueMs), last.member }) end
return reply({ rows, needed, asMs(afterMs), afterMember })
`,
);
