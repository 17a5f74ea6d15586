import { defineScript } from "../redis/script.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { holders } from "./parts/holders.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Removes a consumer after handing on what it holds, since Redis drops that. Some thousands of entries per call; the
 * consumer goes when it holds nothing more, in the same step that sees it.
 * KEYS: stream, config, dead, again, due, dead index, clock
 * ARGV: group, consumer, who gets what it holds ('': it is held for redelivery at once), default of ackWaitMs
 * Returns { handed over, 1 if there is more to hand over } | { 'unknown-consumer' }
 */
export const removeConsumerScript = defineScript(
  "remove-consumer",
  [deadLetters, holders, messageSize, pending, redisTime, sideStore, xinfo],
  /* lua */ `
local PAGE, PAGES = 1000, 5
local keys = {
  stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5], deadIndex = KEYS[6],
  clock = KEYS[7],
}
local group, consumer, target = ARGV[1], ARGV[2], ARGV[3]

-- First, for its NOGROUP when the stream or group is missing: XINFO CONSUMERS may answer an empty list.
local counted = countPending(keys.stream, group)
local exists = false
for _, info in ipairs(consumerInfos(keys.stream, group)) do
  if info.name == consumer then exists = true end
end

local nowMs = redisNowMs(keys.clock)
beginWriting(keys, group)
local handedOver, own = 0, {}
-- Weir's own holders may be removed too: another one gets what they hold.
counted.counts[consumer] = HOLDER_MAX
for _ = 1, PAGES do
  own = pendingOf(keys.stream, group, consumer, PAGE)
  if #own == 0 then break end
  if target == '' then
    hold(keys, group, own, counted)
  else
    moveTo(keys, group, target, own)
  end
  handedOver = handedOver + #own
end
if target == '' and handedOver > 0 then writeHolders(keys, group, counted.first, counted.last) end
indexDeadLetters(keys)
if #own == PAGE then return reply({ handedOver, 1 }) end

-- What it has in hand of the side store.
local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'againDue:' .. group)
local members, mayHaveMore = {}, false
if settings[2] then members, mayHaveMore = inHandOf(keys, consumer, stepSize(keys, PAGE)) end
local entries = readSideStore(keys, members)
if target == '' then
  local due, payloads = {}, {}
  for i, entry in ipairs(entries) do
    due[2 * i - 1], due[2 * i] = asMs(nowMs), writeMember(entry, 'w')
    payloads[2 * i - 1], payloads[2 * i] = entry.side, writePayload(entry)
    members[#members + 1], members[#members + 2] = indexOfHand(entry)
  end
  if #entries > 0 then
    call('ZREM', keys.due, unpack(members))
    call('ZADD', keys.due, unpack(due))
    call('HSET', keys.again, unpack(payloads))
    noteDue(keys.config, group, tonumber(settings[2]), nowMs)
  end
else
  handOn(keys, entries, target, nowMs + tonumber(settings[1] or ARGV[4]), 0)
end
handedOver = handedOver + #entries
if mayHaveMore then return reply({ handedOver, 1 }) end

if not exists and handedOver == 0 then return reply({ 'unknown-consumer' }) end
call('XGROUP', 'DELCONSUMER', keys.stream, group, consumer)
return reply({ handedOver, 0 })
`,
);
