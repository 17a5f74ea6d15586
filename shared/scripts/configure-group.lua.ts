import { defineScript } from "../redis/script.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { position } from "./parts/position.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Creates the group if it is not there, and applies settings.
 * KEYS: stream, config, dead, again, due, dead index, clock
 * ARGV: group, start ('' when the request names none), id to start after ('$': the end, '0-0': the beginning),
 *       JSON list of a group's fields, a new incarnation's name, defaults of backoffMinMs, backoffMaxMs and ackWaitMs, number
 *       of fields to remove, those, then fields and values to set
 * Returns 'created' | 'updated' | 'unknown-stream' | 'other-start' | { backoffMinMs, backoffMaxMs } that would be upside
 *         down
 */
export const configureGroupScript = defineScript(
  "configure-group",
  [deadLetters, position, redisTime, sideStore, xinfo],
  /* lua */ `
local stream, config = KEYS[1], KEYS[2]
local keys = { stream = stream, config = config, dead = KEYS[3], again = KEYS[4], due = KEYS[5], deadIndex = KEYS[6] }
local group, start, after = ARGV[1], ARGV[2], ARGV[3]
if call('EXISTS', stream) == 0 then return reply('unknown-stream') end

-- Keys of another type: found before anything is written.
call('HLEN', config)
checkSideStore(keys)
checkDeadLetters(keys)
local exists = groupInfo(stream, group) ~= nil
if exists and start ~= '' and call('HGET', config, 'start:' .. group) ~= start then return reply('other-start') end

local removals = tonumber(ARGV[9])
local firstSet = 10 + removals

-- What the request makes of a setting, as text; nil where it does not name it.
local function named(field, default)
  local name = field .. ':' .. group
  for i = 10, firstSet - 1 do
    if ARGV[i] == name then return default end
  end
  for i = firstSet, #ARGV, 2 do
    if ARGV[i] == name then return ARGV[i + 1] end
  end
end
local function stored(field) return exists and call('HGET', config, field .. ':' .. group) end

local minMs, maxMs = named('backoffMinMs', ARGV[6]), named('backoffMaxMs', ARGV[7])
if minMs or maxMs then
  minMs = minMs or stored('backoffMinMs') or ARGV[6]
  maxMs = maxMs or stored('backoffMaxMs') or ARGV[7]
  if numberOf(minMs, ARGV[6]) > numberOf(maxMs, ARGV[7]) then return reply({ minMs, maxMs }) end
end

if not exists then
  -- Another client may have destroyed a group of this name: what that left is not this one's.
  local stale = {}
  for i, field in ipairs(cjson.decode(ARGV[4])) do stale[i] = field .. ':' .. group end
  call('HDEL', config, unpack(stale))
  call('UNLINK', keys.dead, keys.again, keys.due, keys.deadIndex)
  local info = streamInfo(stream)
  local isCounted = setPosition(keys, 'CREATE', group, after, countAt(keys, info, after))
  call('HSET', config, 'start:' .. group, start == '' and 'latest' or start, 'incarnation:' .. group, ARGV[5])
  if isCounted then call('HSET', config, 'counted:' .. group, countedAt(info, after)) end
  -- Makes the clock: once Redis is full, nobody can.
  redisNowMs(KEYS[7], stream)
end

-- A shorter ackWaitMs holds for what is handed out from then on: consumers have been promised more for what they have, and
-- are still, by isolates that remember the longer one for so long.
local REMEMBERED_MS = 10000
local ackWaitMs = tonumber(named('ackWaitMs', ARGV[8]) or nil)
local beforeMs = ackWaitMs and numberOf(stored('ackWaitMs'), ARGV[8])
if exists and ackWaitMs and ackWaitMs < beforeMs then
  local nowMs = redisNowMs(KEYS[7], stream)
  local earlierMs, untilMs = (call('HGET', config, 'ackWaitBefore:' .. group) or ''):match('^(%d+) (%d+)$')
  -- One that is longer still may be running.
  if earlierMs and tonumber(untilMs) + tonumber(earlierMs) > nowMs then beforeMs = math.max(beforeMs, tonumber(earlierMs)) end
  call('HSET', config, 'ackWaitBefore:' .. group, asMs(beforeMs) .. ' ' .. asMs(nowMs + REMEMBERED_MS))
end

if removals > 0 then call('HDEL', config, unpack(ARGV, 10, firstSet - 1)) end
if #ARGV >= firstSet then call('HSET', config, unpack(ARGV, firstSet)) end
return reply(exists and 'updated' or 'created')
`,
);
