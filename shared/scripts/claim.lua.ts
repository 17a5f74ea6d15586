import { defineScript } from "../redis/script.ts";
import { choose } from "./parts/choose.lua.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideDelivery } from "./parts/side-delivery.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Hands messages that are pending to a consumer by hand: those named, or those idle for long, a slice of them a call.
 * Charges a delivery each; a last permitted one is handed out alone, and what has none left goes to the dead letters.
 * KEYS: stream, config, dead, again, due, dead index, clock
 * ARGV: group, consumer, min idle time in ms (-1: the group's ackWaitMs), 1 to allow less than ackWaitMs, max messages,
 *       bytes per answer, defaults of ackWaitMs and maxDeliveries, until when (ms, by Redis' clock) this may run, how many
 *       the caller has been handed already, where to begin ('-' or a cursor among Redis' pending entries, or 'side'),
 *       how many to look at, then ids, if named
 * Returns { 'claimed', now (ms), { id, fields } each, their deliveries so far, { side id, id, deliveries so far, fields } each,
 *           where to go on ('' at the end, 'named' when more ids may be named), the group's incarnation } | { 'needs-force', ackWaitMs } | { 'late', now }
 */
export const claimScript = defineScript(
  "claim",
  [choose, deadLetters, messageSize, pending, redisTime, sideDelivery, sideStore],
  /* lua */ `
local keys = {
  stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5], deadIndex = KEYS[6],
  clock = KEYS[7],
}
local group, consumer, force = ARGV[1], ARGV[2], ARGV[4] == '1'
-- For its NOGROUP alone.
oldestPending(keys.stream, group)
local nowMs = redisNowMs(keys.clock, keys.stream)
if nowMs > tonumber(ARGV[9]) then return reply({ 'late', nowMs }) end

local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'maxDeliveries:' .. group, 'maxMessageBytes',
  'largestMessageBytes', 'ackWaitBefore:' .. group, 'againDue:' .. group, 'incarnation:' .. group)
local ackWaitMs = numberOf(settings[1], ARGV[7])
local ackWait = readAckWait(ackWaitMs, settings[5], nowMs)
local maxDeliveries = numberOf(settings[2], ARGV[8])
local hasSideStore = settings[6]
local minIdleMs = tonumber(ARGV[3])
if minIdleMs < 0 then minIdleMs = ackWaitMs end
if minIdleMs < ackWaitMs and not force then return reply({ 'needs-force', ackWaitMs }) end

local largest = largestMessage(settings[3], settings[4])
local choice = newChoice(tonumber(ARGV[5]), tonumber(ARGV[6]), maxDeliveries, largest)
choice.handed = tonumber(ARGV[10])
local reading = newReading(ANSWER_BYTES, largest, 64)

-- Force may break a running lease, but not that of a last delivery: it may still be acknowledged.
local function mayTake(entry, left)
  if left <= 0 then return isHolder(entry.consumer) or entry.idleMs >= minIdleMs end
  return force and entry.idleMs >= minIdleMs and entry.deliveries < maxDeliveries
end

local candidates, sideMembers = {}, {}
local function consider(entry)
  if mayTake(entry, leftMs(entry, ackWait)) then candidates[#candidates + 1] = entry end
end
-- The score is minus the lease's end; it began, or was extended, ackWaitMs before.
local function considerSide(member, score)
  local entry, left = readMember(member), -tonumber(score) - nowMs
  if not entry then return end
  entry.idleMs = ackWaitMs - left
  if mayTake(entry, left) then sideMembers[#sideMembers + 1] = member end
end

local function findNamed()
  local seen, ids = {}, {}
  for i = 13, #ARGV do
    local id = ARGV[i]
    if not seen[id] then
      seen[id] = true
      ids[#ids + 1] = id
      local raw = call('XPENDING', keys.stream, group, id, id, 1)[1]
      if raw then consider(decodePending(raw)) end
    end
  end
  for _, entry in ipairs(hasSideStore and inHandOfMessages(keys, ids) or {}) do considerSide(entry.member, entry.score) end
  return 'named'
end

local function findIdle(cursor, slice)
  if cursor ~= 'side' then
    local rows = call('XPENDING', keys.stream, group, cursor, '+', slice)
    for _, raw in ipairs(rows) do consider(decodePending(raw)) end
    local goesOn = #rows == slice and behind(rows[#rows][1])
    if goesOn and goesOn ~= '-' then return goesOn end
    return hasSideStore and 'side' or ''
  end
  -- Those first whose leases end first.
  local latest = '-' .. asMs(nowMs + math.max(0, ackWaitMs - minIdleMs))
  local found = call('ZREVRANGEBYSCORE', keys.due, '(0', latest, 'WITHSCORES', 'LIMIT', 0, choice.room + POISON_AT_ONCE)
  for i = 1, #found, 2 do considerSide(found[i], found[i + 1]) end
  return ''
end

local nextCursor
if #ARGV > 12 then nextCursor = findNamed() else nextCursor = findIdle(ARGV[11], tonumber(ARGV[12])) end

-- All is read before anything is written: a key of another type must charge nobody.
local chosen, poison, left = choose(choice, candidates)
local chosenAside, spentAside, isCut = {}, {}, false
if #sideMembers > 0 and not choice.alone and choice.handed < choice.room then
  local some = { unpack(sideMembers, 1, math.min(#sideMembers, choice.room - choice.handed + POISON_AT_ONCE)) }
  local entries
  entries, isCut = readSideStore(keys, some, reading)
  chosenAside, spentAside = choose(choice, entries)
end
if #poison + #spentAside > 0 then
  checkDeadLetters(keys)
  -- The caller's next step looks there.
  if hasSideStore then checkSideStore(keys) end
  beginWriting(keys, group)
  deadLetterAll(keys, group, poison)
  deadLetterAside(keys, group, spentAside)
end
local claimed, earlier, isTooLarge = claim(keys, group, consumer, chosen, choice, reading)
local due = handOutAside(keys, chosenAside, consumer, nowMs + ackWaitMs)
indexDeadLetters(keys)
if left or isTooLarge or isCut or choice.alone or choice.handed >= choice.room then nextCursor = '' end
return reply({ 'claimed', nowMs, claimed, earlier, due, nextCursor, settings[7] or '' })
`,
);
