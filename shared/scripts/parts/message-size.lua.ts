import { definePart } from "../../redis/script.ts";

/**
 * How many messages fit into so many bytes. COUNT cannot limit bytes, so the largest message that a stream may hold does:
 * its `maxMessageBytes`, or what that has been before it was lowered (`largestMessageBytes`).
 */
export const messageSize = definePart(
  ["DEFAULT_MAX_MESSAGE_BYTES", "STEP_BYTES", "largestMessage", "fitting", "stepSize"],
  [],
  /* lua */ `
DEFAULT_MAX_MESSAGE_BYTES = 65536
-- What one step may copy: Redis must not be held up, however large messages are.
STEP_BYTES = 4 * 1024 * 1024

-- Both settings as HMGET answers them.
function largestMessage(maxMessageBytes, largestMessageBytes)
  return math.max(tonumber(maxMessageBytes or DEFAULT_MAX_MESSAGE_BYTES), tonumber(largestMessageBytes or 0))
end

-- At least one: large messages must move too.
function fitting(max, bytes, largest) return math.max(1, math.min(max, math.floor(bytes / largest))) end

-- How many messages one step may copy.
function stepSize(keys, max)
  local settings = call('HMGET', keys.config, 'maxMessageBytes', 'largestMessageBytes')
  return fitting(max, STEP_BYTES, largestMessage(settings[1], settings[2]))
end
`,
);
