import { defineScript } from "../redis/script.ts";
import { pending } from "./parts/pending.lua.ts";
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
  [pending, position, xinfo],
  /* lua */ `
local keys, group, after = { stream = KEYS[1], config = KEYS[2] }, ARGV[1], ARGV[2]
-- First, for its NOGROUP when the stream or group is missing.
oldestPending(keys.stream, group)
-- A key of another type: found before anything is written.
call('HLEN', keys.config)
local info = streamInfo(keys.stream)
if setPosition(keys, 'SETID', group, after, countAt(keys, info, after)) then
  call('HSET', keys.config, 'counted:' .. group, countedAt(info, after))
else
  call('HDEL', keys.config, 'counted:' .. group)
end
return reply(groupInfo(keys.stream, group)['last-delivered-id'])
`,
);
