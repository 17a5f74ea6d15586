/**
 * Lua for the side store of a group: what comes back to this group alone, and for another reason than an expired
 * lease (retries, replays), comes back through it.
 *
 * `again` is a hash from a side id to the payload, so that neither trimming nor deleting can take it away.
 * `due` is a sorted set with one member for each: `<side id> <deliveries so far> <w|h> <last consumer>`.
 * - w, waiting: the score is the time at which it may be handed out.
 * - h, handed out: the score is minus the time at which its lease ends.
 * So one range from -now to now finds all that is to be handed out, and a lease still holds its delivery if and only if
 * its member is there. An acknowledgement deletes the payload by side id, whoever holds it; a member that is left
 * without a payload means nothing and is dropped by whoever meets it.
 *
 * The config's `againDue:<group>` is a lower bound of all those times: most polls need not look. All times are
 * Redis' own (TIME), so Workers' clocks may differ.
 */
export const AGAIN_LUA = /* lua */ `
local function redisNowMs()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function writeMember(entry, state)
  return entry.side .. ' ' .. entry.deliveries .. ' ' .. state .. ' ' .. entry.consumer
end

local function readMember(text)
  local side, deliveries, state, consumer = text:match('^(%S+) (%d+) (%a) (.*)$')
  return { member = text, side = side, deliveries = tonumber(deliveries), consumer = consumer }
end

-- Notes that something may be handed out from that time on. earliest: the bound so far, if any.
local function noteDue(config, group, earliest, dueMs)
  if earliest and earliest <= dueMs then return end
  call('HSET', config, 'againDue:' .. group, string.format('%.0f', dueMs))
end

-- Messages that may be copied in one step, so that Redis is not held up for long, however large they are.
local STEP_BYTES = 4 * 1024 * 1024
local function stepSize(keys, most)
  local settings = call('HMGET', keys.config, 'maxMessageBytes', 'largestMessageBytes')
  local maxMessageBytes = math.max(tonumber(settings[1] or 65536), tonumber(settings[2] or 0))
  return math.max(1, math.min(most, math.floor(STEP_BYTES / maxMessageBytes)))
end

-- Stores messages to come back: each { id, fields, deliveries, consumer, dueMs }. At most 1,000.
local function addAgain(keys, group, entries)
  if #entries == 0 then return end
  local settings = call('HMGET', keys.config, 'incarnation', 'againDue:' .. group)
  local last = call('HINCRBY', keys.config, 'againSequence:' .. group, #entries)
  local payloads, members, earliest = {}, {}, math.huge
  for i, entry in ipairs(entries) do
    -- Neither a later group nor a later stream of the same name uses a side id again: an old lease must not fit.
    entry.side = (last - #entries + i) .. '.' .. (settings[1] or ''):sub(1, 8)
    payloads[#payloads + 1] = entry.side
    payloads[#payloads + 1] = cjson.encode({ id = entry.id, fields = entry.fields })
    members[#members + 1] = string.format('%.0f', entry.dueMs)
    members[#members + 1] = writeMember(entry, 'w')
    earliest = math.min(earliest, entry.dueMs)
  end
  call('HSET', keys.again, unpack(payloads))
  call('ZADD', keys.due, unpack(members))
  noteDue(keys.config, group, tonumber(settings[2] or nil), earliest)
end

-- Reads the payloads of members into entries; drops the members that have none.
-- @return the entries that have one
local function readAgain(keys, members)
  local entries, sides, orphans = {}, {}, {}
  for i, member in ipairs(members) do
    entries[i] = readMember(member)
    sides[i] = entries[i].side
  end
  if #entries == 0 then return entries end
  local found = {}
  for i, payload in ipairs(call('HMGET', keys.again, unpack(sides))) do
    if payload then
      local message = cjson.decode(payload)
      entries[i].id, entries[i].fields = message.id, message.fields
      found[#found + 1] = entries[i]
    else
      orphans[#orphans + 1] = members[i]
    end
  end
  if #orphans > 0 then call('ZREM', keys.due, unpack(orphans)) end
  return found
end

-- The members that a consumer has in hand, of the first 10,000 that are in hand at all (which takes 5 ms).
local function ownHanded(due, consumer, most)
  local own = {}
  for _, member in ipairs(call('ZRANGEBYSCORE', due, '-inf', '(0', 'LIMIT', 0, 10000)) do
    if #own < most and readMember(member).consumer == consumer then own[#own + 1] = member end
  end
  return own
end

-- Takes entries out of the side store.
local function removeAgain(keys, entries)
  if #entries == 0 then return end
  local sides, members = {}, {}
  for i, entry in ipairs(entries) do sides[i], members[i] = entry.side, entry.member end
  call('ZREM', keys.due, unpack(members))
  call('HDEL', keys.again, unpack(sides))
end
`;
