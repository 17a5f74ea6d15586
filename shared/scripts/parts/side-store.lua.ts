import { definePart } from "../../redis/script.ts";
import { redisTime } from "./redis-time.lua.ts";

/**
 * The side store of a group: what comes back to this group alone, and for another reason than an expired lease (retries,
 * redrives, replays), comes back through it.
 *
 * `keys.again` is a hash from a side id to the payload, so that neither trimming nor deleting can take it away.
 * `keys.due` is a sorted set with one member for each: `<side id> <deliveries so far> <w|h> <last consumer>`.
 * - w, waiting: the score is the time at which it may be handed out.
 * - h, handed out: the score is minus the time at which its lease ends.
 * So one range from -now to now finds all that is to be handed out, and a lease still holds its delivery if and only if
 * its member is there. An acknowledgement deletes the payload by side id, whoever holds it. A member without a payload
 * means nothing, and the script that meets it drops it.
 *
 * The config's `againDue:<group>` is a lower bound of all those times: most polls need not look.
 */
export const sideStore = definePart(
  ["writeMember", "readMember", "noteDue", "addToSideStore", "readSideStore", "inHandOf", "removeFromSideStore"],
  [redisTime],
  /* lua */ `
function writeMember(entry, state)
  return entry.side .. ' ' .. entry.deliveries .. ' ' .. state .. ' ' .. entry.consumer
end

function readMember(text)
  local side, deliveries, state, consumer = text:match('^(%S+) (%d+) (%a) (.*)$')
  return { member = text, side = side, deliveries = tonumber(deliveries), consumer = consumer }
end

-- Notes that something may be handed out from then on.
-- @param earliest the bound so far, if there is one
function noteDue(config, group, earliest, dueMs)
  if earliest and earliest <= dueMs then return end
  call('HSET', config, 'againDue:' .. group, asMs(dueMs))
end

-- Stores messages to come back: each { id, fields, deliveries, consumer, dueMs }. At most 1,000.
function addToSideStore(keys, group, entries)
  if #entries == 0 then return end
  local settings = call('HMGET', keys.config, 'incarnation', 'againDue:' .. group)
  local last = call('HINCRBY', keys.config, 'againSequence:' .. group, #entries)
  local payloads, members, earliest = {}, {}, math.huge
  for i, entry in ipairs(entries) do
    -- Later groups and streams of this name never reuse a side id: an old lease must not fit.
    entry.side = (last - #entries + i) .. '.' .. (settings[1] or ''):sub(1, 8)
    payloads[#payloads + 1] = entry.side
    payloads[#payloads + 1] = cjson.encode({ id = entry.id, fields = entry.fields })
    members[#members + 1] = asMs(entry.dueMs)
    members[#members + 1] = writeMember(entry, 'w')
    earliest = math.min(earliest, entry.dueMs)
  end
  call('HSET', keys.again, unpack(payloads))
  call('ZADD', keys.due, unpack(members))
  noteDue(keys.config, group, tonumber(settings[2] or nil), earliest)
end

-- Reads the payloads of members into entries; drops the members that have none.
-- @return the entries that have one
function readSideStore(keys, members)
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

-- The members a consumer has in hand, among the first 10,000 of all (5 ms).
function inHandOf(due, consumer, max)
  local own = {}
  for _, member in ipairs(call('ZRANGEBYSCORE', due, '-inf', '(0', 'LIMIT', 0, 10000)) do
    if #own < max and readMember(member).consumer == consumer then own[#own + 1] = member end
  end
  return own
end

-- Takes entries out of the side store.
function removeFromSideStore(keys, entries)
  if #entries == 0 then return end
  local sides, members = {}, {}
  for i, entry in ipairs(entries) do sides[i], members[i] = entry.side, entry.member end
  call('ZREM', keys.due, unpack(members))
  call('HDEL', keys.again, unpack(sides))
end
`,
);
