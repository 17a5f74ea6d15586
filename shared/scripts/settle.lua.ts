import { defineScript } from "../redis/script.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { holders } from "./parts/holders.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Extends, retries, rejects and releases deliveries: each only while that very delivery still holds its message. What has
 * expired but was not handed on still counts as held.
 * KEYS: stream, config, dead, again, due, dead index, clock
 * ARGV: group, defaults of ackWaitMs, maxDeliveries, backoffMinMs and backoffMaxMs, JSON list of items, each
 *       { lease number, action ('extend' | 'retry' | 'reject' | 'release'), id, side id or '', deliveries, consumer,
 *         delay in ms (or -1: by backoff), random from 0 to 1, reason or '' }, of the main stream ordered by consumer and id
 * Returns { extended, retried, rejected, released, { lease number, 'superseded' | 'settled' } for each that was not held }
 */
export const settleScript = defineScript(
  "settle",
  [deadLetters, holders, pending, redisTime, sideStore],
  /* lua */ `
local keys = {
  stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5], deadIndex = KEYS[6],
  clock = KEYS[7],
}
local group = ARGV[1]
local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'maxDeliveries:' .. group,
  'backoffMinMs:' .. group, 'backoffMaxMs:' .. group)
local ackWaitMs = tonumber(settings[1] or ARGV[2])
local maxDeliveries = tonumber(settings[2] or ARGV[3])
local backoffMinMs = tonumber(settings[3] or ARGV[4])
local backoffMaxMs = math.max(backoffMinMs, tonumber(settings[4] or ARGV[5]))
local nowMs = redisNowMs(keys.clock)

local main, side, stale = {}, {}, {}
for _, raw in ipairs(cjson.decode(ARGV[6])) do
  local item = {
    number = raw[1], action = raw[2], id = raw[3], side = raw[4], deliveries = raw[5], consumer = raw[6],
    delayMs = raw[7], random = raw[8], detail = raw[9],
  }
  if item.side == '' then main[#main + 1] = item else side[#side + 1] = item end
end

local counts = { extend = 0, retry = 0, reject = 0, release = 0 }
local function fail(item, outcome) stale[#stale + 1] = { item.number, outcome } end

-- Exponential backoff with full jitter, by delivery number.
local function dueOf(item)
  if item.delayMs >= 0 then return nowMs + item.delayMs end
  local maxMs = math.min(backoffMaxMs, backoffMinMs * 2 ^ math.min(item.deliveries, 40))
  return nowMs + math.floor(backoffMinMs + item.random * (maxMs - backoffMinMs))
end

-- A retried or rejected message becomes a dead letter or comes back; a released one comes back as if it had not been
-- handed out.
local function moveOn(item, comeBack)
  counts[item.action] = counts[item.action] + 1
  item.from = 'retry'
  if item.action == 'release' then
    item.dueMs = nowMs
    item.earlier = item.deliveries - 1
    comeBack(item)
  elseif item.action == 'retry' and item.deliveries < maxDeliveries then
    item.dueMs = dueOf(item)
    item.earlier = item.deliveries
    comeBack(item)
  else
    item.reason = item.action == 'reject' and 'rejected' or 'max-deliveries'
    deadLetter(keys, group, item)
  end
end

-- Main stream: one consumer's items are one range of its PEL.
local function holdersOf(items)
  local holders = {}
  local from, last, consumer = items[1].id, items[#items].id, items[1].consumer
  local page
  repeat
    page = call('XPENDING', keys.stream, group, from, last, #items + 100, consumer)
    for _, raw in ipairs(page) do holders[raw[1]] = decodePending(raw) end
    if #page > 0 then from = '(' .. page[#page][1] end
  until #page < #items + 100
  return holders
end

local function holds(item, holders)
  local holder = holders[item.id]
  if not holder then
    local raw = call('XPENDING', keys.stream, group, item.id, item.id, 1)[1]
    if not raw then return false, 'settled' end
    holder = decodePending(raw)
    -- Held by Weir itself: the expired delivery is still the last one.
    if not isHolder(holder.consumer) then return false, 'superseded' end
  end
  if holder.deliveries ~= item.deliveries then return false, 'superseded' end
  return true
end

local function settleOfConsumer(items)
  local holders = holdersOf(items)
  local extendIds, moveIds, byId = {}, {}, {}
  for _, item in ipairs(items) do
    local held, outcome = holds(item, holders)
    if held and byId[item.id] then held, outcome = false, 'settled' end
    if not held then
      fail(item, outcome)
    else
      byId[item.id] = item
      local ids = item.action == 'extend' and extendIds or moveIds
      ids[#ids + 1] = item.id
    end
  end
  -- XCLAIM drops entries without payload from its answer and from the PEL.
  if #extendIds > 0 then
    local claim = { 'XCLAIM', keys.stream, group, items[1].consumer, 0, unpack(extendIds) }
    claim[#claim + 1] = 'JUSTID'
    for _, id in ipairs(call(unpack(claim))) do
      counts.extend = counts.extend + 1
      byId[id] = nil
    end
  end
  local comeBack = {}
  if #moveIds > 0 then
    for _, entry in ipairs(call('XCLAIM', keys.stream, group, items[1].consumer, 0, unpack(moveIds))) do
      local item = byId[entry[1]]
      item.fields = entry[2]
      moveOn(item, function() comeBack[#comeBack + 1] = item end)
      byId[entry[1]] = nil
    end
  end
  for _, item in pairs(byId) do
    item.reason, item.fields = 'payload-missing', nil
    deadLetter(keys, group, item)
    fail(item, 'settled')
  end
  for _, item in ipairs(comeBack) do item.deliveries = item.earlier end
  -- Store, then acknowledge: a full Redis refuses only the first.
  addToSideStore(keys, group, comeBack)
  if #moveIds > 0 then call('XACK', keys.stream, group, unpack(moveIds)) end
end

local at = 1
while at <= #main do
  local items = {}
  repeat
    items[#items + 1] = main[at]
    at = at + 1
  until at > #main or main[at].consumer ~= items[1].consumer
  settleOfConsumer(items)
end

-- Side store: a lease holds if its member is there.
local function settleOfSideStore(items)
  beginWriting(keys, group)
  local members, sides = {}, {}
  for i, item in ipairs(items) do
    item.state = 'h'
    item.member = writeMember(item, 'h')
    members[i], sides[i] = item.member, item.side
  end
  local scores = call('ZMSCORE', keys.due, unpack(members))
  local payloads = call('HMGET', keys.again, unpack(sides))
  local extended, seen = {}, {}
  -- What waits under its side id, what leaves, and what comes back under another one.
  local waiting, left, comeBack, anew = {}, {}, {}, {}
  for i, item in ipairs(items) do
    if not payloads[i] or seen[item.member] then
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
        item.fields = cjson.decode(payloads[i]).fields
        local stays = false
        moveOn(item, function()
          stays = item.action == 'retry'
          if not stays then comeBack[#comeBack + 1] = item end
        end)
        if stays then
          left[#left + 1] = item.member
          waiting[#waiting + 1] = asMs(item.dueMs)
          waiting[#waiting + 1] = writeMember(item, 'w')
          left[#left + 1], left[#left + 2] = indexOfHand(item)
          anew[#anew + 1], anew[#anew + 2] = item.side, writePayload(item)
        else
          item.isGone = true
        end
      end
    end
  end
  local removed = {}
  for _, item in ipairs(items) do
    if item.isGone then removed[#removed + 1] = item end
  end
  -- The lower count would make an older lease fit again: what is released gets a new side id.
  removeFromSideStore(keys, removed)
  for _, item in ipairs(comeBack) do item.deliveries = item.earlier end
  addToSideStore(keys, group, comeBack)
  if #left > 0 then call('ZREM', keys.due, unpack(left)) end
  if #anew > 0 then call('HSET', keys.again, unpack(anew)) end
  for i = 1, #extended do waiting[#waiting + 1] = extended[i] end
  if #waiting > 0 then
    call('ZADD', keys.due, unpack(waiting))
    -- Too low a bound costs one look.
    call('HSET', keys.config, 'againDue:' .. group, asMs(nowMs))
  end
end
if #side > 0 then settleOfSideStore(side) end
indexDeadLetters(keys)

return reply({ counts.extend, counts.retry, counts.reject, counts.release, stale })
`,
);
