import { defineReadingScript } from "../redis/script.ts";
import { redisTime } from "./parts/redis-time.lua.ts";
import { sideStore } from "./parts/side-store.lua.ts";

/**
 * How much lies in a group's side store.
 * KEYS: due
 * Returns { in hand, waiting, id of the oldest message in hand or false }
 */
export const sideCountsScript = defineReadingScript(
  "side-counts",
  [redisTime, sideStore],
  /* lua */ `
local due = KEYS[1]
local inHand = call('ZCOUNT', due, '-inf', '(0')
local oldest = inHand > 0 and oldestInHand(due) or false
return reply({ inHand, call('ZCOUNT', due, '0', '(' .. asMs(INDEX.start)), oldest })
`,
);
