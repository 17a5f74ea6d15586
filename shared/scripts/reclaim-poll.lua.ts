import { defineScript } from "../redis/script.ts";
import { AGAIN_LUA } from "./again.ts";
import { CHOOSE_LUA } from "./choose.ts";
import { DEAD_LETTER_LUA } from "./dead-letter.ts";
import { EXPIRED_LUA } from "./expired.ts";
import { IDS_LUA } from "./ids.ts";

/**
 * A reclaim poll: hands out expired deliveries, then what is due in the side store, then new messages, for the room
 * that there is, in one atomic step, so that no crash can charge or hide anything in between.
 * KEYS: stream, config, dead, again, due
 * ARGV: group, consumer, batch size, bytes per batch, defaults of ackWaitMs, maxDeliveries and maxMessageBytes,
 *       now in ms by the caller's clock, 1 to recover what this consumer holds already, latest id that was acknowledged or ''
 * Returns { ackWaitMs, maxMessageBytes, expired: { id, fields } each, their deliveries so far,
 *           due: { side id, id, deliveries so far, fields } each, new: { id, fields } each, 1 if more is waiting,
 *           the gap as JSON or '', in how many ms something may be there to be handed out again (-1: nothing known) }
 *         | { 'refused', error } when Redis refused the new messages and there was nothing else
 */
export const reclaimPollScript = defineScript(
  "reclaim-poll",
  EXPIRED_LUA,
  DEAD_LETTER_LUA,
  AGAIN_LUA,
  IDS_LUA,
  CHOOSE_LUA,
  /* lua */ `
local SLICE = 250 -- pending entries looked at per poll: about 0.1 ms
-- How far a Worker's clock may be from Redis'. Before the bound less this, Redis' own is not asked.
local CLOCK_SKEW_MS = 5000

local keys = { stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5] }
local group, consumer, recover = ARGV[1], ARGV[2], ARGV[9] == '1'
local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'maxDeliveries:' .. group, 'maxMessageBytes',
  'cursor:' .. group, 'againDue:' .. group, 'gap:' .. group, 'largestMessageBytes')
local ackWaitMs = tonumber(settings[1] or ARGV[5])
local maxDeliveries = tonumber(settings[2] or ARGV[6])
local maxMessageBytes = math.max(tonumber(settings[3] or ARGV[7]), tonumber(settings[7] or 0))
local againDueMs = tonumber(settings[5] or nil)
-- COUNT cannot limit bytes, so the largest message that there may be does.
local room = math.max(1, math.min(tonumber(ARGV[3]), math.floor(tonumber(ARGV[4]) / maxMessageBytes)))

-- A gap is told until something after it is acknowledged.
local gap = settings[6] or ''
if gap ~= '' and ARGV[10] ~= '' and less(cjson.decode(gap).toId, ARGV[10]) then
  call('HDEL', keys.config, 'gap:' .. group)
  gap = ''
end

local candidates, nextCursor, againInMs
local cursor = settings[4] or '-'
if recover then
  candidates, nextCursor = ownPending(keys.stream, group, consumer, room), cursor
else
  candidates, nextCursor, againInMs = findExpired(keys.stream, group, cursor, math.max(SLICE, room), ackWaitMs)
end
local chosen, poison, left = choose(candidates, room, maxDeliveries)
if #poison > 0 then
  beginWriting(keys, group)
  deadLetterAll(keys, group, poison)
end
local again, earlier = claim(keys, group, consumer, recover and 0 or ackWaitMs, chosen)
-- What was left behind is looked at first next time.
if left and not recover then nextCursor = left.id end
-- What comes alone leaves room that other messages may be waiting for.
local more = left ~= nil or alone

-- The side store.
local due = {}
local isDue = againDueMs and (recover or tonumber(ARGV[8]) + CLOCK_SKEW_MS >= againDueMs)
if isDue and not alone and handed < room then
  local nowMs = redisNowMs()
  local now = string.format('%.0f', nowMs)
  local members
  if recover then
    members = ownHanded(keys.due, consumer, room - handed + POISON_AT_ONCE)
  else
    members = call('ZRANGEBYSCORE', keys.due, '-' .. now, now, 'LIMIT', 0, room - handed + POISON_AT_ONCE)
  end
  if #members == 0 and not recover then
    local waiting = call('ZRANGEBYSCORE', keys.due, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    local leased = call('ZREVRANGEBYSCORE', keys.due, '(-' .. now, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    local earliest = math.min(waiting and tonumber(waiting) or math.huge, leased and -tonumber(leased) or math.huge)
    againDueMs = earliest < math.huge and earliest or nil
    if againDueMs then
      -- Refused by a full Redis at times, which costs no more than another look.
      try('HSET', keys.config, 'againDue:' .. group, string.format('%.0f', earliest))
    else
      call('HDEL', keys.config, 'againDue:' .. group)
    end
  end
  if #members > 0 and #again == 0 then beginWriting(keys, group) end
  local chosenDue, poisonDue, leftDue = choose(readAgain(keys, members), room, maxDeliveries)
  for _, entry in ipairs(poisonDue) do
    entry.reason = 'max-deliveries'
    deadLetter(keys, group, entry)
  end
  removeAgain(keys, poisonDue)
  local old, new = {}, {}
  for i, entry in ipairs(chosenDue) do
    due[i] = { entry.side, entry.id, entry.deliveries, entry.fields }
    old[i] = entry.member
    entry.deliveries, entry.consumer = entry.deliveries + 1, consumer
    new[2 * i - 1] = string.format('-%.0f', nowMs + ackWaitMs)
    new[2 * i] = writeMember(entry, 'h')
  end
  if #due > 0 then
    call('ZADD', keys.due, unpack(new))
    call('ZREM', keys.due, unpack(old))
    -- New messages wait for the next poll, so that this one keeps to its budget.
    more = true
  end
  more = more or leftDue ~= nil or alone
end

-- When to look again: when a lease of this slice ends, when something is due, when what is handed out now expires.
local function soonest(ms) againInMs = math.min(againInMs or ms, math.max(0, ms)) end
if againDueMs then soonest(againDueMs - tonumber(ARGV[8])) end
if handed > 0 then soonest(ackWaitMs) end

local fresh = false
if not alone and handed < room and #due == 0 then
  fresh = try('XREADGROUP', 'GROUP', group, consumer, 'COUNT', room - handed, 'STREAMS', keys.stream, '>')
  if fresh and fresh.err then
    if handed == 0 then return reply({ 'refused', fresh.err }) end
    fresh = false
  end
end
-- After the read, which lets a full Redis take it.
if nextCursor ~= cursor then try('HSET', keys.config, 'cursor:' .. group, nextCursor) end
fresh = fresh and fresh[1][2] or {}
if #fresh > 0 then
  soonest(ackWaitMs)
  -- After a seek back a read takes over what was handed out above, as delivery 1: that is the delivery that counts.
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
