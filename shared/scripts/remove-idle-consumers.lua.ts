import { defineScript } from "../redis/script.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Removes the consumers of a group that hold nothing and have not worked for long. One step, since removing a consumer
 * drops what it holds: between a look and a removal it might get something.
 * KEYS: stream, config, due
 * ARGV: group, min idle time in ms, now in ms (noted, so that the reaper need not look again for a while)
 * Returns how many it removed
 */
export const removeIdleConsumersScript = defineScript(
  "remove-idle-consumers",
  [redisTime, sideStore, xinfo],
  /* lua */ `
local stream, config, due, group, minIdleMs = KEYS[1], KEYS[2], KEYS[3], ARGV[1], tonumber(ARGV[2])

local hasSideStore = call('HGET', config, 'againDue:' .. group)
local function holdsOfSideStore(name)
  local score = asMs(INDEX.consumer + hashOf(name))
  return hasSideStore and call('ZCOUNT', due, score, score) > 0
end

local removed = 0
for _, info in ipairs(consumerInfos(stream, group)) do
  if info.pending == 0 and info.idle >= minIdleMs and not holdsOfSideStore(info.name) then
    call('XGROUP', 'DELCONSUMER', stream, group, info.name)
    removed = removed + 1
  end
end
call('HSET', config, 'pruned:' .. group, ARGV[3])
return reply(removed)
`,
);
