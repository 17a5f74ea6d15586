import { definePart } from "../../redis/script.ts";

/**
 * Redis' own time: Workers' clocks may differ. Upstash may refuse TIME in scripts, and a script may not depend on it:
 * what is left of the life of a key that ends at a known time tells the same, by a command that reads.
 */
export const redisTime = definePart(
  ["redisNowMs", "asMs"],
  [],
  /* lua */ `
-- The year 3000.
local CLOCK_ENDS_MS = 32503680000000

-- @param clock a key of its own for each stream, made where it is missing and the stream is there; else this raises
function redisNowMs(clock, stream)
  local left = call('PTTL', clock)
  if left < 0 then
    call('XINFO', 'GROUPS', stream)
    -- Refused where Redis is full: then TIME may still be there.
    local made = try('SET', clock, '', 'PXAT', asMs(CLOCK_ENDS_MS))
    if type(made) == 'table' and made.err then
      local time = try('TIME')
      if time.err then error(made) end
      return time[1] * 1000 + math.floor(time[2] / 1000)
    end
    left = call('PTTL', clock)
  end
  return CLOCK_ENDS_MS - left
end

-- Milliseconds as text: tostring() would write them as 1.69e+12.
function asMs(ms) return string.format('%.0f', ms) end
`,
);
