import { defineScript } from "../redis/script.ts";
import { later } from "./parts/later.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";

/**
 * Creates the stream if it is not there, and applies settings.
 * KEYS: stream, config, later, sizes
 * ARGV: a new incarnation's name, number of fields to remove, those, then fields and values to set
 * Returns 1 when it created the stream, 0 when it was there, or 'leftovers' when what is left of another stream of that name
 *         has to go first
 */
export const configureStreamScript = defineScript(
  "configure-stream",
  [later, messageSize],
  /* lua */ `
local stream, config = KEYS[1], KEYS[2]
local kind = call('TYPE', stream)['ok']
if kind ~= 'stream' and kind ~= 'none' then
  return redis.error_reply('WRONGTYPE the stream key holds a ' .. kind)
end
-- Fails with WRONGTYPE when the key is another client's.
local fields = call('HLEN', config)
local created = kind == 'none'
-- Another client has deleted or renamed a stream of this name: nothing of that is this one's.
if created and (fields > 0 or call('EXISTS', KEYS[3], KEYS[4]) > 0) then return reply('leftovers') end
if created then
  -- Redis makes an empty stream only together with a group.
  call('XGROUP', 'CREATE', stream, '@create', '$', 'MKSTREAM')
  call('XGROUP', 'DESTROY', stream, '@create')
end
-- Adopted streams too: idempotency keys of an earlier stream of this name must not count.
if call('HSETNX', config, 'incarnation', ARGV[1]) == 1 and not created then
  recountLater({ config = config, later = KEYS[3], sizes = KEYS[4] })
end
local bytesBefore = numberOf(call('HGET', config, 'maxMessageBytes'), DEFAULT_MAX_MESSAGE_BYTES)
local removals = tonumber(ARGV[2])
if removals > 0 then call('HDEL', config, unpack(ARGV, 3, 2 + removals)) end
if #ARGV > 2 + removals then call('HSET', config, unpack(ARGV, 3 + removals)) end
-- After the limit is lowered, larger messages remain: the largest limit so far bounds batches.
if not created and numberOf(call('HGET', config, 'maxMessageBytes'), DEFAULT_MAX_MESSAGE_BYTES) < bytesBefore then
  local largest = numberOf(call('HGET', config, 'largestMessageBytes'), 0)
  call('HSET', config, 'largestMessageBytes', math.max(largest, bytesBefore))
end
return reply(created and 1 or 0)
`,
);
