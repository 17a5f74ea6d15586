import { defineScript } from "../redis/script.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { holders } from "./parts/holders.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * One slice of a group's sweep: expired deliveries without another try go to the dead letters; the others to holders
 * of Weir's own, uncharged and to be handed out at once, so that the consumers that died with them can be removed.
 * KEYS: stream, config, dead, again, due
 * ARGV: group, slice (pending entries to look at), defaults of ackWaitMs and maxDeliveries
 * Returns { expired, dead-lettered, payload missing, 1 if there is more to sweep }
 *
 * Killed at any point and run again it does the rest; the cursor lies in the config.
 */
export const sweepScript = defineScript(
  "sweep",
  [deadLetters, holders, messageSize, pending, redisTime, sideStore],
  /* lua */ `
local keys = { stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5] }
local group, slice = ARGV[1], tonumber(ARGV[2])
local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'maxDeliveries:' .. group, 'swept:' .. group,
  'againDue:' .. group)
local ackWaitMs = tonumber(settings[1] or ARGV[3])
local maxDeliveries = tonumber(settings[2] or ARGV[4])
local cursor = settings[3] or '-'
local expired, deadLettered, missing, nextCursor = 0, 0, 0, '-'

-- Nobody consumes this group: once all is held, there is nothing left to sweep.
local counts, pendingCount, heldCount = countPending(keys.stream, group)
if pendingCount > heldCount then
  local found
  found, nextCursor = findExpired(keys.stream, group, cursor, slice, ackWaitMs)
  local poison, rest = {}, {}
  for _, entry in ipairs(found) do
    if entry.deliveries >= maxDeliveries then
      poison[#poison + 1] = entry
    elseif not isHolder(entry.consumer) then
      rest[#rest + 1] = entry
    end
  end
  if #poison > 0 then beginWriting(keys, group) end
  deadLettered, missing = deadLetterAll(keys, group, poison)
  missing = missing + hold(keys, group, rest, counts)
  expired = #poison + #rest
  if nextCursor ~= cursor then
    beginWriting(keys, group)
    call('HSET', keys.config, 'swept:' .. group, nextCursor)
  end
end

-- The side store needs no holders. Only what has no try left is read and taken out.
local moreAgain = false
if settings[4] then
  local now = asMs(redisNowMs())
  local spent = {}
  for _, member in ipairs(call('ZRANGEBYSCORE', keys.due, '-' .. now, '(0', 'LIMIT', 0, slice)) do
    if readMember(member).deliveries >= maxDeliveries then spent[#spent + 1] = member end
  end
  if #spent > 0 then
    local step = stepSize(keys, 100)
    moreAgain = #spent > step
    beginWriting(keys, group)
    local poison = readSideStore(keys, { unpack(spent, 1, math.min(#spent, step)) })
    for _, entry in ipairs(poison) do
      entry.reason = 'max-deliveries'
      deadLetter(keys, group, entry)
    end
    removeFromSideStore(keys, poison)
    expired, deadLettered = expired + #poison, deadLettered + #poison
  end
end
return reply({ expired, deadLettered, missing, (nextCursor ~= '-' or moreAgain) and 1 or 0 })
`,
);
