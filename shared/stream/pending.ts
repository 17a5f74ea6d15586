import { LAST_ID, orderedId, parseEntryId } from "../ids.ts";
import { type LeaseFormat, leaseFormat } from "../lease.ts";
import type { Reply } from "../redis/connection.ts";
import { asArray, asNumber, asText, asTextOrNull } from "../redis/reply.ts";
import { listDelayedScript } from "../scripts/list-delayed.lua.ts";
import { listPendingScript } from "../scripts/list-pending.lua.ts";
import { sendToGroup } from "./missing.ts";
import type { Page } from "./page.ts";
import { GROUP_DEFAULTS, readIncarnation } from "./settings.ts";
import type { EventStream } from "./stream.ts";

/** What a group has in hand, and what is to come back to it. */

export interface PendingEntry {
  readonly id: string;
  readonly consumer: string;
  readonly idleMs: number;
  readonly deliveries: number;
  /** When its lease ends, by Redis' clock; in the past where it has ended. */
  readonly leaseEndsAt: number;
  readonly lease: string;
}

/** What the cursor begins with once a listing is among those that were handed out of the side store. */
const AGAIN = "again:";
const AGAIN_CURSOR = /^again:(?:(\d{1,20}-\d{1,20})~(\d{1,15}\.[0-9A-Za-z-]{0,8})~(\d{1,4})~([\x20-\x7e]{1,128}))?$/;

/** @returns the cursor in its own spelling, or undefined when the text was never `next` of a page of pending messages */
export function parsePendingCursor(text: string): string | undefined {
  return AGAIN_CURSOR.test(text) ? text : parseEntryId(text);
}

/** A member of the side store's index as a cursor; "" is its beginning. */
function againCursor(member: string): string {
  const match = /^h \d\d(\d+)-\d\d(\d+) (\S+) (\d+) (.+)$/.exec(member);
  if (match === null) return AGAIN;
  const [, ms, sequence, side, deliveries, consumer] = match;
  return `${AGAIN}${ms}-${sequence}~${side}~${deliveries}~${consumer}`;
}

function memberOf(cursor: string): string {
  const [, id, side, deliveries, consumer] = AGAIN_CURSOR.exec(cursor) ?? [];
  return id === undefined ? "" : `h ${orderedId(id)} ${side} ${deliveries} ${consumer}`;
}

/** Pending messages that one page looks at where it leaves some out. */
const LOOK = 1_000;

/**
 * Lists what a group has handed out and not settled, as its `pending` counts it: by id what Redis itself has as pending,
 * then, by id too, what came back another way and was handed out again. A page may be short, even empty, while `next` says
 * there is more.
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
  // Behind the last id of all there are only those of the side store; Redis refuses to look.
  const isSide = cursor.startsWith(AGAIN) || cursor === LAST_ID;
  const start = isSide ? ["side", memberOf(cursor)] : ["main", cursor];
  const { keys } = stream;
  const reply = await sendToGroup(stream, group, {
    script: listPendingScript,
    keys: [keys.stream, keys.config, keys.againDue(group), keys.clock],
    args: [group, consumer, minIdleMs, limit, ...start, GROUP_DEFAULTS.ackWaitMs, LOOK],
  });
  const [entries, incarnation, where, last = null] = asArray(reply);
  const format = leaseFormat(stream.name, group, readIncarnation(incarnation));
  const items = asArray(entries).map((row) => decodePendingEntry(row, format));
  if (where === "end") return { items, next: null };
  return { items, next: where === "side" ? againCursor(asText(last)) : asText(last) };
}

function decodePendingEntry(reply: Reply, format: LeaseFormat): PendingEntry {
  const [idReply, consumerReply, idleMs, deliveriesReply, leaseEndsMs, side] = asArray(reply);
  const [id, consumer, deliveries] = [asText(idReply), asText(consumerReply), asNumber(deliveriesReply)];
  return {
    id,
    consumer,
    idleMs: asNumber(idleMs),
    deliveries,
    leaseEndsAt: asNumber(leaseEndsMs),
    lease: format.write({ id, consumer, deliveries, side: asText(side) || undefined }),
  };
}

/** Why a message is to come back. */
export const DELAYED_FROM = ["retry", "redrive", "replay"] as const;

export interface DelayedEntry {
  readonly id: string;
  /** When it may be handed out, by Redis' clock. */
  readonly dueAt: number;
  /** How often it was handed out. */
  readonly deliveries: number;
  readonly from: (typeof DELAYED_FROM)[number];
  /** The words of the consumer that sent it back, if it gave any. */
  readonly reason: string | null;
  readonly type: string | null;
}

/** Where a listing of delayed messages goes on: a score and a member of the side store's schedule. */
export interface DelayedCursor {
  readonly score: string;
  readonly member: string;
}

/** @returns undefined when the text was never `next` of a page of delayed messages */
export function parseDelayedCursor(text: string): DelayedCursor | undefined {
  const match = /^(\d{1,15})~(\d{1,15}\.[0-9A-Za-z-]{0,8})~(\d{1,4})~([\x20-\x7d]{0,128})$/.exec(text);
  if (match === null) return undefined;
  const [, score = "", side, deliveries, consumer] = match;
  return { score, member: `${side} ${deliveries} w ${consumer}` };
}

/**
 * Lists what waits to be handed to a group again, by the time at which it is due. A page may be short, even empty, while
 * `next` says there is more.
 * @throws {WeirError} `unknown-stream`, `unknown-group`
 */
export async function listDelayed(
  stream: EventStream,
  group: string,
  { cursor = { score: "(0", member: "" }, limit }: { cursor?: DelayedCursor | undefined; limit: number },
): Promise<Page<DelayedEntry>> {
  const { keys } = stream;
  const reply = await sendToGroup(stream, group, {
    script: listDelayedScript,
    keys: [keys.stream, keys.config, keys.again(group), keys.againDue(group)],
    args: [group, limit, cursor.score, cursor.member],
  });
  const [rows, score = null, member = null] = asArray(reply);
  const next = score === null ? null : delayedCursor(asText(score), asText(member));
  return { items: asArray(rows).map(decodeDelayed), next };
}

function delayedCursor(score: string, member: string): string {
  const [side, deliveries, , ...consumer] = member.split(" ");
  return `${score}~${side}~${deliveries}~${consumer.join(" ")}`;
}

function decodeDelayed(row: Reply): DelayedEntry {
  const [id, dueMs, deliveries, from, detail, type = null] = asArray(row);
  return {
    id: asText(id),
    dueAt: asNumber(dueMs),
    deliveries: asNumber(deliveries),
    // An earlier version did not say.
    from: DELAYED_FROM.find((one) => one === from) ?? "retry",
    reason: asText(detail) || null,
    type: asTextOrNull(type),
  };
}
