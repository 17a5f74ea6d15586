import { defineScript } from "../redis/script.ts";

/**
 * Deletes a group with its settings, side store and dead letters.
 * KEYS: stream, config, then the keys that belong to the group, its dead letters first
 * ARGV: group, then the names of the config's fields of a group
 * Returns 'deleted' | 'unknown-group' | 'unknown-stream'
 */
export const deleteGroupScript = defineScript(
  "delete-group",
  [],
  /* lua */ `
local stream, config = KEYS[1], KEYS[2]
if call('EXISTS', stream) == 0 then return reply('unknown-stream') end
-- Fail with WRONGTYPE when a key is another client's: not ours to delete.
call('HLEN', config)
call('XLEN', KEYS[3])
local destroyed = call('XGROUP', 'DESTROY', stream, ARGV[1])
local fields = {}
for i = 2, #ARGV do fields[#fields + 1] = ARGV[i] .. ':' .. ARGV[1] end
-- Also what is left of a group that another client has destroyed.
local gone = call('HDEL', config, unpack(fields)) + call('UNLINK', unpack(KEYS, 3))
return reply(destroyed + gone > 0 and 'deleted' or 'unknown-group')
`,
);
