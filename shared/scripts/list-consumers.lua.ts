import { defineReadingScript } from "../redis/script.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * A group's consumers, and what each has in hand, as the group's `pending` counts it.
 * KEYS: stream, config, due
 * ARGV: group, default of ackWaitMs
 * Returns { name, pending, idle time in ms } each
 */
export const listConsumersScript = defineReadingScript(
  "list-consumers",
  [redisTime, sideStore, xinfo],
  /* lua */ `
local stream, config, due, group = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local rows, byName, seen = {}, {}, {}
for i, info in ipairs(consumerInfos(stream, group)) do
  rows[i] = { info.name, info.pending, info.idle }
  byName[info.name] = rows[i]
end

local settings = call('HMGET', config, 'ackWaitMs:' .. group, 'againDue:' .. group)
-- No bound: the side store is empty.
if not settings[2] then return reply(rows) end

local ackWaitMs, nowMs = tonumber(settings[1] or ARGV[2]), redisNowMs()
-- The lease that ends last comes first.
for _, member in ipairs(call('ZRANGEBYSCORE', due, '-inf', '(0')) do
  local consumer = readMember(member).consumer
  local row = byName[consumer]
  if not row then
    -- Redis knows only who has asked for messages of the stream itself.
    row = { consumer, 0, math.huge }
    rows[#rows + 1], byName[consumer] = row, row
  end
  row[2] = row[2] + 1
  if not seen[consumer] then
    seen[consumer] = true
    -- Taking from the side store is work too, and Redis does not see it.
    local sinceHandedMs = nowMs + ackWaitMs + tonumber(call('ZSCORE', due, member))
    row[3] = math.min(row[3], math.max(0, sinceHandedMs))
  end
end
return reply(rows)
`,
);
