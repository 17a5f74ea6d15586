import { defineReadingScript } from "../redis/script.ts";
import { ids } from "./parts/ids.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { needed } from "./parts/needed.lua.ts";

/**
 * What a forecast of trimming needs to know, as of one moment.
 * KEYS: stream, config
 * Returns { length, first id or false, last id, { group, oldest entry that it is not done with or false, how many entries
 *           there are from that one to the last that it was handed, 1 if there may be more, lag or false } for each group }
 */
export const neededByGroupsScript = defineReadingScript(
  "needed-by-groups",
  [ids, messageSize, needed],
  /* lua */ `
local keys = { stream = KEYS[1], config = KEYS[2] }
local stream = keys.stream
-- Entries counted per group. Counting reads payloads: together no more than a step may copy.
local counted, looked = stepSize(keys, 100), 0

-- Entries from the oldest a group needs to the last it was handed, and whether there may be more. Its
-- pending ones would not do: some are gone and, after a seek back, some are ahead.
local function handedTo(group)
  if not less(group.needed, after(group.lastDelivered)) then return {}, false end
  if looked >= STEP_BYTES then return {}, true end
  local page = call('XRANGE', stream, group.needed, group.lastDelivered, 'COUNT', counted)
  for _, entry in ipairs(page) do
    for _, text in ipairs(entry[2]) do looked = looked + #text end
  end
  return page, #page == counted
end

local groups = {}
for i, group in ipairs((findNeeded(stream))) do
  local handed, isMore = handedTo(group)
  -- It needs an id; it waits for the first entry at or after it.
  local entry = handed[1] or call('XRANGE', stream, group.needed, '+', 'COUNT', 1)[1]
  groups[i] = { group.name, entry and entry[1] or false, #handed, isMore and 1 or 0, group.lag or false }
end
local last = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
return reply({ call('XLEN', stream), firstId(stream) or false, last and last[1] or '0-0', groups })
`,
);
