import { defineScript } from "../redis/script.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Deletes the stream and all that belongs to it. What idempotency keys were answered is left to expire: it names an
 * incarnation that is gone.
 * KEYS: stream, config, clock, then the keys that belong to the groups that are named
 * ARGV: 'all', or 'leftovers' to do nothing where there is a stream; groups of the stream
 * Returns 1 when there was something, 0 when there was nothing, or the names of groups that were not named: then nothing is
 *         deleted
 */
export const deleteStreamScript = defineScript(
  "delete-stream",
  [xinfo],
  /* lua */ `
local stream, config, clock = KEYS[1], KEYS[2], KEYS[3]
local kind = call('TYPE', stream)['ok']
-- Fails with WRONGTYPE when the key is another client's: not ours to delete.
call('HLEN', config)
if kind ~= 'none' then
  if ARGV[1] == 'leftovers' then return reply(0) end
  local named, unnamed = {}, {}
  for i = 2, #ARGV do named[ARGV[i]] = true end
  for _, group in ipairs(groupInfos(stream)) do
    if not named[group.name] then unnamed[#unnamed + 1] = group.name end
  end
  if #unnamed > 0 then return reply(unnamed) end
end
local gone = 0
for first = 4, #KEYS, 1000 do gone = gone + call('UNLINK', unpack(KEYS, first, math.min(first + 999, #KEYS))) end
gone = gone + call('UNLINK', stream, config)
call('UNLINK', clock)
return reply(gone > 0 and 1 or 0)
`,
);
