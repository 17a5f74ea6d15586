import { defineScript } from "../redis/script.ts";
import { DEAD_LETTER_LUA } from "./dead-letter.ts";
import { EXPIRED_LUA } from "./expired.ts";

/**
 * One slice of a group's sweep: expired deliveries without another try go to the dead letters; the others to holders
 * of Weir's own, uncharged and to be handed out at once, so that the consumers that died with them can be removed.
 * KEYS: stream, config, dead
 * ARGV: group, slice (pending entries to look at), defaults of ackWaitMs and maxDeliveries
 * Returns { expired, dead-lettered, payload missing, 1 if there is more to sweep }
 *
 * Killed at any point and run again it does the rest; the cursor lies in the config.
 */
export const sweepScript = defineScript(
  "sweep",
  EXPIRED_LUA,
  DEAD_LETTER_LUA,
  /* lua */ `
local HOLDER = '@held:'
-- Upstash allows about 1,000 pending entries per consumer.
local HOLDER_MOST = 1000
-- Longer than any ackWaitMs: what is held has expired, whatever the group's settings become.
local HELD_IDLE_MS = 13 * 3600 * 1000

local stream, config, dead = KEYS[1], KEYS[2], KEYS[3]
local group, slice = ARGV[1], tonumber(ARGV[2])
local cursorField = 'swept:' .. group

-- A group that nobody consumes is not swept again and again: when all is held, all has been seen.
local counts = {}
local pendingCount, heldCount = 0, 0
for _, pair in ipairs(call('XPENDING', stream, group)[4] or {}) do
  local count = tonumber(pair[2])
  counts[pair[1]] = count
  pendingCount = pendingCount + count
  if pair[1]:sub(1, #HOLDER) == HOLDER then heldCount = heldCount + count end
end
if pendingCount == heldCount then return reply({ 0, 0, 0, 0 }) end

local settings = call('HMGET', config, 'ackWaitMs:' .. group, 'maxDeliveries:' .. group, cursorField)
local ackWaitMs = tonumber(settings[1] or ARGV[3])
local maxDeliveries = tonumber(settings[2] or ARGV[4])
local cursor = settings[3] or '-'
local expired, nextCursor = findExpired(stream, group, cursor, slice, ackWaitMs)

local poison, ids, byId = {}, {}, {}
for _, entry in ipairs(expired) do
  if entry.deliveries >= maxDeliveries then
    poison[#poison + 1] = entry
  elseif entry.consumer:sub(1, #HOLDER) ~= HOLDER then
    ids[#ids + 1] = entry.id
    byId[entry.id] = entry
  end
end
local deadLettered, missing = deadLetterAll(stream, group, dead, poison)

local at, number = 1, 0
while at <= #ids do
  local holder = HOLDER .. number
  local free = HOLDER_MOST - (counts[holder] or 0)
  if free > 0 then
    local last = math.min(#ids, at + free - 1)
    local claim = { 'XCLAIM', stream, group, holder, 0, unpack(ids, at, last) }
    for _, option in ipairs({ 'IDLE', HELD_IDLE_MS, 'JUSTID' }) do claim[#claim + 1] = option end
    for _, id in ipairs(call(unpack(claim))) do byId[id] = nil end
    at = last + 1
  end
  number = number + 1
end
-- XCLAIM has taken off the PEL, and left out of its answer, what is no longer in the stream.
for _, id in ipairs(ids) do
  local entry = byId[id]
  if entry then
    entry.reason = 'payload-missing'
    deadLetter(dead, entry)
    missing = missing + 1
  end
end

if nextCursor ~= cursor then call('HSET', config, cursorField, nextCursor) end
return reply({ #ids + #poison, deadLettered, missing, nextCursor == '-' and 0 or 1 })
`,
);
