import { defineScript } from "../redis/script.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { needed } from "./parts/needed.lua.ts";
import { orderedIds } from "./parts/ordered-id.lua.ts";
import { pending } from "./parts/pending.lua.ts";

/**
 * Deletes dead letters, those named or those below an id, a bounded slice at a time.
 * KEYS: stream, config, dead, dead index
 * ARGV: group, then 'ids' and ids, or 'below', id, max
 * Returns { deleted, 1 if there are more }
 */
export const deleteDeadLettersScript = defineScript(
  "delete-dead-letters",
  [deadLetters, messageSize, needed, orderedIds, pending],
  /* lua */ `
local keys = { stream = KEYS[1], config = KEYS[2], dead = KEYS[3], deadIndex = KEYS[4] }
local group = ARGV[1]
oldestPending(keys.stream, group)
-- A key of another type: found before anything is written.
call('HLEN', keys.config)
checkDeadLetters(keys)
-- Taken off the index at once.
local PAGE = 1000
local deleted, more = 0, false

-- The dead letters whose members of the index lie in a range.
local function indexed(from, to, found)
  for _, text in ipairs(call('ZRANGEBYLEX', keys.deadIndex, from, to, 'LIMIT', 0, PAGE)) do
    local letter, message = text:match('^d (%S+) (%S+)$')
    -- Anything else is another client's.
    if letter then found[#found + 1] = { message, letter } end
  end
  return found
end

if ARGV[2] == 'ids' then
  deleted = call('XDEL', keys.dead, unpack(ARGV, 3))
  local found = {}
  for i = 3, #ARGV do indexed('[d ' .. ordered(ARGV[i]) .. ' ', '(d ' .. ordered(ARGV[i]) .. '!', found) end
  forgetDeadLetters(keys, found)
else
  local settings = call('HMGET', keys.config, 'maxMessageBytes', 'largestMessageBytes')
  local largest = largestMessage(settings[1], settings[2])
  local step = fitting(100, STEP_BYTES, largest)
  -- Freeing takes time too.
  local max = math.max(step, fitting(tonumber(ARGV[4]), MAX_FREED_BYTES, largest))
  deleted, more = trimBelow(keys.dead, ARGV[3], max, true, step)
  local gone = more and firstId(keys.dead) or ARGV[3]
  for _ = 1, math.ceil(max / PAGE) do
    local found = indexed('(d ', '(d ' .. ordered(gone), {})
    forgetDeadLetters(keys, found)
    if #found < PAGE then break end
  end
end
local first = call('XRANGE', keys.dead, '-', '+', 'COUNT', 1)[1]
if first then
  call('HSET', keys.config, 'deadSince:' .. group, first[1]:match('^%d+'))
else
  call('UNLINK', keys.dead, keys.deadIndex)
  call('HDEL', keys.config, 'deadSince:' .. group)
end
return reply({ deleted, more and 1 or 0 })
`,
);
