import { defineScript } from "../redis/script.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Copies messages of the stream into a group's side store, to be handed to this group again, from delivery 1.
 * KEYS: stream, config, again, due, clock
 * ARGV: group, type ('': any), max messages, then 'ids' and ids, or 'range', start, end
 * Returns { replayed, the last id looked at if there are more (else false) }
 */
export const replayScript = defineScript(
  "replay",
  [messageSize, pending, redisTime, sideStore],
  /* lua */ `
local keys = { stream = KEYS[1], config = KEYS[2], again = KEYS[3], due = KEYS[4], clock = KEYS[5] }
local group, eventType, max = ARGV[1], ARGV[2], tonumber(ARGV[3])
oldestPending(keys.stream, group)
local nowMs = redisNowMs(keys.clock, keys.stream)

local entries, last = {}, false
local step = stepSize(keys, 100)
if ARGV[4] == 'ids' then
  local lastIndex = math.min(#ARGV, 4 + step)
  for i = 5, lastIndex do entries[#entries + 1] = call('XRANGE', keys.stream, ARGV[i], ARGV[i])[1] end
  if lastIndex < #ARGV then last = ARGV[lastIndex] end
else
  entries = call('XRANGE', keys.stream, ARGV[5], ARGV[6], 'COUNT', step)
  if #entries == step then last = entries[#entries][1] end
end

local function typeOf(fields)
  local found = ''
  for i = 1, #fields, 2 do
    if fields[i] == 'type' then found = fields[i + 1] end
  end
  return found
end

local chosen = {}
for _, entry in ipairs(entries) do
  if eventType == '' or typeOf(entry[2]) == eventType then
    if #chosen == max then break end
    chosen[#chosen + 1] = {
      id = entry[1], fields = entry[2], deliveries = 0, consumer = '', dueMs = nowMs, from = 'replay',
    }
  end
end
addToSideStore(keys, group, chosen)
if #chosen == max then last = false end
return reply({ #chosen, last })
`,
);
