import { Buffer } from "node:buffer";
import { WeirError } from "../errors.ts";
import { contentJson } from "../message.ts";
import type { Reply } from "../redis/connection.ts";
import { unwrap } from "../redis/redis.ts";
import { asArray, asNumber, asText, asTextOrNull } from "../redis/reply.ts";
import { cancelScheduledScript } from "../scripts/cancel-scheduled.lua.ts";
import { listScheduledScript } from "../scripts/list-scheduled.lua.ts";
import {
  bucketKeys,
  parseScheduledCursor,
  type ScheduledCursor,
  type ScheduledId,
  scheduledCursor,
  scheduledId,
} from "./buckets.ts";
import { unknownStream } from "./missing.ts";
import type { Page } from "./page.ts";
import { MAX_STEPS } from "./steps.ts";
import type { EventStream } from "./stream.ts";

/** What is to be appended later. */
export interface ScheduledMessage {
  readonly id: string;
  /** When it is due, by Redis' clock. */
  readonly deliverAt: number;
  /** The message as JSON text: it has no id and no time yet. */
  readonly message: string;
}

/**
 * Lists scheduled messages by the time at which they are due. A page may be short, even empty, while `next` says there is more.
 * @throws {WeirError} `unknown-stream`
 */
export async function listScheduled(
  stream: EventStream,
  { cursor = { afterMs: "0", member: "" }, limit }: { cursor?: ScheduledCursor | undefined; limit: number },
): Promise<Page<ScheduledMessage>> {
  let [after, names]: [ScheduledCursor, readonly string[]] = [cursor, []];
  // The first step tells which buckets it needs.
  for (let steps = 0; steps < MAX_STEPS; steps++) {
    const step = await listStep(stream, after, limit, names);
    if (step.next === undefined) return { items: step.items, next: null };
    if (step.items.length > 0) return { items: step.items, next: scheduledCursor(step.next) };
    after = step.next;
    names = step.needed;
  }
  return {
    items: [],
    next: parseScheduledCursor(scheduledCursor(after)) === undefined ? null : scheduledCursor(after),
  };
}

async function listStep(
  stream: EventStream,
  { afterMs, member }: ScheduledCursor,
  limit: number,
  names: readonly string[],
): Promise<{ items: ScheduledMessage[]; needed: readonly string[]; next: ScheduledCursor | undefined }> {
  const { keys, redis } = stream;
  const reply = await redis.send({
    script: listScheduledScript,
    keys: [keys.stream, keys.config, keys.later, ...bucketKeys(keys, names)],
    args: [limit, afterMs, member, ...names],
  });
  if (reply === "unknown-stream") throw unknownStream(stream);
  const [rows, needed, lastMs = null, last = null] = asArray(reply);
  const next = lastMs === null ? undefined : { afterMs: asText(lastMs), member: asText(last) };
  return { items: asArray(rows).flatMap(decodeRow), needed: asArray(needed).map(asText), next };
}

function decodeRow(row: Reply): ScheduledMessage[] {
  const [bucket, member, dueMs, payload] = asArray(row);
  return decodeScheduled({ bucket: asText(bucket), member: asText(member) }, asNumber(dueMs), payload ?? null);
}

/** Nothing where another client or version has written the payload. */
function decodeScheduled(id: ScheduledId, deliverAt: number, payload: Reply): ScheduledMessage[] {
  const fields = typeof payload === "string" ? readPayload(payload) : undefined;
  return fields === undefined ? [] : [{ id: scheduledId(id), deliverAt, message: `{${contentJson(fields)}}` }];
}

const MAX_FIELDS = 1_000;

/** The names and values in a payload; undefined when it is none. */
function readPayload(payload: string): string[] | undefined {
  const [lengths = ""] = payload.split("\n", 1);
  if (!/^\d{1,9}(,\d{1,9})*$/.test(lengths)) return undefined;
  // As the script that appends them: see `readLater` in `scripts/parts/later.lua.ts`.
  if (lengths.split(",", MAX_FIELDS + 1).length > MAX_FIELDS) return undefined;
  const texts = Buffer.from(payload.slice(lengths.length + 1));
  let at = 0;
  const fields = lengths.split(",").map((length) => {
    const start = at;
    at += Number(length);
    return texts.toString("utf8", start, at);
  });
  return at === texts.length && fields.length % 2 === 0 ? fields : undefined;
}

/** @throws {WeirError} `unknown-stream`; `unknown-message` when there is none, or it was appended */
export async function getScheduled(stream: EventStream, id: ScheduledId): Promise<ScheduledMessage> {
  const { keys, redis } = stream;
  const [exists = null, due = null, payload = null] = (
    await redis.pipeline([
      ["EXISTS", keys.stream],
      ["ZSCORE", keys.laterDue(id.bucket), id.member],
      ["HMGET", keys.laterMessages(id.bucket), id.member],
    ])
  ).map(unwrap);
  if (exists === 0) throw unknownStream(stream);
  const dueMs = asTextOrNull(due);
  const [found] = dueMs === null ? [] : decodeScheduled(id, Number(dueMs), asArray(payload)[0] ?? null);
  if (found === undefined) throw unknownScheduled(stream, id);
  return found;
}

/**
 * Cancels a scheduled message. Either this or the append wins, whichever Redis does first.
 * @throws {WeirError} `unknown-stream`; `unknown-message` when there is none, or it was appended
 */
export async function cancelScheduled(stream: EventStream, id: ScheduledId): Promise<void> {
  const { keys, redis } = stream;
  const outcome = await redis.send({
    script: cancelScheduledScript,
    keys: [keys.stream, keys.config, keys.later, keys.laterSizes, ...bucketKeys(keys, [id.bucket])],
    args: [id.bucket, id.member],
  });
  if (outcome === "unknown-stream") throw unknownStream(stream);
  if (outcome !== 1) throw unknownScheduled(stream, id);
}

function unknownScheduled(stream: EventStream, id: ScheduledId): WeirError {
  return new WeirError(
    "unknown-message",
    `the stream "${stream.name}" has no scheduled message "${scheduledId(id)}"; it may have been appended`,
  );
}
