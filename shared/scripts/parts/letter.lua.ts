import { definePart } from "../../redis/script.ts";

/** Reads a dead letter as it lies in its stream: what it is about, and the message. */
export const letter = definePart(
  ["readLetter"],
  [],
  /* lua */ `
local REASONS = { ['max-deliveries'] = true, rejected = true, ['payload-missing'] = true, trimmed = true }

-- Another client may have written anything there.
local function textOrNil(value)
  if type(value) == 'string' and value ~= '' then return value end
end

-- Redrive's filters and the summary must agree on what a kind is, so both read it here.
-- @param flat the entry's fields
-- @return { id of the message, if there is one; reason ('unknown': none of Weir's), eventType and detail (nil: none, or
--         empty), fields of the message }
function readLetter(flat)
  local meta, fields, eventType = {}, {}, nil
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
    if fields[i] == 'type' then eventType = fields[i + 1] end
  end
  local reason, id = meta['weir-reason'], meta['weir-id']
  return {
    id = id and id:match('^%d+%-%d+$'), reason = REASONS[reason] and reason or 'unknown',
    eventType = textOrNil(eventType), detail = textOrNil(meta['weir-detail']), fields = fields,
  }
end
`,
);
