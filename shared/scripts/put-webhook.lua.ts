import { defineScript } from "../redis/script.ts";

/**
 * Sets one webhook source's settings, if they are still what they were when they were read.
 * KEYS: the hash of sources
 * ARGV: the source's name, its settings as they were read ('' for none), its new settings, how many sources there may be
 * Returns 'put', 'changed' (somebody was faster), 'full', { name } of another source that has the same secret
 */
export const putWebhookScript = defineScript(
  "put-webhook",
  [],
  /* lua */ `
if (call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return reply('changed') end
if ARGV[2] == '' then
  local names = call('HKEYS', KEYS[1])
  if #names >= tonumber(ARGV[4]) then return reply('full') end
  -- As settings are named: who owns one of two such sources could have the other one's secret sign for it.
  local function folded(name) return (name:upper():gsub('[^A-Z0-9]', '_')) end
  for _, name in ipairs(names) do
    if folded(name) == folded(ARGV[1]) then return reply({ name }) end
  end
end
call('HSET', KEYS[1], ARGV[1], ARGV[3])
return reply('put')
`,
);
