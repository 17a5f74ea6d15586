import { definePart } from "../../redis/script.ts";
import { messageSize } from "./message-size.lua.ts";
import { orderedIds } from "./ordered-id.lua.ts";
import { redisTime } from "./redis-time.lua.ts";

/**
 * The side store of a group: what comes back to this group alone, and for another reason than an expired lease (retries,
 * releases, redrives, replays), comes back through it.
 *
 * `keys.again` is a hash from a side id to the payload, so that neither trimming nor deleting can take it away.
 * `keys.due` is a sorted set with one member for each: `<side id> <deliveries so far> <w|h> <last consumer>`.
 * - w, waiting: the score is the time at which it may be handed out.
 * - h, handed out: the score is minus the time at which its lease ends.
 * So a lease still holds its delivery if and only if its member is there. An acknowledgement deletes the payload by side
 * id, whoever holds it. A member without a payload means nothing, and the script that meets it drops it.
 *
 * Beyond any time, the same sorted set is an index, so that messages are found without a walk through all, and no change
 * costs a command more:
 * - `h <message id> <side id> <deliveries> <consumer>` for what is handed out, by the message's time: the oldest first;
 * - `m <message id> <side id>` for each, by the message's time;
 * - `c <consumer> <side id> <deliveries>` for what is handed out, by a hash of the consumer's name.
 * (Message ids are ordered ids.) The index only ever helps to find: h and c count if the member that they stand for is
 * there, and h if m is, which goes with the payload. What an earlier version of Weir stored is not in it.
 *
 * The config's `againDue:<group>` is a lower bound of all those times: most polls need not look.
 */
