import { defineScript } from "../redis/script.ts";
import { later } from "./parts/later.lua.ts";

/**
 * Gives a stream that another client has made an incarnation, by which Weir knows it.
 * KEYS: stream, config, later, sizes
 * ARGV: a new incarnation's name
 * Returns 1, 2 where messages are scheduled that were not known, or 0 when there is no stream
 */
export const adoptStreamScript = defineScript(
  "adopt-stream",
  [later],
  /* lua */ `
if call('TYPE', KEYS[1])['ok'] ~= 'stream' then return reply(0) end
-- Another client may have emptied it.
if (call('HGET', KEYS[2], 'incarnation') or '') == '' then
  call('HSET', KEYS[2], 'incarnation', ARGV[1])
  if recountLater({ config = KEYS[2], later = KEYS[3], sizes = KEYS[4] }) then return reply(2) end
end
return reply(1)
`,
);
