import { defineReadingScript } from "../redis/script.ts";
import { IDS_LUA } from "./ids.ts";
import { NEEDED_LUA } from "./needed.ts";

/**
 * What a forecast of trimming needs to know, as of one moment.
 * KEYS: stream
 * Returns { length, first id or false, last id, { group, oldest entry that it is not done with or false, pending, lag or
 *           false } for each group }
 */
export const neededByGroupsScript = defineReadingScript(
  "needed-by-groups",
  IDS_LUA,
  NEEDED_LUA,
  /* lua */ `
local stream = KEYS[1]
local groups = {}
for i, group in ipairs((findNeeded(stream))) do
  -- What it needs is an id; what it waits for is the first entry from there on.
  local entry = call('XRANGE', stream, group.needed, '+', 'COUNT', 1)[1]
  groups[i] = { group.name, entry and entry[1] or false, group.pending, group.lag or false }
end
local last = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
return reply({ call('XLEN', stream), firstId(stream) or false, last and last[1] or '0-0', groups })
`,
);
