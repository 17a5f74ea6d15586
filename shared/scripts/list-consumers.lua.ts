import { defineReadingScript } from "../redis/script.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * A group's consumers, and what each has in hand, as the group's `pending` counts it.
 * KEYS: stream, config, due, clock
 * ARGV: group, default of ackWaitMs
 * Returns { name, pending, idle time in ms } each
 */
export const listConsumersScript = defineReadingScript(
  "list-consumers",
  [redisTime, sideStore, xinfo],
  /* lua */ `
-- Consumers found in the side store, and members looked at for each.
local MAX_CONSUMERS, SAMPLE = 1000, 100

local stream, config, due, clock, group = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]
-- First, for its NOGROUP when the stream or group is missing: XINFO CONSUMERS may answer an empty list.
call('XPENDING', stream, group)
local rows, byName = {}, {}
for i, info in ipairs(consumerInfos(stream, group)) do
  rows[i] = { info.name, info.pending, info.idle }
  byName[info.name] = rows[i]
end

local settings = call('HMGET', config, 'ackWaitMs:' .. group, 'againDue:' .. group)
-- No bound: the side store is empty.
if not settings[2] then return reply(rows) end

local ackWaitMs, nowMs = tonumber(settings[1] or ARGV[2]), redisNowMs(clock)

-- The consumers that have something in hand: by their hashes, one after the other.
local from = asMs(INDEX.consumer)
for _ = 1, MAX_CONSUMERS do
  local found = call('ZRANGEBYSCORE', due, from, '(' .. asMs(INDEX.stop), 'WITHSCORES', 'LIMIT', 0, 1)
  if #found == 0 then break end
  local consumer, score = found[1]:match('^c (.+) %S+ %d+$'), asMs(tonumber(found[2]))
  local row = byName[consumer]
  if not row then
    -- Redis knows only who has asked for messages of the stream itself.
    row = { consumer, 0, math.huge }
    rows[#rows + 1], byName[consumer] = row, row
  end
  row[2] = row[2] + call('ZCOUNT', due, score, score)
  -- Taking from the side store is work too, and Redis does not see it. The latest side ids tell.
  local members = {}
  for i, text in ipairs(call('ZREVRANGEBYSCORE', due, score, score, 'LIMIT', 0, SAMPLE)) do
    local side, deliveries = text:match(' (%S+) (%d+)$')
    members[i] = side .. ' ' .. deliveries .. ' h ' .. consumer
  end
  for _, ends in ipairs(call('ZMSCORE', due, unpack(members))) do
    if ends then row[3] = math.min(row[3], math.max(0, nowMs + ackWaitMs + tonumber(ends))) end
  end
  from = '(' .. score
end
for _, row in ipairs(rows) do
  if row[3] == math.huge then row[3] = 0 end
end
return reply(rows)
`,
);
