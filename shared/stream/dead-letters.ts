import { Buffer, isUtf8 } from "node:buffer";
import { parseEntryId, timeOfId } from "../ids.ts";
import { decodeFields, type Entry, type METADATA_PREFIX, messageJson } from "../message.ts";
import { ReplyError } from "../redis/connection.ts";
import { unwrap } from "../redis/redis.ts";
import type { Page } from "./inspect.ts";
import { decodeRange, rangeCall } from "./messages.ts";
import { type EventStream, groupError } from "./stream.ts";

/** Why a message went to the dead letters. */
export const DEAD_LETTER_REASONS = ["max-deliveries", "rejected", "payload-missing", "trimmed"] as const;

export interface DeadLetter {
  readonly id: string;
  /** The message as JSON text, under the id that it had in the stream. */
  readonly message: string;
  readonly reason: string;
  /** The consumer's words, if it gave any. */
  readonly detail: string | null;
  readonly deliveries: number;
  /** Who was handed it last. */
  readonly consumer: string;
  readonly deadAt: number;
}

export interface DeadLetterQuery {
  readonly reason?: string | undefined;
  readonly type?: string | undefined;
  readonly cursor?: string | undefined;
  readonly limit: number;
}

/**
 * Lists a group's dead letters, oldest first. With a filter a page may be short, even empty, while `next` says there
 * is more.
 * @throws {WeirError} `unknown-stream`, `unknown-group`
 */
export async function listDeadLetters(
  stream: EventStream,
  group: string,
  { reason, type, cursor, limit }: DeadLetterQuery,
): Promise<Page<DeadLetter>> {
  const { keys, redis } = stream;
  const [probe = null, reply = null] = await redis.pipeline([
    ["XPENDING", keys.stream, group],
    rangeCall(keys.dead(group), keys.config, { order: "asc", cursor, limit }),
  ]);
  if (probe instanceof ReplyError) throw await groupError(stream, group, probe);
  // No dead letter yet: no key yet.
  const page = decodeRange(unwrap(reply)) ?? { items: [], next: null };
  const items = page.items.flatMap((entry) => {
    const original = originalFields(entry);
    const letter = decodeDeadLetter(entry, original);
    const wanted =
      (reason ?? letter.reason) === letter.reason && (type ?? original.get("type")) === original.get("type");
    return wanted ? [letter] : [];
  });
  return { items, next: page.next };
}

function decodeDeadLetter({ id, fields }: Entry, original: Entry["fields"]): DeadLetter {
  return {
    id,
    message: messageJson(parseEntryId(textAt(fields, "weir-id") ?? "") ?? id, original),
    reason: textAt(fields, "weir-reason") ?? "unknown",
    detail: textAt(fields, "weir-detail") ?? null,
    deliveries: Number(textAt(fields, "weir-deliveries") ?? 0),
    consumer: textAt(fields, "weir-consumer") ?? "",
    deadAt: timeOfId(id),
  };
}

/** The fields that the message had; very many of them lie packed in one, as JSON. */
function originalFields({ fields }: Entry): Entry["fields"] {
  const packed = fields.get("weir-fields");
  if (packed === undefined) return fields;
  // The packing copies bytes as they are, so values that are not UTF-8 are in there too: read byte by byte.
  const flat = parseList(Buffer.from(packed).toString("latin1"));
  // Another client has written to the dead letters: it is no packing of Weir's.
  if (flat === undefined) return fields;
  return decodeFields(flat.map((text) => decodeBytes(Buffer.from(String(text), "latin1"))));
}

function parseList(json: string): readonly unknown[] | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function decodeBytes(bytes: Buffer): string | Uint8Array {
  return isUtf8(bytes) ? bytes.toString() : new Uint8Array(bytes);
}

function textAt(fields: Entry["fields"], name: `${typeof METADATA_PREFIX}${string}`): string | undefined {
  const value = fields.get(name);
  return value instanceof Uint8Array ? Buffer.from(value).toString() : value;
}
