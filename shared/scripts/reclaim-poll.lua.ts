import { defineScript } from "../redis/script.ts";
import { DEAD_LETTER_LUA } from "./dead-letter.ts";
import { EXPIRED_LUA } from "./expired.ts";

/**
 * A reclaim poll: hands out expired deliveries, then new messages for the room that is left, in one atomic step, so
 * that no crash can charge or hide anything in between.
 * KEYS: stream, config, dead
 * ARGV: group, consumer, batch size, bytes per batch, defaults of ackWaitMs, maxDeliveries and maxMessageBytes
 * Returns { ackWaitMs, maxMessageBytes, again entries, their earlier deliveries, new entries, 1 if more has expired }
 *         | { 'refused', error } when Redis refused the new messages and there was nothing else
 */
export const reclaimPollScript = defineScript(
  "reclaim-poll",
  EXPIRED_LUA,
  DEAD_LETTER_LUA,
  /* lua */ `
local SLICE = 250 -- pending entries looked at per poll: about 0.1 ms
local POISON_PER_POLL = 20

local stream, config, dead = KEYS[1], KEYS[2], KEYS[3]
local group, consumer = ARGV[1], ARGV[2]
local cursorField = 'cursor:' .. group
local settings = call('HMGET', config, 'ackWaitMs:' .. group, 'maxDeliveries:' .. group, 'maxMessageBytes', cursorField)
local ackWaitMs = tonumber(settings[1] or ARGV[5])
local maxDeliveries = tonumber(settings[2] or ARGV[6])
local maxMessageBytes = tonumber(settings[3] or ARGV[7])
local cursor = settings[4] or '-'
-- COUNT cannot limit bytes, so the largest message that there may be does.
local room = math.max(1, math.min(tonumber(ARGV[3]), math.floor(tonumber(ARGV[4]) / maxMessageBytes)))

local expired, nextCursor = findExpired(stream, group, cursor, math.max(SLICE, room), ackWaitMs)

-- A message's last permitted delivery is handed out alone: if it kills its consumer, nothing else is charged.
local poison, ids, deliveries, left = {}, {}, {}, nil
local alone = false
for _, entry in ipairs(expired) do
  local lastChance = maxDeliveries > 1 and entry.deliveries == maxDeliveries - 1
  if entry.deliveries >= maxDeliveries and #poison < POISON_PER_POLL then
    poison[#poison + 1] = entry
  elseif entry.deliveries >= maxDeliveries or alone or #ids >= room or (lastChance and #ids > 0) then
    left = left or entry.id
  else
    ids[#ids + 1] = entry.id
    deliveries[entry.id] = entry.deliveries
    alone = lastChance
  end
end

deadLetterAll(stream, group, dead, poison)

-- XCLAIM charges the delivery, starts the lease and reads the payload. A payload that is gone is left out of its
-- answer and taken off the PEL: that is recorded in the same step.
local again, earlier = {}, {}
if #ids > 0 then
  again = call('XCLAIM', stream, group, consumer, ackWaitMs, unpack(ids))
  local found = {}
  for i, entry in ipairs(again) do
    found[entry[1]] = true
    earlier[i] = deliveries[entry[1]]
  end
  if #again < #ids then
    for _, entry in ipairs(expired) do
      if deliveries[entry.id] and not found[entry.id] then
        entry.reason = 'payload-missing'
        deadLetter(dead, entry)
      end
    end
  end
end

-- What was left behind is looked at first next time.
nextCursor = left or nextCursor
if nextCursor ~= cursor then call('HSET', config, cursorField, nextCursor) end

local fresh = false
if not alone and #again < room then
  fresh = try('XREADGROUP', 'GROUP', group, consumer, 'COUNT', room - #again, 'STREAMS', stream, '>')
  if fresh and fresh.err then
    if #again == 0 then return reply({ 'refused', fresh.err }) end
    fresh = false
  end
end
return reply({ ackWaitMs, maxMessageBytes, again, earlier, fresh and fresh[1][2] or {}, left and 1 or 0 })
`,
);
