import { defineReadingScript } from "../redis/script.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Consumers that have something of a group's side store in hand, a slice of them. Redis does not know of that.
 * KEYS: stream, config, due, clock
 * ARGV: group, default of ackWaitMs, score to go on after ('' for the beginning), how many consumers
 * Returns { { name, how many it has in hand, idle time in ms } each, score to go on after (absent at the end) }
 */
export const sideConsumersScript = defineReadingScript(
  "side-consumers",
  [redisTime, sideStore],
  /* lua */ `
-- Members looked at for each.
local SAMPLE = 20

local stream, config, due, clock = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, after, max = ARGV[1], ARGV[3], tonumber(ARGV[4])
local settings = call('HMGET', config, 'ackWaitMs:' .. group, 'againDue:' .. group)
-- No bound: the side store is empty.
if not settings[2] then return reply({ {} }) end
local ackWaitMs, nowMs = numberOf(settings[1], ARGV[2]), redisNowMs(clock, stream)

-- By the hashes of their names, one after the other.
local rows, from = {}, after == '' and asMs(INDEX.consumer) or '(' .. after
for _ = 1, max do
  local found = call('ZRANGEBYSCORE', due, from, '(' .. asMs(INDEX.stop), 'WITHSCORES', 'LIMIT', 0, 1)
  if #found == 0 then return reply({ rows }) end
  local consumer, score = found[1]:match('^c (.+) %S+ %d+$'), asMs(tonumber(found[2]))
  -- Taking from the side store is work too. The latest side ids tell when that was.
  local members, idleMs = {}, math.huge
  for i, text in ipairs(call('ZREVRANGEBYSCORE', due, score, score, 'LIMIT', 0, SAMPLE)) do
    local side, deliveries = text:match(' (%S+) (%d+)$')
    members[i] = side .. ' ' .. deliveries .. ' h ' .. consumer
  end
  for _, ends in ipairs(call('ZMSCORE', due, unpack(members))) do
    if ends then idleMs = math.min(idleMs, math.max(0, nowMs + ackWaitMs + tonumber(ends))) end
  end
  rows[#rows + 1] = { consumer, call('ZCOUNT', due, score, score), idleMs < math.huge and idleMs or 0 }
  from = '(' .. score
end
return reply({ rows, from:sub(2) })
`,
);
