import { definePart } from "../../redis/script.ts";

/**
 * Ids as text whose order is theirs, for sorted sets that are read by text: each half has its number of digits before it.
 * `orderedId` of `shared/ids.ts` writes the same.
 */
export const orderedIds = definePart(
  ["ordered", "unordered"],
  [],
  /* lua */ `
function ordered(id)
  local ms, seq = id:match('^(%d+)%-(%d+)$')
  return string.format('%02d%s-%02d%s', #ms, ms, #seq, seq)
end

function unordered(text)
  local ms, seq = text:match('^%d%d(%d+)%-%d%d(%d+)$')
  return ms .. '-' .. seq
end
`,
);
