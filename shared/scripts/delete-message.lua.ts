import { defineScript } from "../redis/script.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Deletes a message where some groups wait to hand it out again, or have handed it out from there; then, if asked, in the
 * stream.
 * KEYS: stream, then for each group: again, due
 * ARGV: id, 1 to delete it in the stream too
 * Returns in how many places it was
 */
export const deleteMessageScript = defineScript(
  "delete-message",
  [redisTime, sideStore],
  /* lua */ `
local id, deleted, groups = ARGV[1], 0, {}
for first = 2, #KEYS, 2 do groups[#groups + 1] = { again = KEYS[first], due = KEYS[first + 1] } end
-- A key of another type: found before anything is written.
for _, keys in ipairs(groups) do checkSideStore(keys) end
for _, keys in ipairs(groups) do
  local entries = inHandOfMessages(keys, { id })
  local isKnown = {}
  for _, entry in ipairs(entries) do
    entry.state = 'h'
    isKnown[entry.side] = true
  end
  local sides = {}
  for _, side in ipairs(sideIdsOf(keys, id)) do
    if not isKnown[side] then sides[#sides + 1] = side end
  end
  -- With its deliveries and last consumer, what waits leads to its member.
  for i, payload in ipairs(#sides > 0 and call('HMGET', keys.again, unpack(sides)) or {}) do
    local entry = { side = sides[i], state = 'w', member = '' }
    if payload and readPayload(entry, payload) then
      entry.deliveries, entry.consumer = entry.payload.deliveries, entry.payload.consumer
      if entry.deliveries then entry.member = writeMember(entry, 'w') end
    end
    entry.id = id
    entries[#entries + 1] = entry
  end
  deleted = deleted + removeFromSideStore(keys, entries)
end
if ARGV[2] == '1' then deleted = deleted + call('XDEL', KEYS[1], id) end
return reply(deleted)
`,
);
