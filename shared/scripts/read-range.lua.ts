import { defineReadingScript } from "../redis/script.ts";

/**
 * Reads a range of a stream of messages, as many as surely fit into one answer. COUNT cannot limit bytes, so the
 * largest message that the stream may hold does.
 * KEYS: the stream to read, config of the stream that its messages are of
 * ARGV: XRANGE or XREVRANGE, its two bounds, most entries, bytes per answer, default of maxMessageBytes
 * Returns { entries, 1 if there is more } | { 'unknown-stream' }
 */
export const readRangeScript = defineReadingScript(
  "read-range",
  /* lua */ `
local settings = call('HMGET', KEYS[2], 'maxMessageBytes', 'largestMessageBytes')
local maxMessageBytes = math.max(tonumber(settings[1] or ARGV[6]), tonumber(settings[2] or 0))
local count = math.max(1, math.min(tonumber(ARGV[4]), math.floor(tonumber(ARGV[5]) / maxMessageBytes)))
local entries = call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', count + 1)
local more = #entries > count
if more then entries[#entries] = nil end
if #entries == 0 and call('EXISTS', KEYS[1]) == 0 then return reply({ 'unknown-stream' }) end
return reply({ entries, more and 1 or 0 })
`,
);
