import { defineScript } from "../redis/script.ts";

/**
 * Notes that a token is revoked, and forgets those that are over: 1,000 at most, so that the work is bounded whatever is
 * there.
 * KEYS: revoked tokens
 * ARGV: token id, when the token ends, now, for how long after that it is kept (all in ms), how many may be kept
 * Returns 1; 0 when so many are kept already
 */
export const revokeTokenScript = defineScript(
  "revoke-token",
  [],
  /* lua */ `
local key, id = KEYS[1], ARGV[1]
local endsAt, now, keptMs, max = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local function whole(number) return string.format('%.0f', number) end
local over = whole(now - keptMs)
local known = tonumber(call('ZSCORE', key, id) or nil)
if not known and call('ZCOUNT', key, '(' .. over, '+inf') >= max then return reply(0) end
-- The latest end that anybody named: who revokes again may not know it.
call('ZADD', key, whole(math.max(known or 0, endsAt)), id)
local ended = call('ZRANGEBYSCORE', key, '-inf', over, 'LIMIT', 0, 1000)
if #ended > 0 then call('ZREM', key, unpack(ended)) end
local last = tonumber(call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]) or now
-- Another client may have written any score.
call('PEXPIRE', key, whole(math.min(math.max(last - now, 0) + keptMs, 9007199254740991)))
return reply(1)
`,
);
