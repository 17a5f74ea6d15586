/**
 * Lua that finds the deliveries whose lease has expired, a slice of the PEL at a time from a cursor.
 *
 * XPENDING without IDLE tells owner, age and delivery count of each entry in one bounded command. XAUTOCLAIM costs the
 * same for the same slice (measured: 0.4 ms for 1,000 entries), but tells neither the count nor, afterwards, who held
 * the entry, which its dead letter is to say. XPENDING with IDLE has no bound (5 ms at 100,000 pending entries).
 */
export const EXPIRED_LUA = /* lua */ `
-- @param from an id, an id after '(' to start behind it, or '-' for the beginning
-- @return the expired entries, each { id, consumer, deliveries }; the cursor for the next slice ('-' after the last)
local function findExpired(stream, group, from, slice, ackWaitMs)
  local pending = call('XPENDING', stream, group, from, '+', slice)
  local expired = {}
  for _, entry in ipairs(pending) do
    if entry[3] >= ackWaitMs then
      expired[#expired + 1] = { id = entry[1], consumer = entry[2], deliveries = entry[4] }
    end
  end
  return expired, #pending < slice and '-' or '(' .. pending[#pending][1]
end
`;
