import { defineScript } from "../redis/script.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Deletes a message where some groups wait to hand it out again, or have handed it out from there; then, if asked, in the
 * stream.
 * KEYS: stream, then for each group: again, due
 * ARGV: id, 1 to delete it in the stream too
 * Returns in how many places it was, 1 if there may be more
 */
export const deleteMessageScript = defineScript(
  "delete-message",
  [messageSize, redisTime, sideStore],
  /* lua */ `
local id, deleted, groups = ARGV[1], 0, {}
for first = 2, #KEYS, 2 do groups[#groups + 1] = { again = KEYS[first], due = KEYS[first + 1] } end
-- A key of another type: found before anything is written.
for _, keys in ipairs(groups) do checkSideStore(keys) end

-- Payloads are read one by one: with its deliveries and last consumer, what waits leads to its member.
local bytes = 0
local function waitingEntry(keys, side)
  local payload = call('HGET', keys.again, side)
  local entry = { side = side, state = 'w', member = '' }
  bytes = bytes + #(payload or '')
  if payload and readPayload(entry, payload) then
    entry.deliveries, entry.consumer = entry.payload.deliveries, entry.payload.consumer
    if entry.deliveries then entry.member = writeMember(entry, 'w') end
  end
  entry.id = id
  return entry
end

for _, keys in ipairs(groups) do
  local entries, isKnown = inHandOfMessages(keys, { id }), {}
  for _, entry in ipairs(entries) do
    entry.state = 'h'
    isKnown[entry.side] = true
  end
  local sides = sideIdsOf(keys, id)
  for _, side in ipairs(sides) do
    if bytes >= STEP_BYTES then break end
    if not isKnown[side] then entries[#entries + 1] = waitingEntry(keys, side) end
  end
  deleted = deleted + removeFromSideStore(keys, entries)
  if #sides > 0 and #sideIdsOf(keys, id) > 0 then return reply({ deleted, 1 }) end
end
if ARGV[2] == '1' then deleted = deleted + call('XDEL', KEYS[1], id) end
return reply({ deleted, 0 })
`,
);
