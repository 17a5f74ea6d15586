import { defineScript } from "../redis/script.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Deletes the stream and all that belongs to it. What idempotency keys were answered is left to expire: it names an
 * incarnation that is gone.
 * KEYS: stream, config, clock, later, sizes, then the keys that belong to the groups that are named, and to the buckets
 * ARGV: 'all', or 'leftovers' to do nothing where there is a stream; how many groups are named, those, buckets of scheduled
 *       messages
 * Returns 1 when there was something, 0 when there was nothing, or { names of groups, names of buckets } that were not named:
 *         then nothing is deleted
 */
export const deleteStreamScript = defineScript(
  "delete-stream",
  [xinfo],
  /* lua */ `
-- Buckets that one call is asked to name: more than there are, unless another client has written them.
local MAX_BUCKETS = 4000

local stream, config, clock, later, sizes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local kind = call('TYPE', stream)['ok']
-- Fails with WRONGTYPE when the key is another client's: not ours to delete.
call('HLEN', config)
local groups, buckets = {}, {}
if kind ~= 'none' then
  if ARGV[1] == 'leftovers' then return reply(0) end
  local isNamed = {}
  for i = 3, 2 + tonumber(ARGV[2]) do isNamed[ARGV[i]] = true end
  for _, group in ipairs(groupInfos(stream)) do
    if not isNamed[group.name] then groups[#groups + 1] = group.name end
  end
end
local isNamed = {}
for i = 3 + tonumber(ARGV[2]), #ARGV do isNamed[ARGV[i]] = true end
-- Either list names them, should another client have deleted the other.
for _, names in ipairs({ try('ZRANGE', later, 0, MAX_BUCKETS - 1), try('HKEYS', sizes) }) do
  for _, name in ipairs(names) do
    if not isNamed[name] and name:match('^%d+%.%d+$') and #buckets < MAX_BUCKETS then
      isNamed[name] = true
      buckets[#buckets + 1] = name
    end
  end
end
if #groups + #buckets > 0 then return reply({ groups, buckets }) end
local gone = 0
for first = 6, #KEYS, 1000 do gone = gone + call('UNLINK', unpack(KEYS, first, math.min(first + 999, #KEYS))) end
gone = gone + call('UNLINK', stream, config, later, sizes)
call('UNLINK', clock)
return reply(gone > 0 and 1 or 0)
`,
);
