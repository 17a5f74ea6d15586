import { definePart } from "../../redis/script.ts";
import { ids } from "./ids.lua.ts";
import { messageSize } from "./message-size.lua.ts";

/** Goes through entries of a stream, those named or those of a range, a bounded part of them in one step. */
export const select = definePart(
  ["selectEntries"],
  [ids, messageSize],
  /* lua */ `
-- Entries that one step looks at.
local MAX_LOOK = 500

-- @param key of the stream; selection: 'ids' and ids, or 'range', its beginning and its end
-- @param largest how large an entry may be; onEntry is told each, and says whether it wants no more
-- @return the last id looked at, if there may be more behind it; else false
function selectEntries(key, selection, largest, onEntry)
  local reading = newReading(STEP_BYTES, largest, 1)
  if selection[1] == 'ids' then
    for i = 2, #selection do
      if i > MAX_LOOK + 1 or reading.isFull() then return selection[i - 1] end
      local entry = call('XRANGE', key, selection[i], selection[i])[1]
      if entry then
        reading.add(entry[2])
        if onEntry(entry) then return i < #selection and selection[i] end
      end
    end
    return false
  end
  local from, looked = selection[2], 0
  local count = reading.next(MAX_LOOK)
  while count > 0 do
    local page = call('XRANGE', key, from, selection[3], 'COUNT', count)
    for _, entry in ipairs(page) do
      reading.add(entry[2])
      if onEntry(entry) then return entry[1] end
    end
    -- Redis refuses to look behind the greatest id.
    if #page < count or page[#page][1] == NO_LIMIT then return false end
    from, looked = '(' .. page[#page][1], looked + #page
    count = reading.next(MAX_LOOK - looked)
  end
  return from:sub(2)
end
`,
);
