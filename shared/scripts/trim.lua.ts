import { defineScript } from "../redis/script.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { gap } from "./parts/gap.lua.ts";
import { ids } from "./parts/ids.lua.ts";
import { losses } from "./parts/losses.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { needed } from "./parts/needed.lua.ts";
import { position } from "./parts/position.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * One step of trimming a stream, by its settings or by limits that are given. First what every group has done with,
 * which is never wrong. Then, where `unfinished` is not keep, what some group has not: copied to that group's dead
 * letters before it goes, or dropped and counted as that group's gap.
 * KEYS: stream, config, then for each group that is named the key of its dead letters and of their index
 * ARGV: now (ms), max entries to take, 1 to trim to the very message, 'settings' or 'given', the id below which to trim or
 *       '', the length to trim to or '' (both only where given), then the groups
 * Returns { trimmed, 1 if there is more to trim, dead-lettered, dropped, { group, oldest id it needs } for each group that
 *           holds back what would go otherwise, groups that were not named though their messages were to be copied }
 */
export const trimScript = defineScript(
  "trim",
  [deadLetters, gap, ids, losses, messageSize, needed, position, xinfo],
  /* lua */ `
-- How many copies one step makes at most, and how many entries without one it reads.
local MAX_COPIES, MAX_READ = 500, 1000

local stream, config = KEYS[1], KEYS[2]
local nowMs, max, exact = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local settings = call('HMGET', config, 'maxAgeMs', 'maxLength', 'unfinished', 'deleteAcknowledged', 'maxMessageBytes',
  'largestMessageBytes')
local unfinished = settings[3] or 'keep'
local largest = largestMessage(settings[5], settings[6])
local step = fitting(100, STEP_BYTES, largest)
-- Freeing takes time too.
max = math.max(step, fitting(max, MAX_FREED_BYTES, largest))
local cut, maxLength, deleteAcknowledged
if ARGV[4] == 'given' then
  cut, maxLength = ARGV[5] ~= '' and ARGV[5] or nil, tonumber(ARGV[6])
else
  local maxAgeMs = numberOf(settings[1])
  if maxAgeMs then cut = string.format('%.0f-0', math.max(0, nowMs - maxAgeMs)) end
  maxLength = numberOf(settings[2])
  deleteAcknowledged = settings[4] == '1'
end
if not cut and not maxLength and not deleteAcknowledged then return reply({ 0, 0, 0, 0, {}, {} }) end

local groups, watermark = findNeeded(stream)
local keptFor, unnamed = {}, {}

-- Whether the oldest entry would go, were it not for a group.
local function isOver()
  local first = firstId(stream)
  if not first then return false end
  return (cut and less(first, cut)) or (maxLength and call('XLEN', stream) > maxLength) or false
end

-- The groups' keys that dead letters go to.
-- @return nil when some were not named; a key of another type: found before anything is written
local function targetsOfCopies()
  local keysOf = {}
  for i = 7, #ARGV do
    keysOf[ARGV[i]] = { stream = stream, config = config, dead = KEYS[2 * i - 11], deadIndex = KEYS[2 * i - 10] }
  end
  for _, group in ipairs(groups) do
    if not keysOf[group.name] then unnamed[#unnamed + 1] = group.name end
  end
  if #unnamed > 0 then return nil end
  for _, group in ipairs(groups) do checkDeadLetters(keysOf[group.name]) end
  return keysOf
end

local keysOf
if unfinished == 'dead-letter' and #groups > 0 and isOver() then
  keysOf = targetsOfCopies()
  if not keysOf then return reply({ 0, 1, 0, 0, {}, unnamed }) end
end

local trimmed, more = 0, false
local function add(count, isMore)
  trimmed, more = trimmed + count, more or isMore
end

-- What all groups are done with.
if deleteAcknowledged and #groups > 0 then add(trimBelow(stream, watermark, max, exact, step)) end
if cut and not more then add(trimBelow(stream, less(cut, watermark) and cut or watermark, max, exact, step)) end
if maxLength and not more then add(trimToLength(stream, maxLength, watermark, max, exact, step)) end

-- Redis counts rightly for whoever has read all: noted, as what it has read goes.
local function noteCounted()
  local fields = {}
  for i, group in ipairs(groups) do fields[i] = 'counted:' .. group.name end
  if trimmed == 0 or #fields == 0 or #fields > 1000 then return end
  local known, noted = call('HMGET', config, unpack(fields)), {}
  for i, group in ipairs(groups) do
    local counted = group.lastDelivered .. ' -'
    if group.lag == 0 and known[i] and known[i] ~= counted then
      noted[#noted + 1], noted[#noted + 2] = fields[i], counted
    end
  end
  if #noted > 0 then call('HSET', config, unpack(noted)) end
end
noteCounted()

local deadLettered, dropped = 0, 0

-- Takes entries off a group's PEL: at most so many of a range.
-- @param isKept tells those that are not meant; onPage is told the others first
-- @return how many it took, and whether there may be more
local function settlePending(group, last, size, isKept, onPage)
  local page, gone, ids = call('XPENDING', stream, group.name, '-', last, size), {}, {}
  for _, entry in ipairs(page) do
    if not isKept[entry[1]] then gone[#gone + 1], ids[#ids + 1] = entry, entry[1] end
  end
  if #gone > 0 then
    onPage(group, gone)
    for at = 1, #ids, 1000 do call('XACK', stream, group.name, unpack(ids, at, math.min(at + 999, #ids))) end
  end
  return #ids, #page == size
end

-- What is pending and was taken by other clients' trims and deletions: any number. As much as one step may copy.
-- @param last up to where; isThere tells what is left of that
-- @return whether that was all
local function settleGone(last, isThere, count, onPage)
  local left, isAll = MAX_COPIES, true
  for _, group in ipairs(groups) do
    if group.pending > 0 and isAll then
      local taken, mayBeMore = settlePending(group, last, left + count, isThere, onPage)
      left, isAll = left - taken, not mayBeMore and taken < left
    end
  end
  return isAll
end

-- For a group that now lies behind the first entry, Redis' count is put right: what it has lost was told above.
local function putRight(lastBefore)
  local info
  for _, group in ipairs(groups) do
    if less(group.lastDelivered, lastBefore) then
      info = info or streamInfo(stream)
      local first = info['first-entry'] and info['first-entry'][1]
      if not first or less(group.lastDelivered, first) then
        local keys = { stream = stream, config = config }
        setPosition(keys, 'SETID', group.name, group.lastDelivered, countAt(keys, info, group.lastDelivered))
        call('HSET', config, 'counted:' .. group.name, countedAt(info, group.lastDelivered))
      end
    end
  end
end

-- Reads the oldest entries that are to go, as many as one step may copy, by what they really weigh.
-- @param copiesEach how many copies each of them makes at most
local function readOldest(copiesEach)
  local excess = maxLength and call('XLEN', stream) - maxLength or 0
  local taken, bytes, from = {}, 0, '-'
  local most = math.max(1, math.min(MAX_READ, math.floor(MAX_COPIES / copiesEach)))
  while #taken < most and bytes * copiesEach < STEP_BYTES do
    local wanted = math.min(step, most - #taken)
    local page = call('XRANGE', stream, from, '+', 'COUNT', wanted)
    for _, entry in ipairs(page) do
      if not ((cut and less(entry[1], cut)) or #taken < excess) then return taken, false end
      if bytes * copiesEach >= STEP_BYTES then return taken, true end
      taken[#taken + 1] = entry
      for _, text in ipairs(entry[2]) do bytes = bytes + #text end
    end
    if #page < wanted or page[#page][1] == NO_LIMIT then return taken, false end
    from = '(' .. page[#page][1]
  end
  return taken, true
end

local function copyAndTrim(keysOf)
  local taken, mayBeMore = readOldest(#groups)
  if #taken == 0 then return end
  local last = taken[#taken][1]
  local lastBefore = streamInfo(stream)['last-generated-id']
  local isTaken = {}
  for _, entry in ipairs(taken) do isTaken[entry[1]] = true end
  local isAll = settleGone(last, isTaken, #taken, function(group, gone)
    local keys = keysOf[group.name]
    for _, entry in ipairs(gone) do
      deadLetter(keys, group.name, {
        id = entry[1], reason = 'payload-missing', deliveries = entry[4], consumer = entry[2],
      })
    end
    indexDeadLetters(keys)
  end)
  if not isAll then
    more = true
    return
  end
  for _, group in ipairs(groups) do
    if not less(last, group.needed) then
      local keys = keysOf[group.name]
      local pending = {}
      settlePending(group, last, #taken + 1, {}, function(_, page)
        for _, entry in ipairs(page) do pending[entry[1]] = entry end
      end)
      for _, entry in ipairs(taken) do
        local held = pending[entry[1]]
        if held or less(group.lastDelivered, entry[1]) then
          deadLetter(keys, group.name, {
            id = entry[1], fields = entry[2], reason = 'trimmed',
            deliveries = held and held[4] or 0, consumer = held and held[2] or '',
          })
          deadLettered = deadLettered + 1
        end
      end
      indexDeadLetters(keys)
    end
  end
  -- Nothing comes after the very last id.
  local cutAll = last == NO_LIMIT
  local count = call('XTRIM', stream, cutAll and 'MAXLEN' or 'MINID', '=', cutAll and 0 or after(last))
  putRight(lastBefore)
  add(count, mayBeMore)
end

-- Trims by the limits, but not past an id.
local function takeUpTo(limit, exactly)
  local count, isMore = 0, false
  if cut then count, isMore = trimBelow(stream, less(cut, limit) and cut or limit, max, exactly, step) end
  if maxLength and not isMore then
    local byLength, moreByLength = trimToLength(stream, maxLength, limit, max, exactly, step)
    count, isMore = count + byLength, moreByLength
  end
  return count, isMore
end

-- Stage by stage, up to where each group has read: what later stages take, that group had not. So the count needs nothing
-- of Redis' own lag, which may be wrong or missing.
local function dropAndTrim()
  local first = firstId(stream)
  local isAll = settleGone(before(first), {}, 0, function(group, gone)
    dropped = dropped + #gone
    noteGap(config, group.name, gone[1][1], gone[#gone][1], #gone)
  end)
  if not isAll then
    more = true
    return
  end
  -- What each group has pending of it is taken off one by one.
  step = math.max(1, math.floor(step / #groups))
  max = math.max(step, math.floor(max / #groups))
  local lastGenerated, stages = streamInfo(stream)['last-generated-id'], {}
  for _, group in ipairs(groups) do stages[#stages + 1] = after(group.lastDelivered) end
  table.sort(stages, less)
  local lostFrom, sum = {}, 0
  for _, limit in ipairs(stages) do
    local count, isMore = 0, false
    if not lostFrom[limit] then count, isMore = takeUpTo(limit, true) end
    sum = sum + count
    lostFrom[limit] = sum
    add(count, isMore)
    if isMore then break end
  end
  if not more then
    local count, isMore = takeUpTo(NO_LIMIT, exact)
    sum = sum + count
    add(count, isMore)
  end
  if sum == 0 then return end
  first = firstId(stream)
  for _, group in ipairs(groups) do
    if not first or less(group.needed, first) then
      -- The last id that is gone: right before the first one left.
      local last = first and before(first) or lastGenerated
      local unread = sum - (lostFrom[after(group.lastDelivered)] or sum)
      -- Anything above that was deleted in between: the sweep finds it.
      local lost = settlePending(group, last, sum, {}, function() end) + unread
      if lost > 0 then
        dropped = dropped + lost
        noteGap(config, group.name, group.needed, last, lost)
      end
    end
  end
  putRight(lastGenerated)
end

-- Before a trim puts Redis' counts right: they tell what other clients' trims have taken.
local function noteEarlierLosses()
  local info = streamInfo(stream)
  for _, group in ipairs(groupInfos(stream)) do noteLosses({ stream = stream, config = config }, info, group) end
end

-- Where nobody reads, only what a coarse trim leaves is over.
if #groups > 0 and not more and isOver() then
  if unfinished ~= 'keep' then
    beginWriting({ stream = stream }, groups[1].name)
    noteEarlierLosses()
  end
  if unfinished == 'dead-letter' then
    copyAndTrim(keysOf)
  elseif unfinished == 'drop' then
    dropAndTrim()
  else
    local first = firstId(stream)
    for _, group in ipairs(groups) do
      -- A group that is done with everything holds nothing back.
      if not less(first, group.needed) and ((cut and less(group.needed, cut)) or maxLength) then
        keptFor[#keptFor + 1] = { group.name, group.needed }
      end
    end
  end
end
return reply({ trimmed, more and 1 or 0, deadLettered, dropped, keptFor, unnamed })
`,
);
