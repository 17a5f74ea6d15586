import { defineScript } from "../redis/script.ts";
import { position } from "./parts/position.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Moves where a group reads on. What was handed out before stays pending; what is read again starts at delivery 1, by
 * Redis' own rule.
 * KEYS: stream, config
 * ARGV: group, id to read on after ('$': the end, '0-0': the beginning)
 * Returns the id that the group has read up to now
 */
export const seekScript = defineScript(
  "seek",
  [position, xinfo],
  /* lua */ `
local stream, group, after = KEYS[1], ARGV[1], ARGV[2]
-- First, for its NOGROUP when the stream or group is missing.
call('XPENDING', stream, group)
call('XGROUP', 'SETID', stream, group, after, entriesRead({ stream = stream, config = KEYS[2] }, after))
return reply(groupInfo(stream, group)['last-delivered-id'])
`,
);
