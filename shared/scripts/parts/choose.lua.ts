import { definePart } from "../../redis/script.ts";
import { deadLetters } from "./dead-letter.lua.ts";
import { messageSize } from "./message-size.lua.ts";

/**
 * Chooses what to hand out again. A message's last permitted delivery is handed out alone: if it kills its consumer,
 * nothing else is charged.
 */
export const choose = definePart(
  ["POISON_AT_ONCE", "newChoice", "choose", "claim"],
  [deadLetters, messageSize],
  /* lua */ `
POISON_AT_ONCE = 20

-- A batch's room, how many are chosen, and whether that is a last permitted delivery, which goes alone. Each choice
-- takes as much poison as one step may copy.
function newChoice(room, maxDeliveries, largestBytes)
  local poisonLeft = fitting(POISON_AT_ONCE, STEP_BYTES, largestBytes)
  return { room = room, maxDeliveries = maxDeliveries, handed = 0, alone = false, poisonLeft = poisonLeft }
end

-- @return the entries to hand out, those with no delivery left, the first one left behind
function choose(choice, candidates)
  local maxDeliveries = choice.maxDeliveries
  local chosen, poison, left = {}, {}, nil
  for _, entry in ipairs(candidates) do
    local lastChance = maxDeliveries > 1 and entry.deliveries == maxDeliveries - 1
    if entry.deliveries >= maxDeliveries and choice.poisonLeft > 0 then
      poison[#poison + 1] = entry
      choice.poisonLeft = choice.poisonLeft - 1
    elseif entry.deliveries >= maxDeliveries or choice.alone or choice.handed >= choice.room
      or (lastChance and choice.handed > 0) then
      left = left or entry
    else
      chosen[#chosen + 1] = entry
      choice.handed = choice.handed + 1
      choice.alone = lastChance
    end
  end
  return chosen, poison, left
end

-- Charges the delivery, starts the lease, reads the payload. XCLAIM drops entries whose payload is gone
-- from its answer and the PEL: recorded in the same step.
-- @return the entries with their payloads, and their deliveries so far
function claim(keys, group, consumer, chosen)
  local claimed, earlier, ids, byId = {}, {}, {}, {}
  for i, entry in ipairs(chosen) do ids[i], byId[entry.id] = entry.id, entry end
  if #ids == 0 then return claimed, earlier end
  claimed = call('XCLAIM', keys.stream, group, consumer, 0, unpack(ids))
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
`,
);
