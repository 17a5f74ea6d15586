import { defineScript } from "../redis/script.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Deletes a message where some groups wait to hand it out again, or have handed it out from there.
 * KEYS: for each group: again, due
 * Returns how many there were
 */
export const deleteMessageScript = defineScript(
  "delete-message",
  [redisTime, sideStore],
  /* lua */ `
local id, deleted = ARGV[1], 0
for first = 1, #KEYS, 2 do
  local keys = { again = KEYS[first], due = KEYS[first + 1] }
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
return reply(deleted)
`,
);
