import { defineScript } from "../redis/script.ts";
import { CHOOSE_LUA } from "./choose.ts";
import { DEAD_LETTER_LUA } from "./dead-letter.ts";
import { EXPIRED_LUA } from "./expired.ts";

/**
 * Hands pending messages to a consumer by hand: those named, or those idle for long. Charges a delivery each; a last
 * permitted one is handed out alone, and what has none left goes to the dead letters.
 * KEYS: stream, config, dead
 * ARGV: group, consumer, least idle time in ms (-1: the group's ackWaitMs), 1 to allow less than ackWaitMs, most messages,
 *       bytes per answer, defaults of ackWaitMs, maxDeliveries and maxMessageBytes, then ids, if named
 * Returns { 'claimed', { id, fields } each, their deliveries so far } | { 'needs-force', ackWaitMs }
 */
export const claimScript = defineScript(
  "claim",
  EXPIRED_LUA,
  DEAD_LETTER_LUA,
  CHOOSE_LUA,
  /* lua */ `
local SLICE, SLICES = 1000, 10
local keys = { stream = KEYS[1], config = KEYS[2], dead = KEYS[3] }
local group, consumer = ARGV[1], ARGV[2]
local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'maxDeliveries:' .. group, 'maxMessageBytes', 'largestMessageBytes')
local ackWaitMs = tonumber(settings[1] or ARGV[7])
local maxDeliveries = tonumber(settings[2] or ARGV[8])
local leastIdleMs = tonumber(ARGV[3])
if leastIdleMs < 0 then leastIdleMs = ackWaitMs end
if leastIdleMs < ackWaitMs and ARGV[4] ~= '1' then return reply({ 'needs-force', ackWaitMs }) end
local most = math.min(tonumber(ARGV[5]), math.floor(tonumber(ARGV[6]) / math.max(tonumber(settings[3] or ARGV[9]), tonumber(settings[4] or 0))))
most = math.max(1, most)

local candidates = {}
local function consider(entry)
  -- Force may break a running lease, but a last delivery that runs still has its chance to be acknowledged.
  if entry.deliveries < maxDeliveries or entry.idleMs >= ackWaitMs then candidates[#candidates + 1] = entry end
end

if #ARGV > 9 then
  local seen = {}
  for i = 10, #ARGV do
    local raw = call('XPENDING', keys.stream, group, ARGV[i], ARGV[i], 1)[1]
    local entry = raw and decodePending(raw)
    if entry and entry.idleMs >= leastIdleMs and not seen[entry.id] then
      seen[entry.id] = true
      consider(entry)
    end
  end
else
  local cursor = '-'
  for _ = 1, SLICES do
    local found
    found, cursor = findExpired(keys.stream, group, cursor, SLICE, leastIdleMs)
    for _, entry in ipairs(found) do consider(entry) end
    if cursor == '-' or #candidates >= most then break end
  end
end

local chosen, poison = choose(candidates, most, maxDeliveries)
if #poison > 0 then beginWriting(keys, group) end
deadLetterAll(keys, group, poison)
local claimed, earlier = claim(keys, group, consumer, 0, chosen)
return reply({ 'claimed', claimed, earlier })
`,
);
