import { definePart } from "../../redis/script.ts";

/**
 * Moves entries to a group's dead letters, in the same step that takes them off the PEL. Part of every script that may
 * meet a message with no deliveries left.
 *
 * `keys` has stream, config and dead, and belongs to one group in one run. The config's `deadSince:<group>` is a lower
 * bound of when they came, so that the reaper knows without a look when some have expired.
 */
export const deadLetters = definePart(
  ["beginWriting", "deadLetter", "deadLetterAll"],
  [],
  /* lua */ `
-- unpack takes about 7,900 values. Another client's entry may have more: kept whole, as JSON in one field.
local MAX_FIELDS = 2000

-- Lets a full Redis run what follows, so that consumers can finish and free memory. Redis refuses a command
-- for want of memory only before a script's first write: this is one, and changes nothing.
function beginWriting(keys, group)
  call('XACK', keys.stream, group, '0-0')
end

-- Appends a dead letter. The caller acknowledges after it.
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
  local id = call('XADD', keys.dead, '*', unpack(entry))
  if not keys.deadSinceNoted then
    call('HSETNX', keys.config, 'deadSince:' .. group, id:match('^%d+'))
    keys.deadSinceNoted = true
  end
end

-- Dead-letters entries delivered too often, in the order given, and takes them off the PEL.
-- @return how many went, and how many had no payload any more
function deadLetterAll(keys, group, entries)
  local ids, missing = {}, 0
  for i, entry in ipairs(entries) do
    local found = call('XRANGE', keys.stream, entry.id, entry.id)[1]
    entry.fields = found and found[2]
    entry.reason = found and 'max-deliveries' or 'payload-missing'
    if not found then missing = missing + 1 end
    deadLetter(keys, group, entry)
    ids[i] = entry.id
  end
  if #ids > 0 then call('XACK', keys.stream, group, unpack(ids)) end
  return #ids - missing, missing
end
`,
);
