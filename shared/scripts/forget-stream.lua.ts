import { defineScript } from "../redis/script.ts";

/**
 * Takes a name off the registry if nobody has registered it anew since it was read.
 * KEYS: registry
 * ARGV: stream, the score it had
 * Returns 1 if it did, else 0
 */
export const forgetStreamScript = defineScript(
  "forget-stream",
  [],
  /* lua */ `
-- As numbers: a score may be written in more than one way.
if tonumber(call('ZSCORE', KEYS[1], ARGV[1]) or nil) ~= tonumber(ARGV[2]) then return reply(0) end
return reply(call('ZREM', KEYS[1], ARGV[1]))
`,
);
