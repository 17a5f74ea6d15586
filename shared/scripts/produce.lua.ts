import { defineScript } from "../redis/script.ts";

/**
 * Appends messages, all or nothing, once per idempotency key.
 * KEYS: stream, config[, once]
 * ARGV: largest message in bytes (0: already checked), default of maxMessageBytes, default of dedupeWindowMs,
 *       fingerprint of the content (with `once`), then per message: its number of fields and values, those
 * Returns { 'appended', ids } | { 'replayed', ids } | { 'mismatch' } | { 'too-large', limit } | { 'unknown-stream' }
 *
 * A missing or wrong key shows at the first XADD, and Redis checks memory before a script's first write only; should one
 * fail in the middle all the same (at the very end of the id space), those before it are taken back.
 */
export const produceScript = defineScript(
  "produce",
  /* lua */ `
local stream, config, once = KEYS[1], KEYS[2], KEYS[3]
local largest, fingerprint = tonumber(ARGV[1]), ARGV[4]
local incarnation, windowMs = '', ARGV[3]

if largest > 0 or once then
  local settings = call('HMGET', config, 'maxMessageBytes', 'dedupeWindowMs', 'incarnation')
  local limit = tonumber(settings[1] or ARGV[2])
  if largest > limit then return reply({ 'too-large', limit }) end
  windowMs = settings[2] or windowMs
  incarnation = settings[3] or ''
end

if once then
  local seen = call('GET', once)
  if seen then
    -- A stream that was deleted and made anew has another incarnation: what its predecessor answered does not count.
    local seenIncarnation, seenFingerprint, ids = seen:match('^(%S*)\\n(%S*)\\n(.*)$')
    if seenIncarnation == incarnation then
      if seenFingerprint ~= fingerprint then return reply({ 'mismatch' }) end
      return reply({ 'replayed', ids })
    end
  end
end

local ids = {}
local at = 5
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  local id = try('XADD', stream, 'NOMKSTREAM', '*', unpack(ARGV, at + 1, last))
  if not id then return reply({ 'unknown-stream' }) end
  if type(id) == 'table' then
    -- A script is not rolled back, and nobody has seen these yet.
    if #ids > 0 then call('XDEL', stream, unpack(ids)) end
    return id
  end
  ids[#ids + 1] = id
  at = last + 1
end
local joined = table.concat(ids, ' ')
if once then call('SET', once, incarnation .. '\\n' .. fingerprint .. '\\n' .. joined, 'PX', windowMs) end
return reply({ 'appended', joined })
`,
);
