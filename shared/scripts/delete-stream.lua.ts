import { defineScript } from "../redis/script.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Deletes the stream and all that belongs to it. What idempotency keys were answered is left to expire: it names an
 * incarnation that is gone.
 * KEYS: stream, config, clock, then the keys that belong to the groups that are named
 * ARGV: groups of the stream
 * Returns 1 when there was a stream, 0 when there was none, or the names of groups that were not named: then nothing is
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
if kind == 'none' then
  call('UNLINK', config, clock)
  return reply(0)
end
local named, unnamed = {}, {}
for _, name in ipairs(ARGV) do named[name] = true end
for _, group in ipairs(groupInfos(stream)) do
  if not named[group.name] then unnamed[#unnamed + 1] = group.name end
end
if #unnamed > 0 then return reply(unnamed) end
for first = 4, #KEYS, 1000 do call('UNLINK', unpack(KEYS, first, math.min(first + 999, #KEYS))) end
call('UNLINK', stream, config, clock)
return reply(1)
`,
);
