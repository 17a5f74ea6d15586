import { defineScript } from "../redis/script.ts";

/**
 * Sets one webhook source's settings, if they are still what they were when they were read.
 * KEYS: the hash of sources
 * ARGV: the source's name, its settings as they were read ('' for none), its new settings, how many sources there may be
 * Returns 'put', 'changed' (somebody was faster), 'full'
 */
export const putWebhookScript = defineScript(
  "put-webhook",
  [],
  /* lua */ `
if (call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return reply('changed') end
if ARGV[2] == '' and call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return reply('full') end
call('HSET', KEYS[1], ARGV[1], ARGV[3])
return reply('put')
`,
);
