import { defineScript } from "../redis/script.ts";

/**
 * Deletes dead letters, those named or those below an id, a bounded slice at a time.
 * KEYS: stream, config, dead
 * ARGV: group, then 'ids' and ids, or 'below', id, max
 * Returns { deleted, 1 if there are more }
 */
export const deleteDeadLettersScript = defineScript(
  "delete-dead-letters",
  [],
  /* lua */ `
local stream, config, dead = KEYS[1], KEYS[2], KEYS[3]
local group = ARGV[1]
call('XPENDING', stream, group)
local NODE = 100
local deleted, more = 0, 0
if ARGV[2] == 'ids' then
  deleted = call('XDEL', dead, unpack(ARGV, 3))
else
  local max = tonumber(ARGV[4])
  deleted = call('XTRIM', dead, 'MINID', '~', ARGV[3], 'LIMIT', max)
  -- Less than a node is left: that is done exactly.
  if deleted > max - NODE then more = 1 else deleted = deleted + call('XTRIM', dead, 'MINID', '=', ARGV[3]) end
end
local first = call('XRANGE', dead, '-', '+', 'COUNT', 1)[1]
if first then
  call('HSET', config, 'deadSince:' .. group, first[1]:match('^%d+'))
else
  call('UNLINK', dead)
  call('HDEL', config, 'deadSince:' .. group)
end
return reply({ deleted, more })
`,
);
