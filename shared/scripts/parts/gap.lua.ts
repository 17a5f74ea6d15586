import { definePart } from "../../redis/script.ts";

/** What trimming took from a group, as JSON in the config's `gap:<group>`. */
export const gap = definePart(
  ["readGap", "noteGap"],
  [],
  /* lua */ `
-- nil without one, or when another client wrote something else there.
function readGap(text)
  local ok, gap = pcall(cjson.decode, text or '')
  if ok and type(gap) == 'table' and type(gap.fromId) == 'string' and type(gap.messages) == 'number'
    and tostring(gap.toId):match('^%d+%-%d+$') then
    return gap
  end
end

-- Notes what a group lost to trimming, together with what it lost before.
function noteGap(config, group, fromId, toId, messages)
  local gap = readGap(call('HGET', config, 'gap:' .. group)) or { fromId = fromId, messages = 0 }
  gap.toId, gap.messages = toId, gap.messages + messages
  call('HSET', config, 'gap:' .. group, cjson.encode(gap))
  call('HINCRBY', config, 'dropped:' .. group, messages)
end
`,
);
