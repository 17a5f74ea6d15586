import { defineScript } from "../redis/script.ts";
import { later } from "./parts/later.lua.ts";

/**
 * Takes a scheduled message back, if it was not appended yet.
 * KEYS: stream, config, later, sizes, the two keys of its bucket
 * ARGV: bucket, member
 * Returns 1 if it did, 0 when there is no such message, or 'unknown-stream'
 */
export const cancelScheduledScript = defineScript(
  "cancel-scheduled",
  [later],
  /* lua */ `
if call('EXISTS', KEYS[1]) == 0 then return reply('unknown-stream') end
local keys = { config = KEYS[2], later = KEYS[3], sizes = KEYS[4] }
local buckets = openBuckets({ ARGV[1] }, 5)
local bucket, member = buckets[1], ARGV[2]
checkBuckets(keys, buckets)
if not call('ZSCORE', bucket.due, member) then return reply(0) end
local payload = call('HGET', bucket.messages, member)
bucket.taken, bucket.takenBytes = { member }, #(payload or '') + MEMBER_BYTES
takeLater(keys, buckets, numberOf(call('HGET', keys.config, 'scheduled'), 0))
return reply(payload and 1 or 0)
`,
);
