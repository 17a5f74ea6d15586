import { defineScript } from "../redis/script.ts";

/**
 * Notes when to visit streams next. A time that somebody else has changed since it was read stays if it is sooner; a stream
 * that was deleted meanwhile must not come back as a name.
 * KEYS: registry
 * ARGV: for each stream, at most 1,000: its name, the time as it was read, the new one
 * Returns how many there were
 */
export const noteVisitsScript = defineScript(
  "note-visits",
  [],
  /* lua */ `
local names, scores = {}, {}
for i = 1, #ARGV, 3 do names[#names + 1] = ARGV[i] end
for i, score in ipairs(call('ZMSCORE', KEYS[1], unpack(names))) do
  local seen, new = ARGV[3 * i - 1], ARGV[3 * i]
  -- As numbers: a score may be written in more than one way.
  if score and (tonumber(score) == tonumber(seen) or tonumber(new) < tonumber(score)) then
    scores[#scores + 1], scores[#scores + 2] = new, names[i]
  end
end
if #scores > 0 then call('ZADD', KEYS[1], 'XX', unpack(scores)) end
return reply(#scores / 2)
`,
);
