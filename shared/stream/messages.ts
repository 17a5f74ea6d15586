import { WeirError } from "../errors.ts";
import { FIRST_ID, LAST_ID } from "../ids.ts";
import { decodeEntry, type Entry, messageJson } from "../message.ts";
import type { Reply } from "../redis/connection.ts";
import { unwrap } from "../redis/redis.ts";
import { asArray, asMap, asNumber } from "../redis/reply.ts";
import type { ScriptCall } from "../redis/script.ts";
import { decodeGroupFacts } from "../redis/xinfo.ts";
import { deleteMessageScript } from "../scripts/delete-message.lua.ts";
import { readRangeScript } from "../scripts/read-range.lua.ts";
import { unknownStream, unwrapOfStream } from "./missing.ts";
import type { Page } from "./page.ts";
import { type Position, rangeBound } from "./position.ts";
import type { EventStream } from "./stream.ts";

export interface ReadQuery {
  readonly start?: Position | undefined;
  readonly end?: Position | undefined;
  readonly order: "asc" | "desc";
  /** The id of the last message of the page before. */
  readonly cursor?: string | undefined;
  readonly limit: number;
}

/** How a message is written as JSON text. */
export type MessageWriter = (id: string, fields: Entry["fields"]) => string;

/**
 * Reads a range of messages, as JSON texts, in either order; touches no group.
 * @throws {WeirError} `unknown-stream`
 */
export async function readMessages(
  stream: EventStream,
  query: ReadQuery,
  write: MessageWriter = messageJson,
): Promise<Page<string>> {
  const { keys, redis } = stream;
  const page = decodeRange(await redis.send(rangeCall(keys.stream, keys.config, query)));
  if (page === undefined) throw unknownStream(stream);
  return { items: page.items.map(({ id, fields }) => write(id, fields)), next: page.next };
}

/**
 * One page of a stream's entries, as a call.
 * @param config the config hash of the stream that the messages are of: it says how large they may be
 */
export function rangeCall(key: string, config: string, { start, end, order, cursor, limit }: ReadQuery): ScriptCall {
  const [low, high] = [rangeBound(start, "-"), rangeBound(end, "+")];
  const isUp = order === "asc";
  const command = isUp ? "XRANGE" : "XREVRANGE";
  const [first, last] = isUp ? [low, high] : [high, low];
  const [lowest, highest] = isUp ? [FIRST_ID, LAST_ID] : [LAST_ID, FIRST_ID];
  const after = cursor === undefined ? first : `(${cursor}`;
  // Redis refuses to go on behind the end of all ids. Nothing lies there, as between the two ends the wrong way round.
  const bounds = cursor === highest ? [highest, lowest] : [after, last];
  return {
    script: readRangeScript,
    keys: [key, config],
    args: [command, ...bounds, limit],
  };
}

/** @returns undefined when there is no stream at that key */
export function decodeRange(reply: Reply): Page<Entry> | undefined {
  const [entries, more] = asArray(reply);
  if (entries === "unknown-stream") return undefined;
  const items = asArray(entries).map(decodeEntry);
  return { items, next: more === 1 ? (items.at(-1)?.id ?? null) : null };
}

/**
 * @param id as Redis writes it
 * @returns the message as JSON text
 * @throws {WeirError} `unknown-stream`, `unknown-message`
 */
export async function getMessage(stream: EventStream, id: string, write: MessageWriter = messageJson): Promise<string> {
  const { fields } = await getEntry(stream, id);
  return write(id, fields);
}

/**
 * @param id as Redis writes it
 * @throws {WeirError} `unknown-stream`, `unknown-message`
 */
export async function getEntry(stream: EventStream, id: string): Promise<Entry> {
  const { keys, redis } = stream;
  const [exists, reply] = await redis.pipeline([
    ["EXISTS", keys.stream],
    ["XRANGE", keys.stream, id, id],
  ]);
  if (unwrap(exists ?? null) === 0) throw unknownStream(stream);
  const [entry] = asArray(unwrap(reply ?? null)).map(decodeEntry);
  if (entry === undefined) throw unknownMessage(stream, id);
  return entry;
}

/** Groups that one step looks at. */
const GROUPS_AT_ONCE = 20;

/**
 * Deletes a message, for every group, also where it waits to be handed out again: who has it pending finds it as a dead letter
 * without payload. Dead letters stay.
 * @throws {WeirError} `unknown-stream`; `unknown-message` when neither the stream nor a group's side store has it
 */
export async function deleteMessage(stream: EventStream, id: string): Promise<void> {
  const { keys, redis } = stream;
  const [infos, config = null] = await redis.pipeline([
    ["XINFO", "GROUPS", keys.stream],
    ["HGETALL", keys.config],
  ]);
  const settings = asMap(unwrap(config));
  const groups = decodeGroupFacts(unwrapOfStream(stream, infos)).filter(({ name }) => settings.has(`againDue:${name}`));
  let deleted = 0;
  // The stream with the last of them: after a crash in between the request can be repeated.
  for (let i = 0; i === 0 || i < groups.length; i += GROUPS_AT_ONCE) {
    const ofGroups = groups.slice(i, i + GROUPS_AT_ONCE).flatMap(({ name }) => [keys.again(name), keys.againDue(name)]);
    const isLast = i + GROUPS_AT_ONCE >= groups.length;
    const call = { script: deleteMessageScript, keys: [keys.stream, ...ofGroups], args: [id, isLast ? 1 : 0] };
    for (let more = true; more; ) {
      const [count, isMore] = asArray(await redis.send(call));
      deleted += asNumber(count);
      // What is there and cannot be taken away is nobody's.
      more = isMore === 1 && count !== 0;
    }
  }
  if (deleted === 0) throw unknownMessage(stream, id);
}

/** Neither the stream nor, where that was asked, a group has it. */
export function unknownMessage(stream: EventStream, id: string): WeirError {
  return new WeirError("unknown-message", `the stream "${stream.name}" has no message "${id}"`);
}
