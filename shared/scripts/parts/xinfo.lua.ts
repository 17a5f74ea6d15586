import { definePart } from "../../redis/script.ts";

/**
 * XINFO's answers by name: their order differs between versions, and Upstash may leave out `entries-added`,
 * `entries-read` and `lag`.
 */
export const xinfo = definePart(
  ["streamInfo", "groupInfos", "groupInfo", "consumerInfos"],
  [],
  /* lua */ `
local function byName(flat)
  local fields = {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

local function eachByName(rows)
  for i, flat in ipairs(rows) do rows[i] = byName(flat) end
  return rows
end

function streamInfo(stream) return byName(call('XINFO', 'STREAM', stream)) end
function groupInfos(stream) return eachByName(call('XINFO', 'GROUPS', stream)) end
function consumerInfos(stream, group) return eachByName(call('XINFO', 'CONSUMERS', stream, group)) end

-- nil without a group of that name.
function groupInfo(stream, name)
  for _, info in ipairs(groupInfos(stream)) do
    if info.name == name then return info end
  end
end
`,
);
