import { definePart } from "../../redis/script.ts";

/** Redis' own time: Workers' clocks may differ. */
export const redisTime = definePart(
  ["redisNowMs", "asMs"],
  [],
  /* lua */ `
function redisNowMs()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Milliseconds as text: tostring() would write them as 1.69e+12.
function asMs(ms) return string.format('%.0f', ms) end
`,
);
