import { defineScript } from "../redis/script.ts";
import { deadLetters } from "./parts/dead-letter.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { orderedIds } from "./parts/ordered-id.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Moves dead letters into their group's side store, to be handed out to it again from delivery 1. One step: a message
 * is in one of the two places whenever the script is not running.
 * KEYS: stream, config, dead, again, due, dead index, clock
 * ARGV: group, reason ('': any), type ('': any), max, then 'ids' and ids, or 'range', where to begin
 * Returns { redriven, the last id looked at if there are more (else false) }. A dead letter without payload stays.
 */
export const redriveScript = defineScript(
  "redrive",
  [deadLetters, messageSize, orderedIds, pending, redisTime, sideStore],
  /* lua */ `
local keys = {
  stream = KEYS[1], config = KEYS[2], dead = KEYS[3], again = KEYS[4], due = KEYS[5], deadIndex = KEYS[6],
  clock = KEYS[7],
}
local group, reason, eventType, max = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
oldestPending(keys.stream, group)
local nowMs = redisNowMs(keys.clock, keys.stream)

local letters, last = {}, false
local step = stepSize(keys, 100)
if ARGV[5] == 'ids' then
  local lastIndex = math.min(#ARGV, 5 + step)
  for i = 6, lastIndex do letters[#letters + 1] = call('XRANGE', keys.dead, ARGV[i], ARGV[i])[1] end
  if lastIndex < #ARGV then last = ARGV[lastIndex] end
else
  letters = call('XRANGE', keys.dead, ARGV[6], '+', 'COUNT', step)
  if #letters == step then last = letters[#letters][1] end
end

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

local chosen, ids, seen = {}, {}, {}
for _, letter in ipairs(letters) do
  local meta, fields, found = originalOf(letter[2])
  local wanted = (reason == '' or meta['weir-reason'] == reason) and (eventType == '' or found == eventType)
  if #chosen < max and wanted and not seen[letter[1]] and meta['weir-reason'] ~= 'payload-missing' then
    seen[letter[1]] = true
    ids[#ids + 1] = letter[1]
    chosen[#chosen + 1] = {
      id = idOf(meta['weir-id']) or letter[1], fields = fields, deliveries = 0, consumer = '', dueMs = nowMs,
      from = 'redrive', detail = meta['weir-detail'],
    }
  end
end
addToSideStore(keys, group, chosen)
if #ids > 0 then
  call('XDEL', keys.dead, unpack(ids))
  local forgotten = {}
  for i, id in ipairs(ids) do forgotten[i] = { ordered(chosen[i].id), ordered(id) } end
  forgetDeadLetters(keys, forgotten)
end
if #chosen == max then last = false end
return reply({ #chosen, last })
`,
);
