/**
 * Lua that moves entries to a group's dead letters, in the same step that takes them off the PEL. Part of every
 * script that may meet a message with no deliveries left.
 *
 * `keys` has stream, config and dead. The config's `deadSince:<group>` is a lower bound of their age, so that the
 * reaper knows without a look when some have expired.
 */
export const DEAD_LETTER_LUA = /* lua */ `
-- unpack takes about 7,900 values; another client's entry may have more. It is kept whole as JSON in one field then.
local MOST_FIELDS = 2000
local deadSinceNoted = false

-- Lets what follows go on in a full Redis, so that consumers can finish and memory is freed: Redis refuses a command that
-- may take memory only where the script has not written before. This one writes nothing, and takes none.
local function beginWriting(keys, group)
  call('XACK', keys.stream, group, '0-0')
end

-- Appends a dead letter. The caller acknowledges after it.
-- @param source has id, fields (nil when the payload is gone), reason, deliveries, consumer and, if it said any, detail
local function deadLetter(keys, group, source)
  local fields = source.fields or {}
  local entry = {}
  if #fields > MOST_FIELDS then
    entry = { 'weir-fields', cjson.encode(fields) }
  else
    for i = 1, #fields, 2 do
      -- Weir's own names are written below: another client's fields must not pass for them.
      if fields[i]:sub(1, 5) ~= 'weir-' or fields[i] == 'weir-encoding' then
        entry[#entry + 1], entry[#entry + 2] = fields[i], fields[i + 1]
      end
    end
  end
  -- Last, since of a repeated field the last counts.
  for _, value in ipairs({
    'weir-id', source.id, 'weir-reason', source.reason,
    'weir-deliveries', source.deliveries, 'weir-consumer', source.consumer,
  }) do entry[#entry + 1] = value end
  if (source.detail or '') ~= '' then entry[#entry + 1], entry[#entry + 2] = 'weir-detail', source.detail end
  local id = call('XADD', keys.dead, '*', unpack(entry))
  if not deadSinceNoted then
    call('HSETNX', keys.config, 'deadSince:' .. group, id:match('^%d+'))
    deadSinceNoted = true
  end
end

-- Dead-letters entries that have been delivered too often, in the order given, and takes them off the PEL.
-- @return how many went for that reason, and how many had no payload any more
local function deadLetterAll(keys, group, entries)
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
`;
