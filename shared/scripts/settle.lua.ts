import { defineScript } from "../redis/script.ts";
import { acknowledge } from "./parts/acknowledge.lua.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { holders } from "./parts/holders.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Extends, retries, rejects and releases deliveries: each only while that very delivery still holds its message. What has
 * expired but was not handed on still counts as held. A bounded part of the list; the caller comes again with the rest.
 * KEYS: stream, config, dead, again, due, dead index, clock
 * ARGV: group, defaults of ackWaitMs, maxDeliveries, backoffMinMs and backoffMaxMs, JSON list of items, each
 *       { lease number, action ('extend' | 'retry' | 'reject' | 'release'), id, side id or '', deliveries, consumer,
 *         delay in ms (or -1: by backoff), random from 0 to 1, reason or '', incarnation of the group or '' }, those of the
 *         main stream ordered by consumer and id; what to acknowledge besides: see parts/acknowledge.lua.ts
 * Returns { acked, numbers of the acknowledged that are of another group, extended, retried, rejected, released, { lease number, 'superseded' | 'settled' | 'foreign' } for each
 *           that was not held, numbers of the items that are left for another call }
 */
export const settleScript = defineScript(
  "settle",
  [acknowledge, deadLetters, holders, messageSize, pending, redisTime, sideStore],
  /* lua */ `
local keys = {
  stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5], deadIndex = KEYS[6],
  clock = KEYS[7],
}
local group = ARGV[1]
local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'maxDeliveries:' .. group,
  'backoffMinMs:' .. group, 'backoffMaxMs:' .. group, 'incarnation:' .. group, 'maxMessageBytes', 'largestMessageBytes')
local ackWaitMs = numberOf(settings[1], ARGV[2])
local maxDeliveries = numberOf(settings[2], ARGV[3])
local backoffMinMs = numberOf(settings[3], ARGV[4])
local backoffMaxMs = math.max(backoffMinMs, numberOf(settings[4], ARGV[5]))
local reading = newReading(STEP_BYTES, largestMessage(settings[6], settings[7]), 1)
local acked, foreign = acknowledge(keys, group, ARGV[7], settings[5])
if ARGV[6] == '[]' then return reply({ acked, foreign, 0, 0, 0, 0, {}, {} }) end
local nowMs = redisNowMs(keys.clock, keys.stream)

local counts, stale = { extend = 0, retry = 0, reject = 0, release = 0 }, {}
local function fail(item, outcome) stale[#stale + 1] = { item.number, outcome } end

-- Exponential backoff with full jitter, by delivery number.
local function dueOf(item)
  if item.delayMs >= 0 then return nowMs + item.delayMs end
  local maxMs = math.min(backoffMaxMs, backoffMinMs * 2 ^ math.min(item.deliveries, 40))
  return nowMs + math.floor(backoffMinMs + item.random * (maxMs - backoffMinMs))
end

local function dies(item)
  return item.action == 'reject' or (item.action == 'retry' and item.deliveries >= maxDeliveries)
end

local items, moves, aside = {}, false, false
for i, raw in ipairs(cjson.decode(ARGV[6])) do
  items[i] = {
    number = raw[1], action = raw[2], id = raw[3], side = raw[4], deliveries = raw[5], consumer = raw[6],
    delayMs = raw[7], random = raw[8], detail = raw[9], incarnation = raw[10],
  }
  moves = moves or items[i].action ~= 'extend'
  aside = aside or items[i].side ~= ''
end
-- A key of another type: found before anything is written.
if moves or aside then checkSideStore(keys) end
if moves then checkDeadLetters(keys) end

-- A retried or rejected message becomes a dead letter or comes back; a released one comes back as if it had not been
-- handed out.
-- @return whether it comes back
local function moveOn(item)
  counts[item.action] = counts[item.action] + 1
  item.from = 'retry'
  if dies(item) then
    item.reason = item.action == 'reject' and 'rejected' or 'max-deliveries'
    deadLetter(keys, group, item)
    return false
  end
  item.dueMs = item.action == 'release' and nowMs or dueOf(item)
  item.earlier = item.action == 'release' and item.deliveries - 1 or item.deliveries
  return true
end

-- What of a consumer's items its PEL says, which is one range; nothing where more than that lies in between.
local function pendingOfItems(own)
  local found = {}
  for _, raw in ipairs(call('XPENDING', keys.stream, group, own[1].id, own[#own].id, #own + 100, own[1].consumer)) do
    found[raw[1]] = decodePending(raw)
  end
  return found
end

local function whyNotHeld(item, found)
  local entry = found[item.id]
  if not entry then
    local raw = call('XPENDING', keys.stream, group, item.id, item.id, 1)[1]
    if not raw then return 'settled' end
    entry = decodePending(raw)
    -- Held by Weir itself: the expired delivery is still the last one.
    if entry.consumer ~= item.consumer and not isHolder(entry.consumer) then return 'superseded' end
  end
  if entry.deliveries ~= item.deliveries then return 'superseded' end
end

-- The main stream. @return what is to be extended and what moved
local function sortMain(main)
  local extends, moving, seen = {}, {}, {}
  local at = 1
  while at <= #main do
    local own = {}
    repeat
      own[#own + 1] = main[at]
      at = at + 1
    until at > #main or main[at].consumer ~= own[1].consumer
    local found = pendingOfItems(own)
    for _, item in ipairs(own) do
      local why = seen[item.id] and 'settled' or whyNotHeld(item, found)
      if why then
        fail(item, why)
      else
        seen[item.id] = true
        local list = item.action == 'extend' and extends or moving
        list[#list + 1] = item
      end
    end
  end
  return extends, moving
end

-- XCLAIM drops entries without payload from its answer and from the PEL.
local function recordMissing(missing)
  for _, item in pairs(missing) do
    item.reason, item.fields = 'payload-missing', nil
    deadLetter(keys, group, item)
    fail(item, 'settled')
  end
end

local function extendMain(extends)
  local at = 1
  while at <= #extends do
    local byId, claim = {}, { 'XCLAIM', keys.stream, group, extends[at].consumer, 0 }
    repeat
      byId[extends[at].id] = extends[at]
      claim[#claim + 1] = extends[at].id
      at = at + 1
    until at > #extends or extends[at].consumer ~= extends[at - 1].consumer
    claim[#claim + 1] = 'JUSTID'
    for _, id in ipairs(call(unpack(claim))) do
      counts.extend = counts.extend + 1
      byId[id] = nil
    end
    recordMissing(byId)
  end
end

-- All at once, whoever holds them: they leave the PEL in this step.
-- @return how many this part took
local function moveMain(moving)
  local comeBack, ids = {}, {}
  local count = #moving > 0 and reading.next(#moving) or 0
  while count > 0 do
    local byId, claim = {}, { 'XCLAIM', keys.stream, group, moving[1].consumer, 0 }
    for i = #ids + 1, #ids + count do
      byId[moving[i].id] = moving[i]
      claim[#claim + 1], ids[i] = moving[i].id, moving[i].id
    end
    for _, entry in ipairs(call(unpack(claim))) do
      local item = byId[entry[1]]
      byId[entry[1]], item.fields = nil, entry[2]
      reading.add(item.fields)
      if moveOn(item) then comeBack[#comeBack + 1] = item end
    end
    recordMissing(byId)
    count = reading.next(#moving - #ids)
  end
  for _, item in ipairs(comeBack) do item.deliveries = item.earlier end
  -- Store, then acknowledge: a full Redis refuses only the first.
  addToSideStore(keys, group, comeBack)
  if #ids > 0 then call('XACK', keys.stream, group, unpack(ids)) end
  return #ids
end

-- The side store: a lease holds if its member is there.
-- @return how many this part took
local function settleOfSideStore(side)
  beginWriting(keys, group)
  local members = {}
  for i, item in ipairs(side) do members[i] = item.member end
  local scores = call('ZMSCORE', keys.due, unpack(members))
  local extended, seen = {}, {}
  -- What waits under its side id, what leaves, and what comes back under another one.
  local waiting, removed, leaving, comeBack, anew = {}, {}, {}, {}, {}
  local taken = 0
  local count = reading.next(#side)
  while count > 0 do
    local sides = {}
    for i = taken + 1, taken + count do sides[#sides + 1] = side[i].side end
    for offset, payload in ipairs(call('HMGET', keys.again, unpack(sides))) do
      local i = taken + offset
      local item = side[i]
      if payload then reading.add({ payload }) end
      local stored = {}
      if not payload or seen[item.member] or not readPayload(stored, payload) then
        fail(item, 'settled')
      elseif not scores[i] then
        fail(item, 'superseded')
      else
        seen[item.member] = true
        if item.action == 'extend' then
          counts.extend = counts.extend + 1
          extended[#extended + 1] = '-' .. asMs(nowMs + ackWaitMs)
          extended[#extended + 1] = item.member
        else
          item.fields = stored.fields
          local stays = moveOn(item) and item.action == 'retry'
          if stays then
            waiting[#waiting + 1] = asMs(item.dueMs)
            waiting[#waiting + 1] = writeMember(item, 'w')
            leaving[#leaving + 1] = item.member
            leaving[#leaving + 1], leaving[#leaving + 2] = indexOfHand(item)
            anew[#anew + 1], anew[#anew + 2] = item.side, writePayload(item)
          else
            removed[#removed + 1] = item
            if item.action == 'release' then comeBack[#comeBack + 1] = item end
          end
        end
      end
    end
    taken = taken + count
    count = reading.next(#side - taken)
  end
  -- The lower count would make an older lease fit again: what is released gets a new side id.
  removeFromSideStore(keys, removed)
  for _, item in ipairs(comeBack) do item.deliveries = item.earlier end
  addToSideStore(keys, group, comeBack)
  if #leaving > 0 then call('ZREM', keys.due, unpack(leaving)) end
  if #anew > 0 then call('HSET', keys.again, unpack(anew)) end
  for i = 1, #extended do waiting[#waiting + 1] = extended[i] end
  if #waiting > 0 then
    call('ZADD', keys.due, unpack(waiting))
    -- Too low a bound costs one look.
    call('HSET', keys.config, 'againDue:' .. group, asMs(nowMs))
  end
  return taken
end

local main, side = {}, {}
for _, item in ipairs(items) do
  if item.incarnation ~= '' and item.incarnation ~= settings[5] then
    fail(item, 'foreign')
  elseif item.side == '' then
    main[#main + 1] = item
  else
    item.state, item.member = 'h', writeMember(item, 'h')
    side[#side + 1] = item
  end
end
-- For its NOGROUP alone, which the main stream's items meet by themselves.
if #main == 0 and #side > 0 then oldestPending(keys.stream, group) end
local extends, moving = sortMain(main)
extendMain(extends)
local rest = {}
for i = moveMain(moving) + 1, #moving do rest[#rest + 1] = moving[i].number end
local taken = #side > 0 and #rest == 0 and settleOfSideStore(side) or 0
for i = taken + 1, #side do rest[#rest + 1] = side[i].number end
indexDeadLetters(keys)
return reply({ acked, foreign, counts.extend, counts.retry, counts.reject, counts.release, stale, rest })
`,
);
