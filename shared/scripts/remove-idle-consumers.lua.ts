import { defineScript } from "../redis/script.ts";

/**
 * Removes the consumers of a group that hold nothing and have not worked for long. One step, since removing a consumer
 * drops what it holds: between a look and a removal it might get something.
 * KEYS: stream, config
 * ARGV: group, least idle time in ms, now in ms (noted, so that the reaper need not look again for a while)
 * Returns how many it removed
 */
export const removeIdleConsumersScript = defineScript(
  "remove-idle-consumers",
  /* lua */ `
local stream, group, leastIdleMs = KEYS[1], ARGV[1], tonumber(ARGV[2])
local removed = 0
for _, info in ipairs(call('XINFO', 'CONSUMERS', stream, group)) do
  local name, pending, idleMs = info[2], info[4], info[6]
  if pending == 0 and idleMs >= leastIdleMs then
    call('XGROUP', 'DELCONSUMER', stream, group, name)
    removed = removed + 1
  end
end
call('HSET', KEYS[2], 'pruned:' .. group, ARGV[3])
return reply(removed)
`,
);
