/**
 * Lua that chooses what to hand out again. A message's last permitted delivery is handed out alone: if it kills its
 * consumer, nothing else is charged.
 */
export const CHOOSE_LUA = /* lua */ `
local POISON_AT_ONCE = 20
-- How many were chosen so far, and whether a last permitted delivery is among them, which is alone then.
local handed, alone = 0, false

-- @return the entries to hand out, those without a delivery left, and the first one that is left behind
local function choose(candidates, room, maxDeliveries)
  local chosen, poison, left = {}, {}, nil
  for _, entry in ipairs(candidates) do
    local lastChance = maxDeliveries > 1 and entry.deliveries == maxDeliveries - 1
    if entry.deliveries >= maxDeliveries and #poison < POISON_AT_ONCE then
      poison[#poison + 1] = entry
    elseif entry.deliveries >= maxDeliveries or alone or handed >= room or (lastChance and handed > 0) then
      left = left or entry
    else
      chosen[#chosen + 1] = entry
      handed = handed + 1
      alone = lastChance
    end
  end
  return chosen, poison, left
end

-- Charges the delivery, starts the lease and reads the payload. A payload that is gone is left out of XCLAIM's answer
-- and taken off the PEL: that is recorded in the same step.
-- @return the entries with their payloads, and their deliveries so far
local function claim(keys, group, consumer, leastIdleMs, chosen)
  local claimed, earlier, ids, byId = {}, {}, {}, {}
  for i, entry in ipairs(chosen) do ids[i], byId[entry.id] = entry.id, entry end
  if #ids == 0 then return claimed, earlier end
  claimed = call('XCLAIM', keys.stream, group, consumer, leastIdleMs, unpack(ids))
  for i, entry in ipairs(claimed) do
    earlier[i] = byId[entry[1]].deliveries
    byId[entry[1]] = nil
  end
  for _, id in ipairs(ids) do
    if byId[id] then
      byId[id].reason = 'payload-missing'
      deadLetter(keys, group, byId[id])
    end
  end
  return claimed, earlier
end
`;
