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

-- A batch's room, how many are chosen, and whether that is a last permitted delivery, which goes
-- alone. Each choice takes as much poison as one step may copy.
function newChoice(room, bytes, maxDeliveries, largestBytes)
  local poisonLeft = fitting(POISON_AT_ONCE, STEP_BYTES, largestBytes)
  return {
    room = fitting(room, bytes, largestBytes), maxDeliveries = maxDeliveries, handed = 0, alone = false,
    poisonLeft = poisonLeft,
  }
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
-- @param reading what the answer may still weigh
-- @return the entries with their payloads, and their deliveries so far; and whether some were too large for one answer and
--         are left as they were
function claim(keys, group, consumer, chosen, choice, reading)
  local claimed, earlier, taken = {}, {}, 0
  local count = #chosen > 0 and reading.next(#chosen) or 0
  while count > 0 do
    local ids, byId = {}, {}
    for i = 1, count do
      local entry = chosen[taken + i]
      ids[i], byId[entry.id] = entry.id, entry
    end
    for _, entry in ipairs(call('XCLAIM', keys.stream, group, consumer, 0, unpack(ids))) do
      claimed[#claimed + 1], earlier[#earlier + 1] = entry, byId[entry[1]].deliveries
      byId[entry[1]] = nil
      reading.add(entry[2])
    end
    for _, entry in pairs(byId) do
      entry.reason = 'payload-missing'
      deadLetter(keys, group, entry)
    end
    taken = taken + count
    count = reading.next(#chosen - taken)
  end
  choice.handed = choice.handed - (#chosen - taken)
  return claimed, earlier, taken < #chosen
end
`,
);
