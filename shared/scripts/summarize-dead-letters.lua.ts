import { defineReadingScript } from "../redis/script.ts";
import { letter } from "./parts/letter.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { pending } from "./parts/pending.lua.ts";

/**
 * Counts dead letters by their kind, from the newest on, as many as one step may read.
 * KEYS: stream, config, dead
 * ARGV: group, the upper bound of XREVRANGE, how many to look at, bytes at which a text is cut
 * Returns { how many were looked at, kinds by their newest: { reason, type, detail (false: none), count, newest id, oldest
 *         id }, the id of the oldest that was looked at if there are more (else false) }
 */
export const summarizeDeadLettersScript = defineReadingScript(
  "summarize-dead-letters",
  [letter, messageSize, pending],
  /* lua */ `
local group, from, max, maxTextBytes = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
oldestPending(KEYS[1], group)
local settings = call('HMGET', KEYS[2], 'maxMessageBytes', 'largestMessageBytes')
local reading = newReading(STEP_BYTES, largestMessage(settings[1], settings[2]), 1)
local looked, kinds, byKey, last, more = 0, {}, {}, false, false

local function cut(text) return text and text:sub(1, maxTextBytes) end

local function add(id, flat)
  local read = readLetter(flat)
  local eventType, detail = cut(read.eventType), cut(read.detail)
  local key = read.reason .. ' ' .. #(eventType or '') .. ' ' .. (eventType or '') .. (detail or '')
  local kind = byKey[key]
  if not kind then
    kind = { read.reason, eventType or false, detail or false, 0, id, id }
    byKey[key], kinds[#kinds + 1] = kind, kind
  end
  kind[4], kind[6] = kind[4] + 1, id
end

local count = reading.next(max)
while count > 0 do
  -- One more than is counted tells whether there is more.
  local page = call('XREVRANGE', KEYS[3], from, '-', 'COUNT', count + 1)
  more = #page > count
  for i = 1, math.min(#page, count) do
    local id, flat = page[i][1], page[i][2]
    reading.add(flat)
    add(id, flat)
    looked, last = looked + 1, id
  end
  if not more then break end
  from = '(' .. last
  count = reading.next(max - looked)
end
return reply({ looked, kinds, more and last })
`,
);
