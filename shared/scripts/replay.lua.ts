import { defineScript } from "../redis/script.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { select } from "./parts/select.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Copies messages of the stream into a group's side store, to be handed to this group again, from delivery 1.
 * KEYS: stream, config, again, due, clock
 * ARGV: group, type ('': any), max messages, 1 to count only, then 'ids' and ids, or 'range', start, end
 * Returns { replayed, the last id looked at if there may be more (else false) }
 */
export const replayScript = defineScript(
  "replay",
  [messageSize, pending, redisTime, select, sideStore],
  /* lua */ `
local keys = { stream = KEYS[1], config = KEYS[2], again = KEYS[3], due = KEYS[4], clock = KEYS[5] }
local group, eventType, max = ARGV[1], ARGV[2], tonumber(ARGV[3])
oldestPending(keys.stream, group)
checkSideStore(keys)
local nowMs = redisNowMs(keys.clock, keys.stream)
local settings = call('HMGET', keys.config, 'maxMessageBytes', 'largestMessageBytes')

local function typeOf(fields)
  local found = ''
  for i = 1, #fields, 2 do
    if fields[i] == 'type' then found = fields[i + 1] end
  end
  return found
end

local chosen = {}
local function choose(entry)
  if eventType ~= '' and typeOf(entry[2]) ~= eventType then return false end
  chosen[#chosen + 1] = {
    id = entry[1], fields = entry[2], deliveries = 0, consumer = '', dueMs = nowMs, from = 'replay',
  }
  return #chosen == max
end
local last = selectEntries(keys.stream, { unpack(ARGV, 5) }, largestMessage(settings[1], settings[2]), choose)
if ARGV[4] ~= '1' then addToSideStore(keys, group, chosen) end
return reply({ #chosen, last })
`,
);
