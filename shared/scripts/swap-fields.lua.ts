import { defineScript } from "../redis/script.ts";

/**
 * Changes fields of a hash, each only if it is still as it was read: of two that read the same, one succeeds.
 * KEYS: hash
 * ARGV: at most 1,000 times three: field, what it was ('' when it was not there), what it becomes ('' to delete it)
 * Returns 1 or 0 for each
 */
export const swapFieldsScript = defineScript(
  "swap-fields",
  [],
  /* lua */ `
local fields = {}
for i = 1, #ARGV, 3 do fields[#fields + 1] = ARGV[i] end
local found = call('HMGET', KEYS[1], unpack(fields))
local updates, removals, results = {}, {}, {}
for i, field in ipairs(fields) do
  local before, after = ARGV[3 * i - 1], ARGV[3 * i]
  if (found[i] or '') ~= before then
    results[i] = 0
  else
    results[i] = 1
    if after == '' then
      removals[#removals + 1] = field
    else
      updates[#updates + 1] = field
      updates[#updates + 1] = after
    end
  end
end
if #updates > 0 then call('HSET', KEYS[1], unpack(updates)) end
if #removals > 0 then call('HDEL', KEYS[1], unpack(removals)) end
return reply(results)
`,
);
