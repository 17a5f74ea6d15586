import { defineReadingScript } from "../redis/script.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Lists what waits in a group's side store, by the time at which it is due.
 * KEYS: stream, config, again, due
 * ARGV: group, max entries, score to begin at ('(0': the beginning), member to begin after ('': none)
 * Returns { { id, when it is due (ms), deliveries so far, 'retry' | 'redrive' | 'replay' | '', the consumer's words, type or
 *           false } each, score and member to go on after (absent at the end) }
 */
export const listDelayedScript = defineReadingScript(
  "list-delayed",
  [messageSize, pending, redisTime, sideStore],
  /* lua */ `
local keys = { stream = KEYS[1], config = KEYS[2], again = KEYS[3], due = KEYS[4] }
local group, max = ARGV[1], tonumber(ARGV[2])
-- For its NOGROUP alone.
oldestPending(keys.stream, group)

local function membersFrom(count)
  local rank = ARGV[4] ~= '' and call('ZRANK', keys.due, ARGV[4])
  if not rank then
    -- The last one of the page before is gone: begin with what is due at the same time.
    return call('ZRANGEBYSCORE', keys.due, ARGV[3], '(' .. asMs(INDEX.start), 'WITHSCORES', 'LIMIT', 0, count)
  end
  local found, waiting = call('ZRANGE', keys.due, rank + 1, rank + count, 'WITHSCORES'), {}
  for i = 1, #found, 2 do
    if tonumber(found[i + 1]) >= INDEX.start then break end
    waiting[i], waiting[i + 1] = found[i], found[i + 1]
  end
  return waiting
end

local count = stepSize(keys, max)
local found = membersFrom(count + 1)
local rows, sides, entries = {}, {}, {}
for i = 1, math.min(#found, 2 * count), 2 do
  local entry = readMember(found[i])
  -- Anything else is another client's.
  if entry then
    entry.dueMs = found[i + 1]
    entries[#entries + 1] = entry
    sides[#sides + 1] = entry.side
  end
end
local payloads = #sides > 0 and call('HMGET', keys.again, unpack(sides)) or {}
for i, payload in ipairs(payloads) do
  local entry = entries[i]
  -- No payload: it was acknowledged.
  if payload and readPayload(entry, payload) then
    local eventType = false
    for f = 1, #entry.fields, 2 do
      if entry.fields[f] == 'type' then eventType = entry.fields[f + 1] end
    end
    rows[#rows + 1] = { entry.id, entry.dueMs, entry.deliveries, entry.from or '', entry.detail or '', eventType }
  end
end
local last = entries[#entries]
if #found <= 2 * count or not last then return reply({ rows }) end
return reply({ rows, last.dueMs, last.member })
`,
);
