import { definePart } from "../../redis/script.ts";

/**
 * Finds deliveries in the PEL, a bounded slice at a time.
 *
 * XPENDING without IDLE tells owner, age and delivery count of each entry in one bounded command (measured: 5,000 in
 * 3.4 ms). XPENDING with IDLE has no bound (76 ms at a million pending entries), and XAUTOCLAIM tells neither the count
 * nor, afterwards, who held the entry, which its dead letter is to say.
 *
 * What Weir itself holds (see `holders.lua.ts`) has expired, however long it has been held.
 *
 * Redis keeps when an entry was handed out, not for how long. After ackWaitMs was lowered, what had been handed out before
 * keeps its longer lease: the config's `ackWaitBefore:<group>` says `<ackWaitMs> <until when>`.
 */
export const pending = definePart(
  [
    "isHolder",
    "readCursor",
    "readAckWait",
    "leftMs",
    "decodePending",
    "oldestPending",
    "behind",
    "findExpired",
    "pendingOf",
  ],
  [],
  /* lua */ `
function isHolder(consumer) return consumer:sub(1, 6) == '@held:' end

-- Where a look goes on; from the beginning if another client wrote something else there.
function readCursor(text) return (text or ''):match('^%(?%d+%-%d+$') or '-' end

-- @param before the config's ackWaitBefore
function readAckWait(ms, before, nowMs)
  local beforeMs, untilMs = (before or ''):match('^(%d+) (%d+)$')
  return { ms = ms, beforeMs = tonumber(beforeMs or 0), untilMs = tonumber(untilMs or 0), nowMs = nowMs }
end

-- In how many ms the entry's lease ends; none are left when it has.
function leftMs(entry, ackWait)
  if isHolder(entry.consumer) then return 0 end
  local isOlder = ackWait.nowMs - entry.idleMs < ackWait.untilMs
  return (isOlder and math.max(ackWait.ms, ackWait.beforeMs) or ackWait.ms) - entry.idleMs
end

function decodePending(raw)
  return { id = raw[1], consumer = raw[2], idleMs = raw[3], deliveries = raw[4] }
end

-- The id of the oldest pending entry, or nil; raises NOGROUP without the group. The summary of XPENDING tells it too, but
-- walks through all consumers.
function oldestPending(stream, group)
  local oldest = call('XPENDING', stream, group, '-', '+', 1)[1]
  return oldest and oldest[1]
end

-- Where a look goes on behind an id; '-' where nothing can come any more: Redis refuses to look behind the greatest id.
function behind(id) return id == '18446744073709551615-18446744073709551615' and '-' or '(' .. id end

-- Finds entries whose leases have ended.
-- @param from an id, an id after '(' to start behind it, or '-' for the beginning
-- @return the entries; the next slice's cursor ('-' after the last); in how many ms another one of the slice
--         will have ended (nil: none)
function findExpired(stream, group, from, slice, ackWait)
  local pending = call('XPENDING', stream, group, from, '+', slice)
  local expired, soonestMs = {}, nil
  for _, raw in ipairs(pending) do
    local entry = decodePending(raw)
    local left = leftMs(entry, ackWait)
    if left <= 0 then
      expired[#expired + 1] = entry
    elseif not soonestMs or left < soonestMs then
      soonestMs = left
    end
  end
  return expired, #pending < slice and '-' or behind(pending[#pending][1]), soonestMs
end

-- Finds what a consumer holds, however long.
function pendingOf(stream, group, consumer, max, from)
  local own = {}
  local rows = call('XPENDING', stream, group, from or '-', '+', max, consumer)
  for i, raw in ipairs(rows) do own[i] = decodePending(raw) end
  return own
end
`,
);
