import { defineReadingScript } from "../redis/script.ts";
import { messageSize } from "./parts/message-size.lua.ts";

/**
 * Reads a range of a stream of messages, as many as one answer may weigh.
 * KEYS: the stream to read, config of the stream that its messages are of
 * ARGV: XRANGE or XREVRANGE, its two bounds, max entries
 * Returns { entries, 1 if there is more } | { 'unknown-stream' }
 */
export const readRangeScript = defineReadingScript(
  "read-range",
  [messageSize],
  /* lua */ `
local settings = call('HMGET', KEYS[2], 'maxMessageBytes', 'largestMessageBytes')
local reading = newReading(ANSWER_BYTES, largestMessage(settings[1], settings[2]), 64)
local from, to, max, entries, more = ARGV[2], ARGV[3], tonumber(ARGV[4]), {}, false

local count = reading.next(max)
while count > 0 do
  -- One more than is answered tells whether there is more.
  local page = call(ARGV[1], KEYS[1], from, to, 'COUNT', count + 1)
  more = #page > count
  for i = 1, math.min(#page, count) do
    entries[#entries + 1] = page[i]
    reading.add(page[i][2])
  end
  if not more then break end
  from = page[count + 1][1]
  count = reading.next(max - #entries)
end
if #entries == 0 and call('EXISTS', KEYS[1]) == 0 then return reply({ 'unknown-stream' }) end
return reply({ entries, more and 1 or 0 })
`,
);
