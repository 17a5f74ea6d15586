import { definePart } from "../../redis/script.ts";

/**
 * How many messages fit into so many bytes. COUNT cannot limit bytes, so the largest message that a stream may hold does:
 * its `maxMessageBytes`, or what that has been before it was lowered (`largestMessageBytes`).
 */
export const messageSize = definePart(
  [
    "DEFAULT_MAX_MESSAGE_BYTES",
    "STEP_BYTES",
    "ANSWER_BYTES",
    "MAX_FREED_BYTES",
    "largestMessage",
    "fitting",
    "stepSize",
    "sizeOf",
    "newReading",
  ],
  [],
  /* lua */ `
DEFAULT_MAX_MESSAGE_BYTES = 65536
-- What one step may copy: Redis must not be held up, however large messages are (written as JSON: 8 ms a MiB).
STEP_BYTES = 2 * 1024 * 1024
-- What one step answers: each payload goes from Redis into Lua and back (7 ms a MiB).
ANSWER_BYTES = 3 * 1024 * 1024
-- What one step frees at most.
MAX_FREED_BYTES = 128 * 1024 * 1024
-- What reading a name or a value takes besides its bytes (0.15 us), as bytes: another client's entry may have thousands.
local TEXT_BYTES = 24

-- Both settings as HMGET answers them.
function largestMessage(maxMessageBytes, largestMessageBytes)
  return math.max(1, numberOf(maxMessageBytes, DEFAULT_MAX_MESSAGE_BYTES), numberOf(largestMessageBytes, 0))
end

-- At least one: large messages must move too.
function fitting(max, bytes, largest) return math.max(1, math.min(max, math.floor(bytes / largest))) end

-- How many messages one step may copy.
function stepSize(keys, max)
  local settings = call('HMGET', keys.config, 'maxMessageBytes', 'largestMessageBytes')
  return fitting(max, STEP_BYTES, largestMessage(settings[1], settings[2]))
end

function sizeOf(fields)
  local bytes = 0
  for _, text in ipairs(fields) do bytes = bytes + #text end
  return bytes
end

-- Reads as many entries as fit into so many bytes. Those of another client may be larger than the settings say: few are
-- read at first, then more by what they weighed.
-- @param largest what the settings say; first: how many to read at first
-- @return an object: next(wanted) says how many to read now (0: no more), add(fields) notes one that was read, isFull()
--         tells whether another one of the largest size would be too much
function newReading(bytes, largest, first)
  local reading, used, count = {}, 0, first
  function reading.next(wanted)
    local fits = math.floor((bytes - used) / largest)
    -- The largest that there may be are more than a step takes: one by one, while they are not.
    if used < bytes / 4 then fits = math.max(1, fits) end
    local now = math.max(0, math.min(wanted, count, fits))
    count = count * 16
    return now
  end
  function reading.isFull() return used >= bytes / 4 and bytes - used < largest end
  function reading.add(fields)
    local size = sizeOf(fields) + #fields * TEXT_BYTES
    used, largest = used + size, math.max(largest, size)
  end
  return reading
end
`,
);
