import { defineScript } from "../redis/script.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * Removes consumers that were seen idle and with nothing in hand, if they still hold nothing. Looked at again here, since
 * removing a consumer drops what it holds: between a look and a removal it might get something.
 * KEYS: stream, config, due
 * ARGV: group, now in ms where these are the last ones (noted, so that the reaper need not look again for a while) or '',
 *       the consumers
 * Returns how many it removed
 */
export const removeIdleConsumersScript = defineScript(
  "remove-idle-consumers",
  [pending, redisTime, sideStore],
  /* lua */ `
local stream, config, due, group = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
-- For its NOGROUP alone: nothing may be noted of a group that is gone.
oldestPending(stream, group)
local hasSideStore = call('HGET', config, 'againDue:' .. group)
local function holdsNothing(name)
  if call('XPENDING', stream, group, '-', '+', 1, name)[1] then return false end
  local score = asMs(INDEX.consumer + hashOf(name))
  return not hasSideStore or call('ZCOUNT', due, score, score) == 0
end

local removed = 0
for i = 3, #ARGV do
  if holdsNothing(ARGV[i]) then
    call('XGROUP', 'DELCONSUMER', stream, group, ARGV[i])
    removed = removed + 1
  end
end
if ARGV[2] ~= '' then call('HSET', config, 'pruned:' .. group, ARGV[2]) end
return reply(removed)
`,
);
