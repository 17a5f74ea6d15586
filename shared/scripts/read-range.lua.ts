import { defineReadingScript } from "../redis/script.ts";
import { messageSize } from "./parts/message-size.lua.ts";

/**
 * Reads a range of a stream of messages, as many as surely fit into one answer. COUNT cannot limit bytes, so the
 * largest message that the stream may hold does.
 * KEYS: the stream to read, config of the stream that its messages are of
 * ARGV: XRANGE or XREVRANGE, its two bounds, max entries, bytes per answer
 * Returns { entries, 1 if there is more } | { 'unknown-stream' }
 */
export const readRangeScript = defineReadingScript(
  "read-range",
  [messageSize],
  /* lua */ `
local settings = call('HMGET', KEYS[2], 'maxMessageBytes', 'largestMessageBytes')
local count = fitting(tonumber(ARGV[4]), tonumber(ARGV[5]), largestMessage(settings[1], settings[2]))
local entries = call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', count + 1)
local more = #entries > count
if more then entries[#entries] = nil end
if #entries == 0 and call('EXISTS', KEYS[1]) == 0 then return reply({ 'unknown-stream' }) end
return reply({ entries, more and 1 or 0 })
`,
);
