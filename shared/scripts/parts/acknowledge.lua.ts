import { definePart } from "../../redis/script.ts";
import { sideStore } from "./side-store.lua.ts";

/**
 * Acknowledges deliveries inside a script, where the caller does not know which group of that name it is: what another one,
 * deleted since, has handed out is not this one's to acknowledge.
 */
export const acknowledge = definePart(
  ["acknowledge"],
  [sideStore],
  /* lua */ `
-- @param json list of { id, side id or '', deliveries, consumer, incarnation of the group or '' }; '': none
-- @param incarnation of the group that is there, or false
-- @return how many were pending, and the numbers (from 0) of those that are not of this group
function acknowledge(keys, group, json, incarnation)
  local ids, aside, foreign = {}, {}, {}
  for i, raw in ipairs(json ~= '' and cjson.decode(json) or {}) do
    local item = { id = raw[1], side = raw[2], deliveries = raw[3], consumer = raw[4], state = 'h' }
    if raw[5] ~= '' and raw[5] ~= incarnation then
      foreign[#foreign + 1] = i - 1
    elseif item.side == '' then
      ids[#ids + 1] = item.id
    else
      item.member = writeMember(item, 'h')
      aside[#aside + 1] = item
    end
  end
  -- A key of another type: found before anything is written.
  if #aside > 0 then checkSideStore(keys) end
  local acked = #ids > 0 and call('XACK', keys.stream, group, unpack(ids)) or 0
  return acked + removeFromSideStore(keys, aside), foreign
end
`,
);
