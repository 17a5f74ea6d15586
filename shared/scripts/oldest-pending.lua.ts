import { defineReadingScript } from "../redis/script.ts";
import { ids } from "./parts/ids.lua.ts";
import { pending } from "./parts/pending.lua.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * The oldest message that a group has in hand, be it Redis' own pending entry or one of the side store.
 * KEYS: stream, due
 * ARGV: group
 * Returns its id, or false
 */
export const oldestPendingScript = defineReadingScript(
  "oldest-pending",
  [ids, pending, redisTime, sideStore],
  /* lua */ `
local own = oldestPending(KEYS[1], ARGV[1])
local aside = oldestInHand(KEYS[2])
if own and (not aside or less(own, aside)) then aside = own end
return reply(aside or false)
`,
);
