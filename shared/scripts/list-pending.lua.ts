import { defineReadingScript } from "../redis/script.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Lists what a group has handed out and not settled: first Redis' own pending entries by id, then what was handed out
 * of the side store, by id and side id. Neither order changes when a delivery is extended or handed out again meanwhile,
 * as that of the leases' ends would: so walking all pages meets all that stays pending, each once.
 * KEYS: stream, config, due, clock
 * ARGV: group, consumer ('': any), min idle time in ms, max entries, 'main' or 'side' as where to begin, what to begin
 *       after: an id, or a member of the index ('' for the beginning), default of ackWaitMs, how many to look at
 * Returns { { id, consumer, idle time in ms, deliveries, when its lease ends (ms), side id or '' } each, the group's incarnation, 'end' | 'main' |
 *           'side' as where more is, what to go on after }. With a consumer or an idle time a page may be short.
 */
export const listPendingScript = defineReadingScript(
  "list-pending",
  [pending, redisTime, sideStore],
  /* lua */ `
local keys = { stream = KEYS[1], config = KEYS[2], due = KEYS[3], clock = KEYS[4] }
local group, consumer, minIdleMs, max, after = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[6]
local look = math.max(max, tonumber(ARGV[8]))
local nowMs = redisNowMs(keys.clock, keys.stream)
local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'ackWaitBefore:' .. group, 'againDue:' .. group,
  'incarnation:' .. group)
local ackWaitMs = numberOf(settings[1], ARGV[7])
local ackWait = readAckWait(ackWaitMs, settings[2], nowMs)

local page = {}
local function answer(where, last) return reply({ page, settings[4] or '', where, last }) end
local function add(entry, leaseEndsMs, side)
  page[#page + 1] = { entry.id, entry.consumer, entry.idleMs, entry.deliveries, leaseEndsMs, side }
end

-- @return what to go on after, if there is more
local function listMain()
  local isFiltered = minIdleMs > 0
  local count = isFiltered and look or max + 1
  local from = after == '' and '-' or '(' .. after
  local query = { from, '+', count }
  if consumer ~= '' then query[4] = consumer end
  local rows = call('XPENDING', keys.stream, group, unpack(query))
  for i, raw in ipairs(rows) do
    if #page == max then return rows[i - 1][1] end
    local entry = decodePending(raw)
    if entry.idleMs >= minIdleMs then add(entry, nowMs + leftMs(entry, ackWait), '') end
  end
  return #rows == count and rows[#rows][1] or nil
end

-- The members of the index after the last one listed, by message and side id.
local function membersAfter(count)
  local first, stop = asMs(INDEX.hand), '(' .. asMs(INDEX.message)
  if after == '' then return call('ZRANGEBYSCORE', keys.due, first, stop, 'LIMIT', 0, count) end
  local rank, rest = call('ZRANK', keys.due, after), {}
  if rank then
    for _, text in ipairs(call('ZRANGE', keys.due, rank + 1, rank + count)) do
      if text:sub(1, 2) == 'h ' then rest[#rest + 1] = text end
    end
    return rest
  end
  -- Settled meanwhile, or handed on: begin with what is of the same millisecond.
  first = asMs(INDEX.hand + math.min(tonumber(unordered(after:match('^h (%S+)')):match('^%d+')), 999999999999999))
  local place = after:match('^(h %S+ %S+) ')
  for _, text in ipairs(call('ZRANGEBYSCORE', keys.due, first, stop, 'LIMIT', 0, count + look)) do
    if #rest < count and text:match('^(h %S+ %S+) ') > place then rest[#rest + 1] = text end
  end
  return rest
end

-- @return the member of the index to go on after, if there is more
local function listSide()
  local count = (consumer ~= '' or minIdleMs > 0) and look or max - #page + 1
  local found = membersAfter(count)
  if #found == 0 then return nil end
  local last = after
  for _, entry in ipairs(readHand(keys, found)) do
    if #page == max then return last end
    last = entry.text
    if consumer == '' or entry.consumer == consumer then
      -- The score is minus the lease's end; it began, or was extended, ackWaitMs before.
      entry.idleMs = math.max(0, ackWaitMs + entry.score + nowMs)
      if entry.idleMs >= minIdleMs then add(entry, -entry.score, entry.side) end
    end
  end
  return #found == count and found[#found] or nil
end

if ARGV[5] == 'main' then
  local last = listMain()
  if last then return answer('main', last) end
  after = ''
else
  -- For its NOGROUP alone; the price does not grow with what is pending.
  oldestPending(keys.stream, group)
end
-- No bound: the side store is empty.
local last = settings[3] and listSide()
-- A full page of Redis' own: the rest begins with the next one.
if last == '' then return answer('side', '') end
if last then return answer('side', last) end
return answer('end')
`,
);
