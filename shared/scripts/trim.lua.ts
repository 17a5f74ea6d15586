import { defineScript } from "../redis/script.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { gap } from "./parts/gap.lua.ts";
import { ids } from "./parts/ids.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { needed } from "./parts/needed.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * One step of trimming a stream, by its settings or by limits that are given. First what every group has done with,
 * which is never wrong. Then, where `unfinished` is not keep, what some group has not: copied to that group's dead
 * letters before it goes, or dropped and counted as that group's gap.
 * KEYS: stream, config
 * ARGV: now (ms), max entries to take, 1 to trim to the very message, what comes before a group's name in the key of its
 *       dead letters, 'settings' or 'given', then (given) the id below which to trim or '', the length to trim to or ''
 * Returns { trimmed, 1 if there is more to trim, dead-lettered, dropped, { group, oldest id it needs } for each group that
 *           holds back what would go otherwise }
 */
export const trimScript = defineScript(
  "trim",
  [deadLetters, gap, ids, messageSize, needed, xinfo],
  /* lua */ `
-- How many one step copies at most.
local MAX_COPIES = 200

local stream, config = KEYS[1], KEYS[2]
local nowMs, max, exact = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local settings = call('HMGET', config, 'maxAgeMs', 'maxLength', 'unfinished', 'deleteAcknowledged', 'maxMessageBytes',
  'largestMessageBytes')
local unfinished = settings[3] or 'keep'
local copies = fitting(MAX_COPIES, STEP_BYTES, largestMessage(settings[5], settings[6]))
local cut, maxLength, deleteAcknowledged
if ARGV[5] == 'given' then
  cut, maxLength = ARGV[6] ~= '' and ARGV[6] or nil, tonumber(ARGV[7])
else
  if settings[1] then cut = string.format('%.0f-0', math.max(0, nowMs - tonumber(settings[1]))) end
  maxLength = tonumber(settings[2] or nil)
  deleteAcknowledged = settings[4] == '1'
end
if not cut and not maxLength and not deleteAcknowledged then return reply({ 0, 0, 0, 0, {} }) end

local groups, watermark = findNeeded(stream)
local trimmed, more, took, again = 0, false, 0, false
local function add(count, isMore)
  trimmed, more = trimmed + count, more or isMore
end

-- What all groups are done with.
if deleteAcknowledged and #groups > 0 then add(trimBelow(stream, watermark, max, exact)) end
if cut and not more then add(trimBelow(stream, less(cut, watermark) and cut or watermark, max, exact)) end
if maxLength and not more then add(trimToLength(stream, maxLength, watermark, max, exact)) end

-- Whether the oldest entry would go, were it not for a group.
local function isOver()
  local first = firstId(stream)
  if not first then return false end
  return (cut and less(first, cut)) or (maxLength and call('XLEN', stream) > maxLength) or false
end

local keptFor = {}
local deadLettered, dropped = 0, 0

-- Takes a range off a group's PEL; each page is handed over first.
local function settlePending(group, last, onPage)
  local taken = 0
  repeat
    local page = call('XPENDING', stream, group.name, '-', last, 1000)
    local ids = {}
    for i, entry in ipairs(page) do ids[i] = entry[1] end
    if onPage then onPage(page) end
    if #ids > 0 then call('XACK', stream, group.name, unpack(ids)) end
    taken = taken + #ids
  until #page < 1000
  return taken
end

local function copyAndTrim()
  local excess = maxLength and call('XLEN', stream) - maxLength or 0
  local entries = call('XRANGE', stream, '-', '+', 'COUNT', copies)
  local taken = {}
  for i, entry in ipairs(entries) do
    if (cut and less(entry[1], cut)) or i <= excess then taken[i] = entry else break end
  end
  local last = taken[#taken][1]
  local isTaken = {}
  for _, entry in ipairs(taken) do isTaken[entry[1]] = true end
  beginWriting({ stream = stream }, groups[1].name)
  for _, group in ipairs(groups) do
    if not less(last, group.needed) then
      local keys = { stream = stream, config = config, dead = ARGV[4] .. group.name }
      local pending = {}
      settlePending(group, last, function(page)
        for _, entry in ipairs(page) do
          pending[entry[1]] = entry
          if not isTaken[entry[1]] then
            deadLetter(keys, group.name, {
              id = entry[1], reason = 'payload-missing', deliveries = entry[4], consumer = entry[2],
            })
          end
        end
        for _, entry in ipairs(taken) do
          local held = pending[entry[1]]
          local isNew = less(group.lastDelivered, entry[1])
          if not group.copied then group.copied = {} end
          if (held or isNew) and not group.copied[entry[1]] then
            group.copied[entry[1]] = true
            deadLetter(keys, group.name, {
              id = entry[1], fields = entry[2], reason = 'trimmed',
              deliveries = held and held[4] or 0, consumer = held and held[2] or '',
            })
            deadLettered = deadLettered + 1
          end
        end
      end)
    end
  end
  -- Nothing comes after the very last id.
  local cutAll = last == NO_LIMIT
  local count = call('XTRIM', stream, cutAll and 'MAXLEN' or 'MINID', '=', cutAll and 0 or after(last))
  add(count, #taken == copies)
end

-- Notes what a trim took from a group, together with what earlier trims took.
local function noteGap(group, fromId, toId, messages)
  local before = call('HGET', config, 'gap:' .. group.name)
  local gap = readGap(before) or { fromId = fromId, messages = 0 }
  gap.toId, gap.messages = toId, gap.messages + messages
  call('HSET', config, 'gap:' .. group.name, cjson.encode(gap))
  call('HINCRBY', config, 'dropped:' .. group.name, messages)
end

local function dropAndTrim()
  local firstBefore, lengthBefore = firstId(stream), call('XLEN', stream)
  local count, isMore = 0, false
  if cut then count, isMore = trimBelow(stream, cut, max, exact) end
  if maxLength and not isMore then
    local byLength, moreByLength = trimToLength(stream, maxLength, NO_LIMIT, max, exact)
    count, isMore = count + byLength, moreByLength
  end
  add(count, isMore)
  if count == 0 then return end
  local first = firstId(stream)
  local length = call('XLEN', stream)
  for _, group in ipairs(groups) do
    if not first or less(group.needed, first) then
      -- The last id that is gone: right before the first one left.
      local last = first and before(first) or streamInfo(stream)['last-generated-id']
      local lost = settlePending(group, last)
      if not first or less(group.lastDelivered, first) then
        -- All that is left is new to it: what went is its lag less that. Redis' lag is right only
        -- for a group not behind the first entry; without a lag, assume the most it can be.
        local isBehind = less(group.lastDelivered, firstBefore)
        lost = lost + math.max(0, (isBehind and lengthBefore or group.lag or (count + length)) - length)
      end
      if lost > 0 then
        dropped = dropped + lost
        noteGap(group, group.needed, last, lost)
      end
    end
  end
end

if not more and isOver() then
  if unfinished == 'dead-letter' then
    copyAndTrim()
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
return reply({ trimmed, more and 1 or 0, deadLettered, dropped, keptFor })
`,
);
