import { definePart } from "../../redis/script.ts";
import { messageSize } from "./message-size.lua.ts";
import { needed } from "./needed.lua.ts";

/** Room for messages in a stream whose length is limited and that keeps what its groups are not done with. */
export const room = definePart(
  ["lengthLimit", "makeRoom"],
  [messageSize, needed],
  /* lua */ `
-- Trims a little more than needed: the next requests need not.
local SPARE_PART, MAX_SPARE = 0.1, 100

-- Both settings as HMGET answers them. @return nil where appending need not look at the length
function lengthLimit(maxLength, unfinished)
  local limit = (unfinished or 'keep') == 'keep' and numberOf(maxLength)
  return limit and limit >= 1 and limit or nil
end

-- Trims what all groups are done with where so many more do not fit.
-- @param most the largest message that there may be
-- @return how many fit, and the group that holds back more
function makeRoom(stream, maxLength, count, most)
  local length = call('XLEN', stream)
  if length == 0 or length + count <= maxLength then return count end
  local groups, watermark = findNeeded(stream)
  local spare = math.min(MAX_SPARE, math.floor(maxLength * SPARE_PART))
  local took, more = trimToLength(stream, math.max(0, maxLength - count - spare), watermark,
    fitting(10000, MAX_FREED_BYTES, most), true, fitting(100, STEP_BYTES, most))
  length = length - took
  if length == 0 or length + count <= maxLength or more then return count end
  for _, group in ipairs(groups) do
    if group.needed == watermark then return math.max(0, maxLength - length), group.name end
  end
  return count
end
`,
);
