import { definePart } from "../../redis/script.ts";
import { messageSize } from "./message-size.lua.ts";
import { orderedIds } from "./ordered-id.lua.ts";

/**
 * Moves entries to a group's dead letters, in the same step that takes them off the PEL. Part of every script that may
 * meet a message with no deliveries left.
 *
 * `keys` has stream, config, dead and deadIndex, and belongs to one group in one run. The config's `deadSince:<group>` is
 * a lower bound of when they came, so that the reaper knows without a look when some have expired.
 *
 * `keys.deadIndex` is a sorted set read by text, with two members for each dead letter: `m <message id> <its id>` finds
 * those of a message, `d <its id> <message id>` the first one when it is removed. Both ids are ordered ids. Dead letters
 * of other clients, or of Weir before it had the index, are not in it.
 */
export const deadLetters = definePart(
  ["beginWriting", "checkDeadLetters", "deadLetter", "deadLetterAll", "indexDeadLetters", "forgetDeadLetters"],
  [messageSize, orderedIds],
  /* lua */ `
-- unpack takes about 7,900 values. Another client's entry may have more: kept whole, as JSON in one field.
local MAX_FIELDS = 2000

-- Lets a full Redis run what follows, so that consumers can finish and free memory. Redis refuses a command
-- for want of memory only before a script's first write: this is one, and changes nothing.
function beginWriting(keys, group)
  call('XACK', keys.stream, group, '0-0')
end

-- Raises WRONGTYPE where another client has put something else there: called before a script writes anything.
function checkDeadLetters(keys)
  call('XLEN', keys.dead)
  call('ZCARD', keys.deadIndex)
end

-- Appends a dead letter. The caller acknowledges after it, and indexes when it is done.
-- @param source id, fields (nil: payload gone), reason, deliveries, consumer, detail (if any)
function deadLetter(keys, group, source)
  local fields = source.fields or {}
  local entry = {}
  if #fields > MAX_FIELDS then
    entry = { 'weir-fields', cjson.encode(fields) }
  else
    for i = 1, #fields, 2 do
      -- Another client's fields must not pass for Weir's own, written below.
      if fields[i]:sub(1, 5) ~= 'weir-' or fields[i] == 'weir-encoding' then
        entry[#entry + 1], entry[#entry + 2] = fields[i], fields[i + 1]
      end
    end
  end
  -- Last: of a repeated field the last counts.
  for _, value in ipairs({
    'weir-id', source.id, 'weir-reason', source.reason,
    'weir-deliveries', source.deliveries, 'weir-consumer', source.consumer,
  }) do entry[#entry + 1] = value end
  if (source.detail or '') ~= '' then entry[#entry + 1], entry[#entry + 2] = 'weir-detail', source.detail end
  -- What has no payload left has left the PEL already: there is no way back, and nothing more to be lost.
  local id = (source.fields and call or try)('XADD', keys.dead, '*', unpack(entry))
  if type(id) == 'table' then return end
  local message, letter = ordered(source.id), ordered(id)
  local index = keys.newlyDead or {}
  index[#index + 1], index[#index + 2] = 'm ' .. message .. ' ' .. letter, 'd ' .. letter .. ' ' .. message
  keys.newlyDead = index
  if not keys.deadSinceNoted then
    call('HSETNX', keys.config, 'deadSince:' .. group, id:match('^%d+'))
    keys.deadSinceNoted = true
  end
end

-- Puts what deadLetter appended into the index.
function indexDeadLetters(keys)
  local index = keys.newlyDead or {}
  for first = 1, #index, 2000 do
    local scored = {}
    for i = first, math.min(first + 1999, #index) do scored[#scored + 1], scored[#scored + 2] = 0, index[i] end
    try('ZADD', keys.deadIndex, unpack(scored))
  end
  keys.newlyDead = nil
end

-- Takes dead letters off the index, at most 1,000.
-- @param pairs { ordered id of the message, ordered id of the dead letter } each
function forgetDeadLetters(keys, pairs)
  if #pairs == 0 then return end
  local index = {}
  for _, pair in ipairs(pairs) do
    index[#index + 1] = 'm ' .. pair[1] .. ' ' .. pair[2]
    index[#index + 1] = 'd ' .. pair[2] .. ' ' .. pair[1]
  end
  call('ZREM', keys.deadIndex, unpack(index))
end

-- Dead-letters entries delivered too often, in the order given, as many as one step may copy, and takes them off the PEL.
-- @return how many went, how many had no payload any more, and the first one that is left
function deadLetterAll(keys, group, entries)
  local ids, missing, bytes = {}, 0, 0
  for i, entry in ipairs(entries) do
    if bytes >= STEP_BYTES then break end
    local found = call('XRANGE', keys.stream, entry.id, entry.id)[1]
    entry.fields = found and found[2]
    entry.reason = found and 'max-deliveries' or 'payload-missing'
    if found then bytes = bytes + sizeOf(found[2]) else missing = missing + 1 end
    deadLetter(keys, group, entry)
    ids[i] = entry.id
  end
  if #ids > 0 then call('XACK', keys.stream, group, unpack(ids)) end
  return #ids - missing, missing, entries[#ids + 1]
end
`,
);
