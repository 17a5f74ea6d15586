import { type Reply, UnexpectedReply } from "./connection.ts";

/** Reads Redis' replies by their expected shape; another shape throws, so that no wrong value travels on. */

export function asArray(reply: Reply | undefined): readonly Reply[] {
  if (Array.isArray(reply)) return reply;
  throw unexpected("an array", reply);
}

/** For replies that are nil instead of an empty array. */
export function asArrayOrEmpty(reply: Reply | undefined): readonly Reply[] {
  return reply === null ? [] : asArray(reply);
}

/** Text; a name in bytes that are not UTF-8 is shown with U+FFFD. */
export function asText(reply: Reply | undefined): string {
  if (typeof reply === "string") return reply;
  if (reply instanceof Uint8Array) return new TextDecoder().decode(reply);
  throw unexpected("text", reply);
}

export function asTextOrNull(reply: Reply | undefined): string | null {
  return reply === null ? null : asText(reply);
}

/** A number, or digits that are one. */
export function asNumber(reply: Reply | undefined): number {
  const value = typeof reply === "string" ? Number(reply) : reply;
  if (typeof value === "number" && !Number.isNaN(value)) return value;
  throw unexpected("a number", reply);
}

export function asNumberOrNull(reply: Reply | undefined): number | null {
  return reply === null ? null : asNumber(reply);
}

/** A flat list of names and values (XINFO, HGETALL) as a map. */
export function asMap(reply: Reply | undefined): ReadonlyMap<string, Reply> {
  const flat = asArray(reply);
  const map = new Map<string, Reply>();
  for (let i = 0; i + 1 < flat.length; i += 2) map.set(asText(flat[i]), flat[i + 1] ?? null);
  return map;
}

function unexpected(expected: string, reply: Reply | undefined): UnexpectedReply {
  const got = Array.isArray(reply) ? "an array" : reply === null ? "nil" : typeof reply;
  return new UnexpectedReply(`expected ${expected} from Redis, got ${got}`);
}
