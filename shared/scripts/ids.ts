/** Lua that compares ids. Their halves are 64 bits, more than a Lua number holds: they are compared as digits. */
export const IDS_LUA = /* lua */ `
-- Above every id.
local NO_LIMIT = '18446744073709551615-18446744073709551615'

local function lessDigits(a, b) return #a < #b or (#a == #b and a < b) end
local function less(a, b)
  local aMs, aSeq = a:match('(%d+)-(%d+)')
  local bMs, bSeq = b:match('(%d+)-(%d+)')
  return lessDigits(aMs, bMs) or (aMs == bMs and lessDigits(aSeq, bSeq))
end

-- The next id. Past 2^53 the sum would be rounded: the id itself then, so that one entry more is kept.
local function after(id)
  local ms, seq = id:match('(%d+)-(%d+)')
  local number = tonumber(seq)
  return number < 9007199254740991 and string.format('%s-%.0f', ms, number + 1) or id
end

-- The last id before one, as far as numbers are exact; lower otherwise.
local function before(id)
  local ms, seq = id:match('(%d+)-(%d+)')
  if seq == '0' then return string.format('%.0f-18446744073709551615', tonumber(ms) - 1) end
  return string.format('%s-%.0f', ms, tonumber(seq) - 1)
end
`;
