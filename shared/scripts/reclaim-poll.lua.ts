import { defineScript } from "../redis/script.ts";
import { acknowledge } from "./parts/acknowledge.lua.ts";
import { choose } from "./parts/choose.lua.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { gap } from "./parts/gap.lua.ts";
import { holders } from "./parts/holders.lua.ts";
import { ids } from "./parts/ids.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideDelivery } from "./parts/side-delivery.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * A reclaim poll: hands out expired deliveries, then what is due in the side store, then new messages, for the room
 * that there is, in one atomic step, so that no crash can charge or hide anything in between.
 * KEYS: stream, config, dead, again, due, dead index, clock
 * ARGV: group, consumer, batch size, bytes per batch, defaults of ackWaitMs and maxDeliveries, pending entries to look at,
 *       1 to recover what this consumer holds already, latest id that was acknowledged or '', until when (ms, by Redis'
 *       clock) this may run: whoever asked has given up by then, and nobody would get what it charges; the group's
 *       incarnation, should it have none yet; what to acknowledge first: see parts/acknowledge.lua.ts; ids and
 *       side ids of what the request settles beside, as JSON ('': none)
 * Returns { now (ms), acked, numbers of the acknowledged that are of another group, ackWaitMs, maxMessageBytes, maxDeliveries, expired: { id, fields } each, their deliveries so far,
 *           due: { side id, id, deliveries so far, fields } each, new: { id, fields } each, 1 if more is waiting, the gap
 *           as JSON or '', in how many ms something may be there to be handed out again (-1: nothing known),
 *           1 if not all pending entries were looked at, the group's incarnation, the stream's ('': another client has made it),
 *           since when a scheduled message is due (-1: none is) }
 *         | { now, acked, numbers } when it came too late, having done no more
 *         | { 'refused', error, acked, numbers } when Redis refused the new messages and there was nothing else
 */
