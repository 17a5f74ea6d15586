import { defineScript } from "../redis/script.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { holders } from "./parts/holders.lua.ts";
import { ids } from "./parts/ids.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideDelivery } from "./parts/side-delivery.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * One slice of a group's sweep: expired deliveries without another try go to the dead letters; the others to holders
 * of Weir's own, uncharged and to be handed out at once, so that the consumers that died with them can be removed.
 * Where all is held already, one slice of it is looked through for what has no try or no payload left.
 * KEYS: stream, config, dead, again, due, dead index, clock
 * ARGV: group, slice (pending entries to look at), defaults of ackWaitMs and maxDeliveries, 1 if there are too many
 *       consumers to walk through, where in the side store's index to look (from 0 to 1)
 * Returns { expired, dead-lettered, payload missing, 1 if there is more to sweep }
 *
 * Killed at any point and run again it does the rest; the cursor lies in the config.
 */
export const sweepScript = defineScript(
  "sweep",
  [deadLetters, holders, ids, messageSize, pending, redisTime, sideDelivery, sideStore],
  /* lua */ `
-- Dead letters copied by one step, and commands that hold.
local MAX_POISON, MAX_RUNS = 100, 50
-- How long entries are held until their payloads are looked for, and again.
local HELD_CHECK_MS = 600000
-- Members of the side store's index that are looked at.
local MAX_INDEX = 1000

local keys = {
  stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5], deadIndex = KEYS[6],
  clock = KEYS[7],
}
local group, slice = ARGV[1], tonumber(ARGV[2])
local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'maxDeliveries:' .. group, 'swept:' .. group,
  'againDue:' .. group, 'ackWaitBefore:' .. group, 'maxMessageBytes', 'largestMessageBytes', 'held:' .. group)
local maxDeliveries = numberOf(settings[2], ARGV[4])
local maxPoison = fitting(MAX_POISON, STEP_BYTES, largestMessage(settings[6], settings[7]))
local expired, deadLettered, missing, more = 0, 0, 0, false

local pending = ARGV[5] == '1' and openHolders(keys, group, settings[8]) or countPending(keys.stream, group)
-- Nobody consumes this group: it is looked through slowly. What is held has expired, whatever the time.
local allHeld = pending.all ~= nil and pending.all == pending.held
local nowMs = (settings[4] or not allHeld) and redisNowMs(keys.clock, keys.stream) or 0
local ackWait = readAckWait(numberOf(settings[1], ARGV[3]), settings[5], nowMs)

-- Expired entries that follow one another, in runs; those of a holder are runs of their own. And poison.
-- @return runs, poison, and the id of the first entry that was left out
local function sort(rows)
  local runs, poison = {}, {}
  local run
  for _, raw in ipairs(rows) do
    local entry = decodePending(raw)
    local holder = isHolder(entry.consumer) and entry.consumer
    local isChecked = holder and (not allHeld or entry.idleMs < HELD_CHECK_MS)
    if leftMs(entry, ackWait) > 0 or (isChecked and entry.deliveries < maxDeliveries) then
      run = nil
    elseif entry.deliveries >= maxDeliveries then
      if #poison == maxPoison then return runs, poison, entry.id end
      -- It may be too large for this step, and stay where it is.
      run = nil
      poison[#poison + 1] = entry
    else
      if not run or run.holder ~= holder then
        if #runs == MAX_RUNS then return runs, poison, entry.id end
        run = { holder = holder }
        runs[#runs + 1] = run
      end
      run[#run + 1] = entry
    end
  end
  return runs, poison, nil
end

if pending.all ~= 0 then
  local cursor = readCursor(settings[3])
  local rows = call('XPENDING', keys.stream, group, cursor, '+', slice)
  local runs, poison, leftOut = sort(rows)
  if #poison > 0 then checkDeadLetters(keys) end
  if #runs + #poison > 0 then beginWriting(keys, group) end
  local leftPoison
  deadLettered, missing, leftPoison = deadLetterAll(keys, group, poison)
  expired = deadLettered + missing
  -- Larger than the settings say: the next slice begins with it.
  if leftPoison and (not leftOut or less(leftPoison.id, leftOut)) then leftOut = leftPoison.id end
  local nextCursor = leftOut or (#rows < slice and '-') or behind(rows[#rows][1])
  for _, run in ipairs(runs) do
    missing = missing + holdRun(keys, group, run, pending, run.holder)
    if not run.holder then expired = expired + #run end
  end
  local first, last = pending.first, pending.last
  if nextCursor ~= cursor then
    beginWriting(keys, group)
    call('HSET', keys.config, 'swept:' .. group, nextCursor)
  end
  if #runs > 0 then writeHolders(keys, group, first, last) end
  more = nextCursor ~= '-' and (leftOut ~= nil or not allHeld)
end

-- The side store needs no holders. Only what has no try left is read and taken out, and what its index says wrongly:
-- an acknowledgement of an earlier delivery leaves the later one's members there.
if settings[4] then
  pruneIndex(keys, MAX_INDEX, tonumber(ARGV[6]))
  local spent = {}
  for _, member in ipairs(call('ZRANGEBYSCORE', keys.due, '-' .. asMs(nowMs), '(0', 'LIMIT', 0, slice)) do
    local entry = readMember(member)
    if entry and entry.deliveries >= maxDeliveries then spent[#spent + 1] = member end
  end
  if #spent > 0 then
    local some = { unpack(spent, 1, math.min(#spent, maxPoison)) }
    local poison, isCut = readSideStore(keys, some, newReading(STEP_BYTES, largestMessage(settings[6], settings[7]), 1))
    more = more or isCut or #spent > maxPoison
    if #poison > 0 then checkDeadLetters(keys) end
    deadLetterAside(keys, group, poison)
    expired, deadLettered = expired + #poison, deadLettered + #poison
  end
end
indexDeadLetters(keys)
-- An emptied side store costs visits no more.
if settings[4] and not more and call('HLEN', keys.again) == 0 then
  call('HDEL', keys.config, 'againDue:' .. group)
  -- All that may be left is an index of what is gone.
  call('UNLINK', keys.due)
end
return reply({ expired, deadLettered, missing, more and 1 or 0 })
`,
);
