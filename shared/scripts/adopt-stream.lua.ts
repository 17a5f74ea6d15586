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
call('HSETNX', KEYS[2], 'incarnation', ARGV[1])
return reply(1)
`,
);
