import { definePart } from "../../redis/script.ts";
import { deadLetters } from "./dead-letter.lua.ts";

/**
 * Puts entries into holders of Weir's own: uncharged, and to be handed out at once. Their names start with `@held:`,
 * which no client can choose.
 */
export const holders = definePart(
  ["HOLDER_MAX", "isHolder", "countPending", "moveTo", "hold"],
  [deadLetters],
  /* lua */ `
local HOLDER = '@held:'
-- Upstash allows about 1,000 pending entries per consumer.
HOLDER_MAX = 1000
-- Longer than any ackWaitMs: what is held has expired, whatever the settings become.
local HELD_IDLE_MS = 13 * 3600 * 1000

function isHolder(consumer) return consumer:sub(1, #HOLDER) == HOLDER end

-- Pending entries of each consumer, and in all.
function countPending(stream, group)
  local counts, all, held = {}, 0, 0
  for _, pair in ipairs(call('XPENDING', stream, group)[4] or {}) do
    local count = tonumber(pair[2])
    counts[pair[1]] = count
    all = all + count
    if isHolder(pair[1]) then held = held + count end
  end
  return counts, all, held
end

-- Moves entries to a consumer without charging a delivery. XCLAIM drops entries whose payload is gone
-- from its answer and the PEL: recorded.
-- @return how many payloads were missing
function moveTo(keys, group, consumer, idleMs, entries)
  local ids, byId = {}, {}
  for i, entry in ipairs(entries) do ids[i], byId[entry.id] = entry.id, entry end
  local claim = { 'XCLAIM', keys.stream, group, consumer, 0, unpack(ids) }
  for _, option in ipairs({ 'IDLE', idleMs, 'JUSTID' }) do claim[#claim + 1] = option end
  local moved = call(unpack(claim))
  for _, id in ipairs(moved) do byId[id] = nil end
  for _, entry in pairs(byId) do
    entry.reason = 'payload-missing'
    deadLetter(keys, group, entry)
  end
  return #ids - #moved
end

-- Puts entries into holders that have room.
-- @return how many payloads were missing
function hold(keys, group, entries, counts)
  local at, number, missing = 1, 0, 0
  while at <= #entries do
    local holder = HOLDER .. number
    local last = math.min(#entries, at + HOLDER_MAX - (counts[holder] or 0) - 1)
    if last >= at then
      missing = missing + moveTo(keys, group, holder, HELD_IDLE_MS, { unpack(entries, at, last) })
      counts[holder] = (counts[holder] or 0) + last - at + 1
      at = last + 1
    end
    number = number + 1
  end
  return missing
end
`,
);
