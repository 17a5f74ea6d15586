import { defineReadingScript } from "../redis/script.ts";
import { IDS_LUA } from "./ids.ts";
import { NEEDED_LUA } from "./needed.ts";

/**
 * What a forecast of trimming needs to know, as of one moment.
 * KEYS: stream
 * Returns { length, first id or false, last id, { group, oldest entry that it is not done with or false, how many entries
 *           there are from that one to the last that it was handed (at most COUNTED), 1 if there may be more, lag or false }
 *           for each group }
 */
export const neededByGroupsScript = defineReadingScript(
  "needed-by-groups",
  IDS_LUA,
  NEEDED_LUA,
  /* lua */ `
-- Entries that are counted per group: they are read with their payloads.
local COUNTED = 100

local stream = KEYS[1]
local groups = {}
for i, group in ipairs((findNeeded(stream))) do
  -- What it needs is an id; what it waits for is the first entry from there on.
  local entry = call('XRANGE', stream, group.needed, '+', 'COUNT', 1)[1]
  -- Counted, since the figure of pending ones counts entries that are gone, too, and after a seek back those ahead.
  local open = {}
  if less(group.needed, after(group.lastDelivered)) then
    open = call('XRANGE', stream, group.needed, group.lastDelivered, 'COUNT', COUNTED)
  end
  groups[i] = { group.name, entry and entry[1] or false, #open, #open == COUNTED and 1 or 0, group.lag or false }
end
local last = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
return reply({ call('XLEN', stream), firstId(stream) or false, last and last[1] or '0-0', groups })
`,
);
