import { definePart } from "../../redis/script.ts";

/**
 * The delivery ids that a webhook source has had, in strings: 8 bytes of the stream's incarnation, then for each id 7 bytes of
 * its digest and one for the moment at which it came. See `shared/stream/delivery-ids.ts`.
 */
export const deliveries = definePart(
  ["holdsDelivery", "noteDelivery"],
  [],
  /* lua */ `
-- Of more than 65,000 ids in one string the older half is forgotten: nobody may make a script look through megabytes.
local MAX_BYTES = 512 * 1024

-- Whether the id came at that moment or later; and the string, nil where there is none of this incarnation.
function holdsDelivery(key, tag, id, oldest)
  local held = call('GET', key)
  if not held or held:sub(1, 8) ~= tag then return false, nil end
  local at = held:find(id, 9, true)
  while at do
    if at % 8 == 1 and held:byte(at + 7) >= oldest then return true, held end
    at = held:find(id, at + 1, true)
  end
  return false, held
end

function noteDelivery(key, tag, held, id, lifeMs)
  if not held then
    call('SET', key, tag .. id, 'PX', lifeMs)
  elseif #held < MAX_BYTES then
    call('APPEND', key, id)
  else
    call('SET', key, tag .. held:sub(-MAX_BYTES / 2) .. id, 'PX', lifeMs)
  end
end
`,
);
