import { defineScript } from "../redis/script.ts";

/**
 * Gives a stream that another client has made an incarnation, by which Weir knows it.
 * KEYS: stream, config
 * ARGV: a new incarnation's name
 * Returns 1, or 0 when there is no stream
 */
export const adoptStreamScript = defineScript(
  "adopt-stream",
  [],
  /* lua */ `
if call('TYPE', KEYS[1])['ok'] ~= 'stream' then return reply(0) end
-- Another client may have emptied it.
if (call('HGET', KEYS[2], 'incarnation') or '') == '' then call('HSET', KEYS[2], 'incarnation', ARGV[1]) end
return reply(1)
`,
);
