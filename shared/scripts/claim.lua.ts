import { defineScript } from "../redis/script.ts";
import { choose } from "./parts/choose.lua.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { pending } from "./parts/pending.lua.ts";

/**
 * Hands pending messages to a consumer by hand: those named, or those idle for long. Charges a delivery each; a last
 * permitted one is handed out alone, and what has none left goes to the dead letters.
 * KEYS: stream, config, dead
 * ARGV: group, consumer, min idle time in ms (-1: the group's ackWaitMs), 1 to allow less than ackWaitMs, max messages,
 *       bytes per answer, defaults of ackWaitMs and maxDeliveries, then ids, if named
 * Returns { 'claimed', { id, fields } each, their deliveries so far } | { 'needs-force', ackWaitMs }
 */
export const claimScript = defineScript(
  "claim",
  [choose, deadLetters, messageSize, pending],
  /* lua */ `
local SLICE, SLICES = 1000, 10
local keys = { stream = KEYS[1], config = KEYS[2], dead = KEYS[3] }
local group, consumer = ARGV[1], ARGV[2]
local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'maxDeliveries:' .. group, 'maxMessageBytes', 'largestMessageBytes')
local ackWaitMs = tonumber(settings[1] or ARGV[7])
local maxDeliveries = tonumber(settings[2] or ARGV[8])
local minIdleMs = tonumber(ARGV[3])
if minIdleMs < 0 then minIdleMs = ackWaitMs end
if minIdleMs < ackWaitMs and ARGV[4] ~= '1' then return reply({ 'needs-force', ackWaitMs }) end
local room = fitting(tonumber(ARGV[5]), tonumber(ARGV[6]), largestMessage(settings[3], settings[4]))

local candidates = {}
local function consider(entry)
  -- Force may break a running lease, but not that of a last delivery: it may still be acknowledged.
  if entry.deliveries < maxDeliveries or entry.idleMs >= ackWaitMs then candidates[#candidates + 1] = entry end
end

if #ARGV > 8 then
  local seen = {}
  for i = 9, #ARGV do
    local raw = call('XPENDING', keys.stream, group, ARGV[i], ARGV[i], 1)[1]
    local entry = raw and decodePending(raw)
    if entry and entry.idleMs >= minIdleMs and not seen[entry.id] then
      seen[entry.id] = true
      consider(entry)
    end
  end
else
  local cursor = '-'
  for _ = 1, SLICES do
    local found
    found, cursor = findExpired(keys.stream, group, cursor, SLICE, minIdleMs)
    for _, entry in ipairs(found) do consider(entry) end
    if cursor == '-' or #candidates >= room then break end
  end
end

local chosen, poison = choose(newChoice(room, maxDeliveries), candidates)
if #poison > 0 then beginWriting(keys, group) end
deadLetterAll(keys, group, poison)
local claimed, earlier = claim(keys, group, consumer, 0, chosen)
return reply({ 'claimed', claimed, earlier })
`,
);
