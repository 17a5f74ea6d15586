import { defineScript } from "../redis/script.ts";
import { choose } from "./parts/choose.lua.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { gap } from "./parts/gap.lua.ts";
import { ids } from "./parts/ids.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * A reclaim poll: hands out expired deliveries, then what is due in the side store, then new messages, for the room
 * that there is, in one atomic step, so that no crash can charge or hide anything in between.
 * KEYS: stream, config, dead, again, due
 * ARGV: group, consumer, batch size, bytes per batch, defaults of ackWaitMs and maxDeliveries,
 *       now in ms by the caller's clock, 1 to recover what this consumer holds already, latest id that was acknowledged or ''
 * Returns { ackWaitMs, maxMessageBytes, expired: { id, fields } each, their deliveries so far,
 *           due: { side id, id, deliveries so far, fields } each, new: { id, fields } each, 1 if more is waiting,
 *           the gap as JSON or '', in how many ms something may be there to be handed out again (-1: nothing known) }
 *         | { 'refused', error } when Redis refused the new messages and there was nothing else
 */
export const reclaimPollScript = defineScript(
  "reclaim-poll",
  [choose, gap, deadLetters, ids, messageSize, pending, redisTime, sideStore],
  /* lua */ `
local SLICE = 250 -- pending entries looked at per poll: about 0.1 ms
-- How far a Worker's clock may be off: Redis' own is asked only from this long before the bound.
local CLOCK_SKEW_MS = 5000

local keys = { stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5] }
local group, consumer, recover = ARGV[1], ARGV[2], ARGV[8] == '1'
local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'maxDeliveries:' .. group, 'maxMessageBytes',
  'cursor:' .. group, 'againDue:' .. group, 'gap:' .. group, 'largestMessageBytes')
local ackWaitMs = tonumber(settings[1] or ARGV[5])
local maxDeliveries = tonumber(settings[2] or ARGV[6])
local maxMessageBytes = largestMessage(settings[3], settings[7])
local againDueMs = tonumber(settings[5] or nil)
local room = fitting(tonumber(ARGV[3]), tonumber(ARGV[4]), maxMessageBytes)
local choice = newChoice(room, maxDeliveries)
local callerNowMs = tonumber(ARGV[7])

-- A gap is told until something after it is acknowledged.
local gap = settings[6] or ''
local told = gap ~= '' and ARGV[9] ~= '' and readGap(gap)
if told and less(told.toId, ARGV[9]) then
  call('HDEL', keys.config, 'gap:' .. group)
  gap = ''
end

local candidates, nextCursor, againInMs
local cursor = settings[4] or '-'
if recover then
  candidates, nextCursor = pendingOf(keys.stream, group, consumer, room), cursor
else
  candidates, nextCursor, againInMs = findExpired(keys.stream, group, cursor, math.max(SLICE, room), ackWaitMs)
end
local chosen, poison, left = choose(choice, candidates)
if #poison > 0 then
  beginWriting(keys, group)
  deadLetterAll(keys, group, poison)
end
local again, earlier = claim(keys, group, consumer, recover and 0 or ackWaitMs, chosen)
-- The next poll looks at what was left behind first.
if left and not recover then nextCursor = left.id end
-- A message handed out alone leaves room: others may be waiting.
local more = left ~= nil or choice.alone

-- The side store.
local due = {}
local isDue = againDueMs and (recover or callerNowMs + CLOCK_SKEW_MS >= againDueMs)
if isDue and not choice.alone and choice.handed < room then
  local nowMs = redisNowMs()
  local now = asMs(nowMs)
  local members
  if recover then
    members = inHandOf(keys.due, consumer, room - choice.handed + POISON_AT_ONCE)
  else
    members = call('ZRANGEBYSCORE', keys.due, '-' .. now, now, 'LIMIT', 0, room - choice.handed + POISON_AT_ONCE)
  end
  if #members == 0 and not recover then
    local waiting = call('ZRANGEBYSCORE', keys.due, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    local leased = call('ZREVRANGEBYSCORE', keys.due, '(-' .. now, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    local earliest = math.min(waiting and tonumber(waiting) or math.huge, leased and -tonumber(leased) or math.huge)
    againDueMs = earliest < math.huge and earliest or nil
    if againDueMs then
      -- A full Redis may refuse this: costs one more look.
      try('HSET', keys.config, 'againDue:' .. group, asMs(earliest))
    else
      call('HDEL', keys.config, 'againDue:' .. group)
    end
  end
  if #members > 0 and #again == 0 then beginWriting(keys, group) end
  local chosenDue, poisonDue, leftDue = choose(choice, readSideStore(keys, members))
  for _, entry in ipairs(poisonDue) do
    entry.reason = 'max-deliveries'
    deadLetter(keys, group, entry)
  end
  removeFromSideStore(keys, poisonDue)
  local old, new = {}, {}
  for i, entry in ipairs(chosenDue) do
    due[i] = { entry.side, entry.id, entry.deliveries, entry.fields }
    old[i] = entry.member
    entry.deliveries, entry.consumer = entry.deliveries + 1, consumer
    new[2 * i - 1] = '-' .. asMs(nowMs + ackWaitMs)
    new[2 * i] = writeMember(entry, 'h')
  end
  if #due > 0 then
    call('ZADD', keys.due, unpack(new))
    call('ZREM', keys.due, unpack(old))
    -- Keeps to the budget: new messages wait for the next poll.
    more = true
  end
  more = more or leftDue ~= nil or choice.alone
end

-- Look again when a lease of this slice ends, something falls due, or what is handed out now expires.
local function soonest(ms) againInMs = math.min(againInMs or ms, math.max(0, ms)) end
if againDueMs then soonest(againDueMs - callerNowMs) end
if choice.handed > 0 then soonest(ackWaitMs) end

local fresh = false
if not choice.alone and choice.handed < room and #due == 0 then
  fresh = try('XREADGROUP', 'GROUP', group, consumer, 'COUNT', room - choice.handed, 'STREAMS', keys.stream, '>')
  if fresh and fresh.err then
    if choice.handed == 0 then return reply({ 'refused', fresh.err }) end
    fresh = false
  end
end
-- After the read: then a full Redis accepts it.
if nextCursor ~= cursor then try('HSET', keys.config, 'cursor:' .. group, nextCursor) end
fresh = fresh and fresh[1][2] or {}
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
return reply({ ackWaitMs, maxMessageBytes, again, earlier, due, fresh, more and 1 or 0, gap,
  againInMs or -1 })
`,
);
