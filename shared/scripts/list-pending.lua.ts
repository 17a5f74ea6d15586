import { defineReadingScript } from "../redis/script.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Lists what a group has handed out and not settled: first Redis' own pending entries by id, then what was handed out
 * of the side store by its side id. Neither order changes when a delivery is extended or handed out again meanwhile, as
 * that of the leases' ends would: so walking all pages meets all that stays pending, each once.
 * KEYS: stream, config, again, due
 * ARGV: group, consumer ('': any), min idle time in ms, max entries, 'main' or 'side' as where to begin, the id or
 *       side id to begin after ('' with 'main': from the beginning), default of ackWaitMs
 * Returns { { id, consumer, idle time in ms, deliveries } each, 'end' | 'main' | 'side' as where more is, the id or side
 *           id to go on after }. A page of large messages may be short.
 */
export const listPendingScript = defineReadingScript(
  "list-pending",
  [messageSize, redisTime, sideStore],
  /* lua */ `
local keys = { stream = KEYS[1], config = KEYS[2], again = KEYS[3], due = KEYS[4] }
local group, consumer, minIdleMs, max, after = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[6]

local page = {}
local function goOnAfter(where, last) return reply({ page, where, last }) end

if ARGV[5] == 'main' then
  local query = { after == '' and '-' or '(' .. after, '+', max + 1, consumer ~= '' and consumer or nil }
  -- XPENDING with IDLE is unbounded: only if needed.
  if minIdleMs > 0 then query = { 'IDLE', ARGV[3], unpack(query) } end
  page = call('XPENDING', keys.stream, group, unpack(query))
  after = ''
  if #page > max then
    page[#page] = nil
    return goOnAfter('main', page[max][1])
  end
else
  -- For its NOGROUP alone; the price does not grow with what is pending.
  call('XPENDING', keys.stream, group)
end

local settings = call('HMGET', keys.config, 'ackWaitMs:' .. group, 'maxMessageBytes', 'largestMessageBytes',
  'againDue:' .. group)
-- No bound: the side store is empty. Saves a command.
if not settings[4] then return goOnAfter('end') end
local ackWaitMs = tonumber(settings[1] or ARGV[7])
local step = fitting(max, STEP_BYTES, largestMessage(settings[2], settings[3]))
local nowMs = redisNowMs()

-- The score is minus the lease's end; it began, or was extended, ackWaitMs before.
local function idleOf(score) return math.max(0, ackWaitMs + score + nowMs) end
local earliest = minIdleMs > 0 and asMs(minIdleMs - ackWaitMs - nowMs) or '-inf'

-- Side ids begin with a growing number; the rest tells streams of one name apart.
local function numberOf(side) return tonumber(side:match('^%d+')) end
local function comesBefore(a, b)
  if a.number ~= b.number then return a.number < b.number end
  return a.side < b.side
end

-- The first ones after the cursor. They are sorted by lease end, so all in hand must be looked at: without
-- scores, and keeping no more than wanted (measured for 10,000 of them: 5 ms; 20 ms with all scored and sorted).
local function firstInHand(count)
  local found, from, to = {}, { number = 0, side = '' }, math.huge
  if after ~= '' then from = { number = numberOf(after), side = after } end
  local ending = ' h ' .. consumer
  local function cut()
    table.sort(found, comesBefore)
    for i = #found, count + 1, -1 do found[i] = nil end
    if #found == count then to = found[count].number end
  end
  for _, member in ipairs(call('ZRANGEBYSCORE', keys.due, earliest, '(0')) do
    local number = numberOf(member)
    if number >= from.number and number <= to and (consumer == '' or member:sub(-#ending) == ending) then
      local entry = readMember(member)
      entry.number = number
      if comesBefore(from, entry) and (consumer == '' or entry.consumer == consumer) then
        found[#found + 1] = entry
        if #found >= 2 * count then cut() end
      end
    end
  end
  cut()
  return found
end

-- Decoding may mean megabytes: this takes only the id. cjson writes no spaces, and either member first.
local function idOf(payload)
  return payload:match('^{"id":"(%d+%-%d+)",') or payload:sub(-64):match('%],"id":"(%d+%-%d+)"}$')
    or cjson.decode(payload).id
end

local room = max - #page
local entries = firstInHand(room + 1)
if room == 0 then return goOnAfter(entries[1] and 'main' or 'end', page[max][1]) end
if #entries == 0 then return goOnAfter('end') end

local members = {}
for i, entry in ipairs(entries) do members[i] = entry.member end
local scores = call('ZMSCORE', keys.due, unpack(members))

-- Only bytes bound payloads: read some at a time until there are enough.
local read, bytes = 0, 0
while read < math.min(#entries, room) and bytes < STEP_BYTES do
  local sides = {}
  for i = read + 1, math.min(#entries, room, read + step) do sides[#sides + 1] = entries[i].side end
  for i, payload in ipairs(call('HMGET', keys.again, unpack(sides))) do
    -- No payload: it was acknowledged.
    if payload then
      local entry = entries[read + i]
      bytes = bytes + #payload
      page[#page + 1] = { idOf(payload), entry.consumer, idleOf(tonumber(scores[read + i])), entry.deliveries }
    end
  end
  read = read + #sides
end
return goOnAfter(#entries > read and 'side' or 'end', entries[read].side)
`,
);
