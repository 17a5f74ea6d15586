import { definePart } from "../../redis/script.ts";
import { deadLetters } from "./dead-letter.lua.ts";
import { pending } from "./pending.lua.ts";

/**
 * Puts entries into holders of Weir's own: uncharged, and to be handed out at once. Their names are `@held:<number>`,
 * which no client can choose, and all that says that an entry is held: nothing but JUSTID is asked of XCLAIM and
 * XAUTOCLAIM, since Upstash's documents disagree about the other options.
 *
 * The config's `held:<group>` says `<first> <last>`, the holders that may have something; none without it.
 */
export const holders = definePart(
  ["HOLDER_MAX", "countPending", "openHolders", "readHolders", "writeHolders", "moveTo", "hold", "holdRun"],
  [deadLetters, pending],
  /* lua */ `
local HOLDER = '@held:'
-- Upstash allows about 1,000 pending entries per consumer.
HOLDER_MAX = 1000

-- Pending entries of each consumer, and in all; which holders have some. Walks through all consumers.
function countPending(stream, group)
  local counts, all, held, first, last = {}, 0, 0, nil, nil
  for _, pair in ipairs(call('XPENDING', stream, group)[4] or {}) do
    local count = tonumber(pair[2])
    counts[pair[1]] = count
    all = all + count
    if isHolder(pair[1]) then
      held = held + count
      local number = tonumber(pair[1]:match('^@held:(%d+)$') or nil)
      if number then first, last = math.min(first or number, number), math.max(last or number, number) end
    end
  end
  return { counts = counts, all = all, held = held, first = first, last = last }
end

-- @return the first and the last holder that may have something; nil: none
function readHolders(text)
  local first, last = (text or ''):match('^(%d+) (%d+)$')
  if first then return tonumber(first), tonumber(last) end
end

-- The holders as hold and holdRun need them, without counting all that is pending.
-- @param held the config's held
function openHolders(keys, group, held)
  local first, last = readHolders(held)
  local holder = HOLDER .. (last or 0)
  local rows = call('XPENDING', keys.stream, group, '-', '+', HOLDER_MAX, holder)
  return { counts = { [holder] = #rows }, first = first, last = last }
end

function writeHolders(keys, group, first, last)
  if first and first <= last then
    call('HSET', keys.config, 'held:' .. group, first .. ' ' .. last)
  else
    call('HDEL', keys.config, 'held:' .. group)
  end
end

-- What had no payload left is recorded: Redis has taken it off the PEL already.
local function recordMissing(keys, group, entries)
  local missing = 0
  for _, entry in pairs(entries) do
    entry.reason = 'payload-missing'
    deadLetter(keys, group, entry)
    missing = missing + 1
  end
  return missing
end

-- Moves entries to a consumer without charging a delivery.
-- @return how many payloads were missing
function moveTo(keys, group, consumer, entries)
  if #entries == 0 then return 0 end
  local byId = {}
  local claim = { 'XCLAIM', keys.stream, group, consumer, 0 }
  for _, entry in ipairs(entries) do
    byId[entry.id] = entry
    claim[#claim + 1] = entry.id
  end
  claim[#claim + 1] = 'JUSTID'
  for _, id in ipairs(call(unpack(claim))) do byId[id] = nil end
  return recordMissing(keys, group, byId)
end

-- Gives each holder as many of the entries as it has room for.
-- @param pending what countPending or openHolders found; kept up to date
local function share(entries, pending, take)
  local at, missing = 1, 0
  pending.first = pending.first or 0
  pending.last = pending.last or 0
  while at <= #entries do
    local holder = HOLDER .. pending.last
    local room = HOLDER_MAX - (pending.counts[holder] or 0)
    if room <= 0 then
      pending.last = pending.last + 1
    else
      local last = math.min(#entries, at + room - 1)
      missing = missing + take(holder, { unpack(entries, at, last) })
      pending.counts[holder] = (pending.counts[holder] or 0) + last - at + 1
      at = last + 1
    end
  end
  return missing
end

-- Puts entries into holders that have room.
-- @return how many payloads were missing
function hold(keys, group, entries, pending)
  return share(entries, pending, function(holder, some) return moveTo(keys, group, holder, some) end)
end

-- The same for entries that follow one another in the PEL, in one command for each holder, which tells deleted ids.
-- @param holder the one to put them into; nil: those that have room
function holdRun(keys, group, run, pending, holder)
  local function take(name, some)
    local byId, minIdleMs = {}, math.huge
    for _, entry in ipairs(some) do
      byId[entry.id] = entry
      minIdleMs = math.min(minIdleMs, entry.idleMs)
    end
    local claimed = call('XAUTOCLAIM', keys.stream, group, name, minIdleMs, some[1].id, 'COUNT', #some, 'JUSTID')
    for _, id in ipairs(claimed[2]) do byId[id] = nil end
    return recordMissing(keys, group, byId)
  end
  if holder then return take(holder, run) end
  return share(run, pending, take)
end
`,
);
