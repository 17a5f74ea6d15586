import { definePart } from "../../redis/script.ts";
import { messageSize } from "./message-size.lua.ts";
import { xinfo } from "./xinfo.lua.ts";

/**
 * Tells what ENTRIESREAD is at an id, so that lag is right from the start: Redis finds it out by itself only once a group
 * has read to the end.
 */
export const position = definePart(
  ["entriesRead"],
  [xinfo, messageSize],
  /* lua */ `
-- Entries counted at most to place an id in the middle: counting reads their payloads.
local COUNTED = 128

-- @return XGROUP's options for a group after an id ('$': the end, '0-0': the beginning); none where that would cost much
function entriesRead(keys, after)
  local stream = keys.stream
  local info = streamInfo(stream)
  local added, length = info['entries-added'], info.length
  if not added then return end
  if after == '$' then return 'ENTRIESREAD', added end
  if after == '0-0' then return 'ENTRIESREAD', added - length end
  local max = stepSize(keys, COUNTED)
  local behind = #call('XRANGE', stream, '(' .. after, '+', 'COUNT', max)
  if behind < max then return 'ENTRIESREAD', added - behind end
end
`,
);