export const reclaimPollScript = defineScript(
  "reclaim-poll",
  [acknowledge, choose, deadLetters, gap, holders, ids, messageSize, pending, redisTime, sideDelivery, sideStore],
  /* lua */ `
-- Holders read by one poll.
local MAX_HOLDERS = 2

local keys = {
  stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5], deadIndex = KEYS[6],
  clock = KEYS[7],
}
local group, consumer, recover = ARGV[1], ARGV[2], ARGV[8] == '1'
local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'maxDeliveries:' .. group, 'maxMessageBytes',
  'look:' .. group, 'againDue:' .. group, 'gap:' .. group, 'largestMessageBytes', 'held:' .. group,
  'ackWaitBefore:' .. group, 'incarnation:' .. group, 'incarnation', 'laterDue')
-- What the request itself settles is not handed out beside. Nothing is, where a key of another type has refused that.
local isMoving = {}
if ARGV[13] ~= '' then
  checkDeadLetters(keys)
  checkSideStore(keys)
  for _, id in ipairs(cjson.decode(ARGV[13])) do isMoving[id] = true end
end
local acked, foreign = acknowledge(keys, group, ARGV[12], settings[10])
local nowMs = redisNowMs(keys.clock, keys.stream)
if nowMs > tonumber(ARGV[10]) then return reply({ nowMs, acked, foreign }) end

local ackWaitMs = numberOf(settings[1], ARGV[5])
local ackWait = readAckWait(ackWaitMs, settings[9], nowMs)
local maxDeliveries = numberOf(settings[2], ARGV[6])
local maxMessageBytes = largestMessage(settings[3], settings[7])
local againDueMs = numberOf(settings[5])
local choice = newChoice(tonumber(ARGV[3]), tonumber(ARGV[4]), maxDeliveries, maxMessageBytes)
local room = choice.room
local reading = newReading(ANSWER_BYTES, maxMessageBytes, 64)
local more = false

-- A gap is told until something after it is acknowledged.
local gap = settings[6] or ''
local told = gap ~= '' and ARGV[9] ~= '' and readGap(gap)
if told and less(told.toId, ARGV[9]) then
  call('HDEL', keys.config, 'gap:' .. group)
  gap = ''
end

-- The stream's own entries: what is chosen goes out, and what has no try left to the dead letters.
local chosen, poison, seen = {}, {}, {}
-- @return the first entry that was left behind
local function take(candidates)
  local fresh = {}
  for _, entry in ipairs(candidates) do
    if not seen[entry.id] and not isMoving[entry.id] then
      seen[entry.id] = true
      fresh[#fresh + 1] = entry
    end
  end
  local some, spent, left = choose(choice, fresh)
  for _, entry in ipairs(some) do chosen[#chosen + 1] = entry end
  for _, entry in ipairs(spent) do poison[#poison + 1] = entry end
  more = more or left ~= nil
  return left
end
local function hasRoom() return not choice.alone and choice.handed < room end

if recover then take(pendingOf(keys.stream, group, consumer, room)) end

-- What Weir holds needs no search.
local firstHolder, lastHolder = readHolders(settings[8])
local firstBefore = firstHolder
for _ = 1, firstHolder and MAX_HOLDERS or 0 do
  if firstHolder > lastHolder or not hasRoom() then break end
  local wanted = room - choice.handed + POISON_AT_ONCE
  local held = pendingOf(keys.stream, group, '@held:' .. firstHolder, wanted)
  if take(held) or #held == wanted then break end
  firstHolder = firstHolder + 1
end
more = more or (firstHolder ~= nil and firstHolder <= lastHolder)

local cursor = readCursor(settings[4])
local nextCursor, againInMs = cursor, nil
if hasRoom() then
  local expired
  expired, nextCursor, againInMs = findExpired(keys.stream, group, cursor, math.max(tonumber(ARGV[7]), room), ackWait)
  local left = take(expired)
  -- The next poll looks at what was left behind first.
  if left then nextCursor = left.id end
end
local isUnfinished = nextCursor ~= '-'

-- The side store. All is read before anything is written: a key of another type must charge nobody.
local due, spentAside, takenAside = {}, {}, {}
local isAsideEmpty = false
if againDueMs and hasRoom() and (recover or nowMs >= againDueMs) then
  local wanted = room - choice.handed + POISON_AT_ONCE
  local members, isKnown = {}, {}
  local function add(some)
    for _, member in ipairs(some) do
      if not isKnown[member] and not isMoving[member:match('^%S*')] then members[#members + 1] = member end
      isKnown[member] = true
    end
  end
  if recover then add((inHandOf(keys, consumer, wanted))) end
  if #members < wanted then add(dueMembers(keys.due, nowMs, wanted - #members)) end
  local entries, isCut = readSideStore(keys, members, reading)
  isAsideEmpty = #entries == 0 and #members < wanted and not isCut and next(isMoving) == nil
  local leftAside
  takenAside, spentAside, leftAside = choose(choice, entries)
  -- Keeps to the budget: new messages wait for the next poll.
  more = more or isCut or #takenAside > 0 or leftAside ~= nil or choice.alone
end

local leftPoison, _
if #poison + #spentAside > 0 then
  checkDeadLetters(keys)
  beginWriting(keys, group)
  _, _, leftPoison = deadLetterAll(keys, group, poison)
  deadLetterAside(keys, group, spentAside)
end
local again, earlier, isTooLarge = claim(keys, group, consumer, chosen, choice, reading)
if isTooLarge or leftPoison then
  -- What weighed too much was left where it was: the next poll looks there again.
  more, nextCursor, firstHolder = true, cursor, firstBefore
end
-- A message handed out alone leaves room: others may be waiting.
more = more or choice.alone
due = handOutAside(keys, takenAside, consumer, nowMs + ackWaitMs)
indexDeadLetters(keys)

if isAsideEmpty then
  local far = '(' .. asMs(INDEX.start)
  local waiting = call('ZRANGEBYSCORE', keys.due, '(' .. asMs(nowMs), far, 'WITHSCORES', 'LIMIT', 0, 1)[2]
  local leased = call('ZREVRANGEBYSCORE', keys.due, '(-' .. asMs(nowMs), '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  local earliest = math.min(waiting and tonumber(waiting) or math.huge, leased and -tonumber(leased) or math.huge)
  againDueMs = earliest < math.huge and earliest or nil
  if againDueMs then
    -- A full Redis may refuse this: costs one more look.
    try('HSET', keys.config, 'againDue:' .. group, asMs(earliest))
  else
    call('HDEL', keys.config, 'againDue:' .. group)
    -- All that may be left is an index of what is gone.
    call('UNLINK', keys.due)
  end
end

-- Look again when a lease of this slice ends, something falls due, or what is handed out now expires.
local function soonest(ms) againInMs = math.min(againInMs or ms, math.max(0, ms)) end
if againDueMs then soonest(againDueMs - nowMs) end
if choice.handed > 0 then soonest(ackWaitMs) end
-- A scheduled message that will be due by then is appended when that poll passes by.
local laterDueMs = numberOf(settings[12])
if laterDueMs and laterDueMs > nowMs then
  soonest(laterDueMs - nowMs)
  laterDueMs = nil
end

-- New messages, as many as there is room for, by what they weigh.
local fresh = {}
local function readNew(count)
  local read = try('XREADGROUP', 'GROUP', group, consumer, 'COUNT', count, 'STREAMS', keys.stream, '>')
  if not read or read.err then return 0, read and read.err end
  local entries = read[1][2]
  for _, entry in ipairs(entries) do
    fresh[#fresh + 1] = entry
    reading.add(entry[2])
  end
  return #entries
end
if hasRoom() and #due == 0 then
  local wanted = room - choice.handed
  local count = reading.next(wanted)
  more = more or count == 0
  while count > 0 do
    local got, refused = readNew(count)
    if refused and choice.handed + #fresh == 0 then return reply({ 'refused', refused, acked, foreign }) end
    if got < count then break end
    count = reading.next(wanted - #fresh)
    more = more or (count == 0 and #fresh < wanted)
  end
end
-- Another client has made the group, or an earlier version. A full Redis may refuse it: then these leases go without.
local incarnation = settings[10] or ''
if incarnation == '' then
  local noted = try('HSETNX', keys.config, 'incarnation:' .. group, ARGV[11])
  if noted == 1 then incarnation = ARGV[11] end
end
-- After the read: then a full Redis accepts it.
if nextCursor ~= cursor then try('HSET', keys.config, 'look:' .. group, nextCursor) end
if firstHolder ~= firstBefore then
  if firstHolder <= lastHolder then
    try('HSET', keys.config, 'held:' .. group, firstHolder .. ' ' .. lastHolder)
  else
    call('HDEL', keys.config, 'held:' .. group)
  end
end
if #fresh > 0 then
  soonest(ackWaitMs)
  -- After a seek back, this read takes over what was handed out above, as delivery 1: that one counts.
  local isFresh, stillAgain, stillEarlier = {}, {}, {}
  for _, entry in ipairs(fresh) do isFresh[entry[1]] = true end
  for i, entry in ipairs(again) do
    if not isFresh[entry[1]] then
      stillAgain[#stillAgain + 1], stillEarlier[#stillEarlier + 1] = entry, earlier[i]
    end
  end
  again, earlier = stillAgain, stillEarlier
end
return reply({ nowMs, acked, foreign, ackWaitMs, maxMessageBytes, maxDeliveries, again, earlier, due, fresh, more and 1 or 0, gap,
  againInMs or -1, isUnfinished and 1 or 0, incarnation, settings[11] or '', asMs(laterDueMs or -1) })
`,
);
