import { defineScript } from "../redis/script.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { holders } from "./parts/holders.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Removes a consumer after handing on what it holds, since Redis drops that. Some thousands of entries per call; the
 * consumer goes when it holds nothing more, in the same step that sees it.
 * KEYS: stream, config, dead, again, due
 * ARGV: group, consumer, who gets what it holds ('': it is held for redelivery at once), default of ackWaitMs
 * Returns { handed over, 1 if there is more to hand over } | { 'unknown-consumer' }
 */
export const removeConsumerScript = defineScript(
  "remove-consumer",
  [deadLetters, holders, pending, redisTime, sideStore, xinfo],
  /* lua */ `
local PAGE, PAGES = 1000, 5
local keys = { stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5] }
local group, consumer, target = ARGV[1], ARGV[2], ARGV[3]

beginWriting(keys, group)
local exists = false
for _, info in ipairs(consumerInfos(keys.stream, group)) do
  if info.name == consumer then exists = true end
end

local handedOver, own = 0, {}
local counts = target == '' and countPending(keys.stream, group) or {}
-- Weir's own holders may be removed too: another one gets what they hold.
counts[consumer] = HOLDER_MAX
for _ = 1, PAGES do
  own = pendingOf(keys.stream, group, consumer, PAGE)
  if #own == 0 then break end
  if target == '' then
    hold(keys, group, own, counts)
  else
    moveTo(keys, group, target, 0, own)
  end
  handedOver = handedOver + #own
end
if #own == PAGE then return reply({ handedOver, 1 }) end

-- What it has in hand of the side store.
local nowMs = redisNowMs()
local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'againDue:' .. group)
local members = settings[2] and inHandOf(keys.due, consumer, 1000) or {}
for _, member in ipairs(members) do
  local entry = readMember(member)
  if target == '' then
    call('ZADD', keys.due, asMs(nowMs), member)
  else
    entry.consumer = target
    call('ZADD', keys.due, '-' .. asMs(nowMs + tonumber(settings[1] or ARGV[4])), writeMember(entry, 'h'))
    call('ZREM', keys.due, member)
  end
end
if #members > 0 then noteDue(keys.config, group, tonumber(settings[2]), nowMs) end
handedOver = handedOver + #members
if #members == 1000 then return reply({ handedOver, 1 }) end

if not exists and handedOver == 0 then return reply({ 'unknown-consumer' }) end
call('XGROUP', 'DELCONSUMER', keys.stream, group, consumer)
return reply({ handedOver, 0 })
`,
);
