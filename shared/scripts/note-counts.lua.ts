import { defineScript } from "../redis/script.ts";
import { losses } from "./parts/losses.lua.ts";
import { xinfo } from "./parts/xinfo.lua.ts";

/**
 * Notes what a group has lost to other clients' trims, and how far Redis counts rightly what it has read.
 * KEYS: stream, config
 * ARGV: group
 * Returns how many messages it has found lost
 */
export const noteCountsScript = defineScript(
  "note-counts",
  [losses, xinfo],
  /* lua */ `
local keys = { stream = KEYS[1], config = KEYS[2] }
local group = groupInfo(keys.stream, ARGV[1])
return reply(group and noteLosses(keys, streamInfo(keys.stream), group) or 0)
`,
);
