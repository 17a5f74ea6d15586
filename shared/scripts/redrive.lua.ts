import { defineScript } from "../redis/script.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
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
 * ARGV: group, reason ('': any), type ('': any), the consumer's words ('': any), max, 1 to count only, then 'ids' and ids, or
 *       'range', its beginning and its end
 * Returns { redriven, the last id looked at if there may be more (else false) }. A dead letter without payload stays.
 */
export const redriveScript = defineScript(
  "redrive",
  [deadLetters, messageSize, orderedIds, pending, redisTime, select, sideStore],
  /* lua */ `
local keys = {
  stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5], deadIndex = KEYS[6],
  clock = KEYS[7],
}
local group, reason, eventType, detail, max = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
oldestPending(keys.stream, group)
checkDeadLetters(keys)
checkSideStore(keys)
local nowMs = redisNowMs(keys.clock, keys.stream)
local settings = call('HMGET', keys.config, 'maxMessageBytes', 'largestMessageBytes')

-- The message: its fields without those of the dead letter.
local function originalOf(flat)
  local meta, fields, found = {}, {}, ''
  for i = 1, #flat, 2 do
    local name, value = flat[i], flat[i + 1]
    if name:sub(1, 5) == 'weir-' and name ~= 'weir-encoding' then
      meta[name] = value
    else
      fields[#fields + 1], fields[#fields + 2] = name, value
    end
  end
  if meta['weir-fields'] then
    local ok, packed = pcall(cjson.decode, meta['weir-fields'])
    if ok and type(packed) == 'table' then fields = packed end
  end
  for i = 1, #fields, 2 do
    if fields[i] == 'type' then found = fields[i + 1] end
  end
  return meta, fields, found
end

-- Another client may have written anything there.
local function idOf(text) return text and text:match('^%d+%-%d+$') end

local chosen, ids = {}, {}
local function choose(letter)
  local meta, fields, found = originalOf(letter[2])
  local isWanted = (reason == '' or meta['weir-reason'] == reason) and (eventType == '' or found == eventType)
    and (detail == '' or meta['weir-detail'] == detail)
  if not isWanted or meta['weir-reason'] == 'payload-missing' then return false end
  ids[#ids + 1] = letter[1]
  chosen[#chosen + 1] = {
    id = idOf(meta['weir-id']) or letter[1], fields = fields, deliveries = 0, consumer = '', dueMs = nowMs,
    from = 'redrive', detail = meta['weir-detail'],
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
