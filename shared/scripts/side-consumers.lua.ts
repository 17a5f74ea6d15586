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

-- Names that have the same hash, at most.
local SAME_HASH = 20

-- nil for what another client has put there.
local function nameOf(text) return text:match('^c (.+) %S+ %d+$') end

-- @return how many of a score are of each name
local function countByName(score)
  local at, stop = ranksOf(due, score)
  local lastName, counts = nameOf(call('ZRANGE', due, stop - 1, stop - 1)[1]), {}
  while at < stop and #counts < SAME_HASH do
    local name = nameOf(call('ZRANGE', due, at, at)[1])
    -- Nearly always there is but one: no search for where it ends.
    local ends = name == lastName and stop or rankFrom(due, at, stop, 'c ' .. (name or '') .. '!')
    if name then counts[#counts + 1] = { name, ends - at } end
    at = math.max(ends, at + 1)
  end
  return counts
end

-- Taking from the side store is work too. The latest side ids tell when that was.
local function idleMsOf(consumer, score)
  local members, idleMs = {}, math.huge
  for _, text in ipairs(call('ZREVRANGEBYSCORE', due, score, score, 'LIMIT', 0, SAMPLE)) do
    local side, deliveries = text:match(' (%S+) (%d+)$')
    if side and nameOf(text) == consumer then members[#members + 1] = side .. ' ' .. deliveries .. ' h ' .. consumer end
  end
  for _, ends in ipairs(#members > 0 and call('ZMSCORE', due, unpack(members)) or {}) do
    if ends then idleMs = math.min(idleMs, math.max(0, nowMs + ackWaitMs + tonumber(ends))) end
  end
  return idleMs < math.huge and idleMs or 0
end

-- By the hashes of their names, one after the other.
local rows, from = {}, after == '' and asMs(INDEX.consumer) or '(' .. after
for _ = 1, max do
  local found = call('ZRANGEBYSCORE', due, from, '(' .. asMs(INDEX.stop), 'WITHSCORES', 'LIMIT', 0, 1)
  if #found == 0 then return reply({ rows }) end
  local score = asMs(tonumber(found[2]))
  for _, counted in ipairs(countByName(score)) do
    rows[#rows + 1] = { counted[1], counted[2], idleMsOf(counted[1], score) }
  end
  from = '(' .. score
end
return reply({ rows, from:sub(2) })
`,
);
