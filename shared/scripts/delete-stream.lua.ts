import { defineScript } from "../redis/script.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Deletes the stream and all that belongs to it. What idempotency keys were answered is left to expire: it names an
 * incarnation that is gone.
 * KEYS: stream, config, clock
 * ARGV: what comes before a group's name in each of the keys that belong to a group
 * Returns 1 when there was a stream, else 0
 */
export const deleteStreamScript = defineScript(
  "delete-stream",
  [xinfo],
  /* lua */ `
local stream, config = KEYS[1], KEYS[2]
local kind = call('TYPE', stream)['ok']
-- Fails with WRONGTYPE when the key is another client's: not ours to delete.
call('HLEN', config)
if kind == 'none' then
  call('UNLINK', config)
  return reply(0)
end
for _, group in ipairs(groupInfos(stream)) do
  for _, start in ipairs(ARGV) do call('UNLINK', start .. group.name) end
end
call('UNLINK', stream, config, KEYS[3])
return reply(1)
`,
);
