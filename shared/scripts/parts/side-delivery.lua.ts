import { definePart } from "../../redis/script.ts";
import { choose } from "./choose.lua.ts";
import { deadLetters } from "./dead-letter.lua.ts";
import { sideStore } from "./side-store.lua.ts";

/** What becomes of messages of the side store: handed out, or dead where no delivery is left. */
export const sideDelivery = definePart(
  ["deadLetterAside", "handOutAside"],
  [choose, deadLetters, sideStore],
  /* lua */ `
-- Moves entries of the side store to the dead letters.
function deadLetterAside(keys, group, entries)
  if #entries == 0 then return end
  beginWriting(keys, group)
  for _, entry in ipairs(entries) do
    entry.reason = 'max-deliveries'
    deadLetter(keys, group, entry)
  end
  removeFromSideStore(keys, entries)
end

-- Hands out entries of the side store, a delivery each.
-- @return { side id, id, deliveries so far, fields } each
function handOutAside(keys, chosen, consumer, endsMs)
  local due = {}
  for i, entry in ipairs(chosen) do due[i] = { entry.side, entry.id, entry.deliveries, entry.fields } end
  handOn(keys, chosen, consumer, endsMs, 1)
  return due
end
`,
);
