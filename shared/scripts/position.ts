/**
 * Lua that tells what ENTRIESREAD is at an id, so that lag is right from the start: Redis finds it out by itself only
 * when a group has read to the end. Stands behind the side store's Lua.
 */
export const POSITION_LUA = /* lua */ `
-- Entries that are counted at most to place an id in the middle: they are read with their payloads.
local COUNTED = 128

-- @return the options that place a group behind an id ('$': the end, '0-0': the beginning); none where it would cost much
local function entriesRead(keys, after)
  local stream = keys.stream
  local info = call('XINFO', 'STREAM', stream)
  local added, length
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then added = info[i + 1] end
    if info[i] == 'length' then length = info[i + 1] end
  end
  if after == '$' then return 'ENTRIESREAD', added end
  if after == '0-0' then return 'ENTRIESREAD', added - length end
  local most = stepSize(keys, COUNTED)
  local behind = #call('XRANGE', stream, '(' .. after, '+', 'COUNT', most)
  if behind < most then return 'ENTRIESREAD', added - behind end
end
`;
