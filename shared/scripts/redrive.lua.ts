import { defineScript } from "../redis/script.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { letter } from "./parts/letter.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { orderedIds } from "./parts/ordered-id.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { select } from "./parts/select.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Moves dead letters into their group's side store, to be handed out to it again from delivery 1. One step: a message
 * is in one of the two places whenever the script is not running.
 * KEYS: stream, config, dead, again, due, dead index, clock
 * ARGV: group, reason ('': any), type and the consumer's words ('': any, 'none', or '=' and the text), max, 1 to count only,
 *       then 'ids' and ids, or 'range', its beginning and its end
 * Returns { redriven, the last id looked at if there may be more (else false) }. A dead letter without payload stays.
 */
export const redriveScript = defineScript(
  "redrive",
  [deadLetters, letter, messageSize, orderedIds, pending, redisTime, select, sideStore],
  /* lua */ `
local keys = {
  stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5], deadIndex = KEYS[6],
  clock = KEYS[7],
}
local group, reason, max = ARGV[1], ARGV[2], tonumber(ARGV[5])
oldestPending(keys.stream, group)
checkDeadLetters(keys)
checkSideStore(keys)
local nowMs = redisNowMs(keys.clock, keys.stream)
local settings = call('HMGET', keys.config, 'maxMessageBytes', 'largestMessageBytes')

-- '': any, 'none', or '=' and the text.
local function filter(text)
  local wanted = text:sub(2)
  return function(value)
    if text == '' then return true end
    if text == 'none' then return value == nil end
    return value == wanted
  end
end
local fitsType, fitsDetail = filter(ARGV[3]), filter(ARGV[4])

local chosen, ids = {}, {}
local function choose(entry)
  local letter = readLetter(entry[2])
  local isWanted = (reason == '' or letter.reason == reason) and fitsType(letter.eventType) and fitsDetail(letter.detail)
  if not isWanted or letter.reason == 'payload-missing' then return false end
  ids[#ids + 1] = entry[1]
  chosen[#chosen + 1] = {
    id = letter.id or entry[1], fields = letter.fields, deliveries = 0, consumer = '', dueMs = nowMs,
    from = 'redrive', detail = letter.detail,
  }
  return #chosen == max
end
local last = selectEntries(keys.dead, { unpack(ARGV, 7) }, largestMessage(settings[1], settings[2]), choose)
if ARGV[6] == '1' then return reply({ #chosen, last }) end
addToSideStore(keys, group, chosen)
if #ids > 0 then
  call('XDEL', keys.dead, unpack(ids))
  local forgotten = {}
  for i, id in ipairs(ids) do forgotten[i] = { ordered(chosen[i].id), ordered(id) } end
  forgetDeadLetters(keys, forgotten)
end
return reply({ #chosen, last })
`,
);
