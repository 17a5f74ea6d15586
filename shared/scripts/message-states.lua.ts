import { defineReadingScript } from "../redis/script.ts";
import { ids } from "./parts/ids.lua.ts";
import { messageSize } from "./parts/message-size.lua.ts";
import { orderedIds } from "./parts/ordered-id.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Where some groups are with one message.
 * KEYS: stream, config, clock, then for each group: dead, again, due, dead index
 * ARGV: id, default of ackWaitMs, the groups
 * Returns { 1 if the stream holds the message, { group, state, consumer, deliveries, when its lease ends (ms), when it is
 *           due (ms), dead letter's id, reason } each, false where it does not apply }
 */
export const messageStatesScript = defineReadingScript(
  "message-states",
  [ids, messageSize, orderedIds, pending, redisTime, sideStore, xinfo],
  /* lua */ `
-- Dead letters looked at for each group.
local MAX_COPIES = 10

local stream, config, clock, id = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local nowMs = redisNowMs(clock, stream)
local rows = {}
local function add(row)
  rows[#rows + 1] = {
    row.group, row.state, row.consumer or false, row.deliveries or false, row.leaseEndsMs or false,
    row.dueMs or false, row.deadLetterId or false, row.reason or false,
  }
end

local infos = {}
for _, info in ipairs(groupInfos(stream)) do infos[info.name] = info end

local function addPending(group)
  local raw = call('XPENDING', stream, group, id, id, 1)[1]
  if not raw then return end
  local settings = call('HMGET', config, 'ackWaitMs:' .. group, 'ackWaitBefore:' .. group)
  local entry = decodePending(raw)
  local left = leftMs(entry, readAckWait(numberOf(settings[1], ARGV[2]), settings[2], nowMs))
  add({
    group = group, state = 'pending', consumer = entry.consumer, deliveries = entry.deliveries, leaseEndsMs = nowMs + left,
  })
end

local bytes = 0
local function addSideStore(group, keys)
  local inHand = {}
  for _, entry in ipairs(inHandOfMessages(keys, { id })) do
    inHand[entry.side] = true
    add({
      group = group, state = 'pending', consumer = entry.consumer, deliveries = entry.deliveries, leaseEndsMs = -entry.score,
    })
  end
  for _, side in ipairs(sideIdsOf(keys, id)) do
    -- Of very many copies some are left out.
    if bytes >= STEP_BYTES then break end
    local payload = not inHand[side] and call('HGET', keys.again, side)
    bytes = bytes + #(payload or '')
    local entry = { side = side }
    if payload and readPayload(entry, payload) then
      entry.deliveries, entry.consumer = entry.payload.deliveries, entry.payload.consumer
      -- Without one it is an earlier version's, whose payloads do not say.
      local dueMs = entry.deliveries and call('ZSCORE', keys.due, writeMember(entry, 'w'))
      add({
        group = group, state = 'delayed', consumer = entry.consumer ~= '' and entry.consumer, deliveries = entry.deliveries,
        dueMs = dueMs and tonumber(dueMs), reason = entry.detail,
      })
    end
  end
end

local function addDead(group, keys)
  local start = 'm ' .. ordered(id)
  for _, text in ipairs(call('ZRANGEBYLEX', keys.deadIndex, '[' .. start .. ' ', '(' .. start .. '!', 'LIMIT', 0, MAX_COPIES)) do
    local letterId = text:sub(#start + 2):match('^%d+%-%d+$')
    letterId = letterId and unordered(letterId)
    local letter = letterId and call('XRANGE', keys.dead, letterId, letterId)[1]
    if letter then
      local fields = {}
      for i = 1, #letter[2], 2 do fields[letter[2][i]] = letter[2][i + 1] end
      add({
        group = group, state = 'dead', consumer = fields['weir-consumer'], deliveries = tonumber(fields['weir-deliveries']),
        deadLetterId = letterId, reason = fields['weir-reason'],
      })
    end
  end
end

for number = 3, #ARGV do
  local group, first = ARGV[number], 3 + 4 * (number - 3)
  local info = infos[group]
  if info then
    local before = #rows
    addPending(group)
    addSideStore(group, { again = KEYS[first + 2], due = KEYS[first + 3] })
    addDead(group, { dead = KEYS[first + 1], deadIndex = KEYS[first + 4] })
    if #rows == before then
      add({ group = group, state = less(info['last-delivered-id'], id) and 'waiting' or 'done' })
    end
  end
end
return reply({ #call('XRANGE', stream, id, id, 'COUNT', 1), rows })
`,
);
