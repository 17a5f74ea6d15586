import { definePart } from "../../redis/script.ts";

/** Ids in order. Their halves have 64 bits, more than a Lua number holds: they are compared as digits. */
export const ids = definePart(
  ["NO_LIMIT", "less", "after", "before"],
  [],
  /* lua */ `
-- The greatest possible id.
NO_LIMIT = '18446744073709551615-18446744073709551615'

local function lessDigits(a, b) return #a < #b or (#a == #b and a < b) end
function less(a, b)
  local aMs, aSeq = a:match('(%d+)-(%d+)')
  local bMs, bSeq = b:match('(%d+)-(%d+)')
  return lessDigits(aMs, bMs) or (aMs == bMs and lessDigits(aSeq, bSeq))
end

local U64_MAX = '18446744073709551615'

local function increment(digits)
  local head, nines = digits:match('^(%d-)(9*)$')
  if head == '' then return '1' .. nines:gsub('9', '0') end
  return head:sub(1, -2) .. (tonumber(head:sub(-1)) + 1) .. (nines:gsub('9', '0'))
end

local function decrement(digits)
  local head, zeros = digits:match('^(%d-)(0*)$')
  local less = head:sub(1, -2) .. (tonumber(head:sub(-1)) - 1) .. (zeros:gsub('0', '9'))
  return (less:gsub('^0+(%d)', '%1'))
end

-- The next possible id; the greatest is its own.
function after(id)
  if id == NO_LIMIT then return id end
  local ms, seq = id:match('(%d+)-(%d+)')
  if seq == U64_MAX then return increment(ms) .. '-0' end
  return ms .. '-' .. increment(seq)
end

-- The greatest id before this one.
function before(id)
  local ms, seq = id:match('(%d+)-(%d+)')
  if seq == '0' then return decrement(ms) .. '-' .. U64_MAX end
  return ms .. '-' .. decrement(seq)
end
`,
);
