import { parseEntryId } from "../ids.ts";
import type { Reply } from "../redis/connection.ts";
import { asArray, asNumber, asText } from "../redis/reply.ts";
import { listPendingScript } from "../scripts/list-pending.lua.ts";
import { sendToGroup } from "./missing.ts";
import type { Page } from "./page.ts";
import { GROUP_DEFAULTS } from "./settings.ts";
import type { EventStream } from "./stream.ts";

export interface PendingEntry {
  readonly id: string;
  readonly consumer: string;
  readonly idleMs: number;
  readonly deliveries: number;
}

/** What the cursor of a listing of pending messages begins with once it is among those that were handed out again. */
const AGAIN_CURSOR = "again:";

/** @returns the cursor in its own spelling, or undefined when the text was never `next` of a page of pending messages */
export function parsePendingCursor(text: string): string | undefined {
  // A side id, as `parts/side-store.lua.ts` makes them.
  return /^again:\d{1,15}\.[0-9A-Za-z-]{0,8}$/.test(text) ? text : parseEntryId(text);
}

/**
 * Lists what a group has handed out and not settled, as its `pending` counts it: by id what Redis itself has as pending,
 * then what was retried, replayed or redriven and handed out again, in the order in which it was to come back. A page may
 * be short, even empty, while `next` says there is more.
 * @param query.cursor as {@link parsePendingCursor} returned it
 * @throws {WeirError} `unknown-stream`, `unknown-group`
 */
export async function listPending(
  stream: EventStream,
  group: string,
  query: {
    cursor?: string | undefined;
    limit: number;
    consumer?: string | undefined;
    minIdleMs?: number | undefined;
  },
): Promise<Page<PendingEntry>> {
  const { cursor = "", limit, consumer = "", minIdleMs = 0 } = query;
  const { keys } = stream;
  const start = cursor.startsWith(AGAIN_CURSOR) ? ["side", cursor.slice(AGAIN_CURSOR.length)] : ["main", cursor];
  const reply = await sendToGroup(stream, group, {
    script: listPendingScript,
    keys: [keys.stream, keys.config, keys.again(group), keys.againDue(group)],
    args: [group, consumer, minIdleMs, limit, ...start, GROUP_DEFAULTS.ackWaitMs],
  });
  const [entries, where, last] = asArray(reply);
  const items = asArray(entries).map(decodePendingEntry);
  if (where === "end") return { items, next: null };
  return { items, next: where === "side" ? AGAIN_CURSOR + asText(last) : asText(last) };
}

function decodePendingEntry(reply: Reply): PendingEntry {
  const [id, consumer, idleMs, deliveries] = asArray(reply);
  return { id: asText(id), consumer: asText(consumer), idleMs: asNumber(idleMs), deliveries: asNumber(deliveries) };
}