export const sideStore = definePart(
  [
    "INDEX",
    "writeMember",
    "readMember",
    "noteDue",
    "writePayload",
    "checkSideStore",
    "addToSideStore",
    "readSideStore",
    "dueMembers",
    "ranksOf",
    "rankFrom",
    "membersFrom",
    "inHandOf",
    "inHandOfMessages",
    "readHand",
    "pruneIndex",
    "oldestInHand",
    "sideIdsOf",
    "hashOf",
    "handOn",
    "indexOfHand",
    "removeFromSideStore",
    "readPayload",
  ],
  [messageSize, orderedIds, redisTime],
  /* lua */ `
-- Where the index begins, and its parts, as scores. Times are far below.
INDEX = { start = 1e15, hand = 2e15, message = 3e15, consumer = 4e15, stop = 5e15 }

-- A message's time, within its part of the index.
local function placeOf(id) return math.min(tonumber(id:match('^%d+')), 999999999999999) end

-- Any number that tells most names apart: the names themselves are compared afterwards.
function hashOf(consumer)
  local hash = 7
  for i = 1, #consumer do hash = (hash * 31 + consumer:byte(i)) % 2147483647 end
  return hash
end

function writeMember(entry, state)
  return entry.side .. ' ' .. entry.deliveries .. ' ' .. state .. ' ' .. entry.consumer
end

-- nil for what another client has put there.
function readMember(text)
  local side, deliveries, state, consumer = text:match('^(%S+) (%d+) (%a) (.*)$')
  return side and { member = text, side = side, deliveries = tonumber(deliveries), state = state, consumer = consumer }
end

-- Notes that something may be handed out from then on.
-- @param earliest the bound so far, if there is one
function noteDue(config, group, earliest, dueMs)
  if earliest and earliest <= dueMs then return end
  call('HSET', config, 'againDue:' .. group, asMs(dueMs))
end

-- As it waits. With its deliveries and last consumer, the payload leads to its member of keys.due.
function writePayload(entry)
  return cjson.encode({
    id = entry.id, from = entry.from, detail = entry.detail, deliveries = entry.deliveries, consumer = entry.consumer,
    fields = entry.fields,
  })
end

-- Reads a payload into an entry.
-- @return whether it can be read: another version of Weir may have written it, or another client
function readPayload(entry, text)
  local isJson, message = pcall(cjson.decode, text)
  if not isJson or type(message) ~= 'table' or type(message.fields) ~= 'table'
    or not tostring(message.id):match('^%d+%-%d+$') then
    return false
  end
  entry.id, entry.fields, entry.from, entry.detail = message.id, message.fields, message.from, message.detail
  entry.payload = message
  return true
end

local function memberOfMessage(entry) return 'm ' .. ordered(entry.id) .. ' ' .. entry.side end

-- Raises WRONGTYPE where another client has put something else there: called before a script writes anything.
function checkSideStore(keys)
  call('HLEN', keys.again)
  call('ZCARD', keys.due)
end

-- Stores messages to come back: each { id, fields, deliveries, consumer, dueMs, from ('retry', 'redrive' or 'replay'),
-- detail (if any) }. At most 1,000.
function addToSideStore(keys, group, entries)
  if #entries == 0 then return end
  local settings = call('HMGET', keys.config, 'incarnation:' .. group, 'againDue:' .. group, 'incarnation')
  -- Another client may have written anything there; what stands in a side id must not end it.
  local incarnation = (settings[1] or settings[3] or ''):match('^[%w-]*'):sub(1, 8)
  local last = try('HINCRBY', keys.config, 'againSequence:' .. group, #entries)
  if type(last) == 'table' then
    -- Another client has written something else there: on from the time, which is beyond all that was.
    last = math.floor(entries[1].dueMs) + #entries
    call('HSET', keys.config, 'againSequence:' .. group, asMs(last))
  end
  local payloads, members, earliest = {}, {}, math.huge
  for i, entry in ipairs(entries) do
    -- Later groups and streams of this name never reuse a side id: an old lease must not fit. Padded, so that
    -- what is due at the same time comes in order.
    entry.side = string.format('%012.0f', last - #entries + i) .. '.' .. incarnation
    payloads[2 * i - 1] = entry.side
    payloads[2 * i] = writePayload(entry)
    members[4 * i - 3], members[4 * i - 2] = asMs(entry.dueMs), writeMember(entry, 'w')
    members[4 * i - 1], members[4 * i] = asMs(INDEX.message + placeOf(entry.id)), memberOfMessage(entry)
    earliest = math.min(earliest, entry.dueMs)
  end
  call('HSET', keys.again, unpack(payloads))
  call('ZADD', keys.due, unpack(members))
  noteDue(keys.config, group, numberOf(settings[2]), earliest)
end

-- How long what cannot be read is let be: it must not stop what comes behind it, and is nobody's to delete.
local UNREADABLE_MS = 3600000

-- Lets what is due and cannot be read be for a while.
local function postpone(keys, entries)
  local scored = {}
  for _, entry in ipairs(entries) do
    local score = tonumber(call('ZSCORE', keys.due, entry.member) or 0)
    scored[#scored + 1] = asMs(score < 0 and score - UNREADABLE_MS or score + UNREADABLE_MS)
    scored[#scored + 1] = entry.member
  end
  if #scored > 0 then call('ZADD', keys.due, 'XX', unpack(scored)) end
end

-- Reads the payloads of members into entries, as many as one step may copy; drops the members that have none.
-- @param reading what the step may still read
-- @return the entries that have one, and whether some members were left out
function readSideStore(keys, members, reading)
  local found, orphans, unreadable, taken = {}, {}, {}, 0
  local count = #members > 0 and reading.next(#members) or 0
  while count > 0 do
    local entries, sides = {}, {}
    for i = 1, count do
      local entry = readMember(members[taken + i])
      if entry then
        entries[#entries + 1], sides[#sides + 1] = entry, entry.side
      else
        orphans[#orphans + 1] = members[taken + i]
      end
    end
    for i, payload in ipairs(#sides > 0 and call('HMGET', keys.again, unpack(sides)) or {}) do
      if not payload then
        orphans[#orphans + 1] = entries[i].member
      else
        reading.add({ payload })
        local list = readPayload(entries[i], payload) and found or unreadable
        list[#list + 1] = entries[i]
      end
    end
    taken = taken + count
    count = reading.next(#members - taken)
  end
  if #orphans > 0 then call('ZREM', keys.due, unpack(orphans)) end
  postpone(keys, unreadable)
  return found, taken < #members
end

-- The members that may be handed out, those first that have been due longest, expired or waiting alike.
function dueMembers(due, nowMs, max)
  local now = asMs(nowMs)
  local expired = call('ZREVRANGEBYSCORE', due, '(0', '-' .. now, 'WITHSCORES', 'LIMIT', 0, max)
  local waiting = call('ZRANGEBYSCORE', due, '0', now, 'WITHSCORES', 'LIMIT', 0, max)
  local members, e, w = {}, 1, 1
  while #members < max and (expired[e] or waiting[w]) do
    if not waiting[w] or (expired[e] and -tonumber(expired[e + 1]) <= tonumber(waiting[w + 1])) then
      members[#members + 1] = expired[e]
      e = e + 2
    else
      members[#members + 1] = waiting[w]
      w = w + 2
    end
  end
  return members
end

-- The members of the index for what is handed out: by message, by consumer.
function indexOfHand(entry)
  return 'h ' .. ordered(entry.id) .. ' ' .. entry.side .. ' ' .. entry.deliveries .. ' ' .. entry.consumer,
    'c ' .. entry.consumer .. ' ' .. entry.side .. ' ' .. entry.deliveries
end

-- Reads members h of the index.
-- @return those that stand for a delivery: its entry, with its score; and the others
function readHand(keys, found)
  local entries, members, there, wrong = {}, {}, {}, {}
  for _, text in ipairs(found) do
    local message, side, deliveries, consumer = text:match('^h (%d+%-%d+) (%S+) (%d+) (.*)$')
    -- Anything else is another client's.
    if message then
      local entry = { text = text, id = unordered(message), side = side, deliveries = tonumber(deliveries), consumer = consumer }
      entries[#entries + 1] = entry
      members[#members + 1], members[#members + 2] = writeMember(entry, 'h'), memberOfMessage(entry)
    end
  end
  for first = 1, #entries, 1000 do
    local last = math.min(#entries, first + 999)
    local scores = call('ZMSCORE', keys.due, unpack(members, 2 * first - 1, 2 * last))
    for i = first, last do
      local entry, at = entries[i], 2 * (i - first) + 1
      if scores[at] and scores[at + 1] then
        entry.member, entry.score = members[2 * i - 1], tonumber(scores[at])
        there[#there + 1] = entry
      else
        wrong[#wrong + 1] = entry
      end
    end
  end
  return there, wrong
end

-- The oldest message in hand, or nil. Members of the index that stand for nothing are few.
function oldestInHand(due)
  local found = call('ZRANGEBYSCORE', due, asMs(INDEX.hand), '(' .. asMs(INDEX.message), 'LIMIT', 0, 100)
  local there = readHand({ due = due }, found)
  return there[1] and there[1].id
end

-- Drops what the index says wrongly of some messages in hand.
-- @param place from 0 to 1: where to look, so that many looks see all
function pruneIndex(keys, max, place)
  local before = call('ZCOUNT', keys.due, '-inf', '(' .. asMs(INDEX.hand))
  local count = call('ZCOUNT', keys.due, asMs(INDEX.hand), '(' .. asMs(INDEX.message))
  if count == 0 then return end
  -- By rank: an offset would be walked through.
  local from = before + math.floor(place * math.max(0, count - max + 1))
  local to = math.min(before + count, from + max) - 1
  local _, wrong = readHand(keys, call('ZRANGE', keys.due, from, to))
  local members = {}
  for _, entry in ipairs(wrong) do members[#members + 1], members[#members + 2] = indexOfHand(entry) end
  if #members > 0 then call('ZREM', keys.due, unpack(members)) end
end

-- Redis orders members of one score by their bytes; Lua compares text by the locale.
local function bytesLess(a, b)
  for i = 1, math.min(#a, #b) do
    local one, other = a:byte(i), b:byte(i)
    if one ~= other then return one < other end
  end
  return #a < #b
end

-- @return the rank of the first member of a score, and that behind its last one
function ranksOf(due, score)
  local first = call('ZCOUNT', due, '-inf', '(' .. score)
  return first, first + call('ZCOUNT', due, score, score)
end

-- @return the rank, between two of one score, of the first member that is not less
function rankFrom(due, low, high, text)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if bytesLess(call('ZRANGE', due, middle, middle)[1], text) then low = middle + 1 else high = middle end
  end
  return low
end

-- Members of one score that begin so, in their order; where there are many of that score, their place is found by halves.
-- @return at most so many of them
function membersFrom(due, score, start, max)
  local found, page = {}, call('ZRANGEBYSCORE', due, score, score, 'LIMIT', 0, max)
  local last = page[#page]
  if #page == max and (bytesLess(last, start) or last:sub(1, #start) == start) then
    local first, stop = ranksOf(due, score)
    local from = rankFrom(due, first, stop, start)
    page = call('ZRANGE', due, from, from + max - 1)
  end
  for _, text in ipairs(page) do
    if text:sub(1, #start) == start then found[#found + 1] = text end
  end
  return found
end

-- What a consumer has in hand, at most 1,000; what the index says wrongly is dropped.
-- @return members of the schedule, whether there may be more, and whether some were dropped
function inHandOf(keys, consumer, max)
  local start = 'c ' .. consumer .. ' '
  local found = membersFrom(keys.due, asMs(INDEX.consumer + hashOf(consumer)), start, max)
  local members, own, stale = {}, {}, {}
  for i, text in ipairs(found) do
    local side, deliveries = text:sub(#start + 1):match('^(%S+) (%d+)$')
    members[i] = (side or '') .. ' ' .. (deliveries or '') .. ' h ' .. consumer
  end
  for i, there in ipairs(#members > 0 and call('ZMSCORE', keys.due, unpack(members)) or {}) do
    if there then own[#own + 1] = members[i] else stale[#stale + 1] = found[i] end
  end
  if #stale > 0 then call('ZREM', keys.due, unpack(stale)) end
  return own, #found == max, #stale > 0
end

-- Copies of one message, by replays, that are looked at.
local MAX_COPIES = 100

local function membersOfMessage(due, kind, start, id)
  return membersFrom(due, asMs(start + placeOf(id)), kind .. ' ' .. ordered(id) .. ' ', MAX_COPIES)
end

-- What is in hand of some messages. @return entries, with their scores
function inHandOfMessages(keys, ids)
  local texts = {}
  for _, id in ipairs(ids) do
    for _, text in ipairs(membersOfMessage(keys.due, 'h', INDEX.hand, id)) do texts[#texts + 1] = text end
  end
  return (readHand(keys, texts))
end

-- The side ids of a message, waiting or in hand; at most 100.
function sideIdsOf(keys, id)
  local sides = {}
  for i, text in ipairs(membersOfMessage(keys.due, 'm', INDEX.message, id)) do sides[i] = text:match('(%S+)$') end
  return sides
end

-- Hands entries to a consumer, until then. At most 1,000.
-- @param charged how many deliveries that adds to each
function handOn(keys, entries, consumer, endsMs, charged)
  if #entries == 0 then return end
  local old, new = {}, {}
  local score, ofConsumer = '-' .. asMs(endsMs), asMs(INDEX.consumer + hashOf(consumer))
  for _, entry in ipairs(entries) do
    old[#old + 1] = entry.member
    if entry.state == 'h' then old[#old + 1], old[#old + 2] = indexOfHand(entry) end
    entry.deliveries, entry.consumer = entry.deliveries + charged, consumer
    local byMessage, byConsumer = indexOfHand(entry)
    local added = { score, writeMember(entry, 'h'), asMs(INDEX.hand + placeOf(entry.id)), byMessage, ofConsumer, byConsumer }
    for _, value in ipairs(added) do new[#new + 1] = value end
  end
  call('ZREM', keys.due, unpack(old))
  call('ZADD', keys.due, unpack(new))
end

-- Takes entries out of the side store, at most 1,000.
-- @return how many had a payload
function removeFromSideStore(keys, entries)
  if #entries == 0 then return 0 end
  local sides, members = {}, {}
  for i, entry in ipairs(entries) do
    sides[i] = entry.side
    members[#members + 1], members[#members + 2] = entry.member, memberOfMessage(entry)
    if entry.state == 'h' then members[#members + 1], members[#members + 2] = indexOfHand(entry) end
  end
  call('ZREM', keys.due, unpack(members))
  return call('HDEL', keys.again, unpack(sides))
end
`,
);
