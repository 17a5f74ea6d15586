import { defineScript } from "../redis/script.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { holders } from "./parts/holders.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Removes a consumer after handing on what it holds, since Redis drops that. Some thousands of entries per call; the
 * consumer goes when it holds nothing more, in the same step that sees it.
 * KEYS: stream, config, dead, again, due, dead index, clock
 * ARGV: group, consumer, who gets what it holds ('': it is held for redelivery at once), default of ackWaitMs
 * Returns { handed over, 1 if there is more to hand over } | { 'unknown-consumer' }
 */
export const removeConsumerScript = defineScript(
  "remove-consumer",
  [deadLetters, holders, messageSize, pending, redisTime, sideStore],
  /* lua */ `
local PAGE, PAGES = 1000, 3
local keys = {
  stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5], deadIndex = KEYS[6],
  clock = KEYS[7],
}
local group, consumer, target = ARGV[1], ARGV[2], ARGV[3]
-- First, for its NOGROUP when the stream or group is missing.
oldestPending(keys.stream, group)
local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'againDue:' .. group, 'maxMessageBytes',
  'largestMessageBytes', 'held:' .. group)
if settings[2] then checkSideStore(keys) end

local nowMs = redisNowMs(keys.clock, keys.stream)
beginWriting(keys, group)
local handedOver, own = 0, {}
local open = openHolders(keys, group, settings[5])
-- Weir's own holders may be removed too: another one gets what they hold.
open.counts[consumer] = HOLDER_MAX
for _ = 1, PAGES do
  own = pendingOf(keys.stream, group, consumer, PAGE)
  if #own == 0 then break end
  if target == '' then
    hold(keys, group, own, open)
  else
    moveTo(keys, group, target, own)
  end
  handedOver = handedOver + #own
end
if target == '' and handedOver > 0 then writeHolders(keys, group, open.first, open.last) end
indexDeadLetters(keys)
if #own == PAGE then return reply({ handedOver, 1 }) end

-- What it has in hand of the side store.
local members, isCut, entries = {}, false, {}
if settings[2] then
  local isFull, isLarge, isDropped
  members, isFull, isDropped = inHandOf(keys, consumer, PAGE)
  entries, isLarge = readSideStore(keys, members, newReading(STEP_BYTES, largestMessage(settings[3], settings[4]), 1))
  -- What cannot be read stays until its lease has ended: nothing else would be left to do.
  isCut = (isFull or isLarge) and (#entries > 0 or isDropped)
end
if target == '' then
  local due, payloads, removed = {}, {}, {}
  for i, entry in ipairs(entries) do
    due[2 * i - 1], due[2 * i] = asMs(nowMs), writeMember(entry, 'w')
    payloads[2 * i - 1], payloads[2 * i] = entry.side, writePayload(entry)
    removed[#removed + 1] = entry.member
    removed[#removed + 1], removed[#removed + 2] = indexOfHand(entry)
  end
  if #entries > 0 then
    call('ZREM', keys.due, unpack(removed))
    call('ZADD', keys.due, unpack(due))
    call('HSET', keys.again, unpack(payloads))
    noteDue(keys.config, group, numberOf(settings[2]), nowMs)
  end
else
  handOn(keys, entries, target, nowMs + numberOf(settings[1], ARGV[4]), 0)
end
handedOver = handedOver + #entries
if isCut then return reply({ handedOver, 1 }) end

-- That it was there, making it tells: a list of all consumers may be long.
local isNew = call('XGROUP', 'CREATECONSUMER', keys.stream, group, consumer) == 1
call('XGROUP', 'DELCONSUMER', keys.stream, group, consumer)
return reply(isNew and handedOver == 0 and { 'unknown-consumer' } or { handedOver, 0 })
`,
);
