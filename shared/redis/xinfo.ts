import type { Reply } from "./connection.ts";
import { asArray, asMap, asNumber, asNumberOrNull, asText, asTextOrNull } from "./reply.ts";

/** Reads XINFO's answers, by name. Upstash may leave some fields out. */

/** What XINFO STREAM tells, but for payloads. */
export interface StreamFacts {
  readonly length: number;
  readonly firstId: string | null;
  /** The last id that was given out; "0-0" before the first. */
  readonly lastGeneratedId: string;
  readonly groups: number;
  /** How many were ever added; null where it is not told. */
  readonly added: number | null;
  /** The greatest id that was deleted ("0-0" before the first); null where it is not told. */
  readonly maxDeletedId: string | null;
}

/** What XINFO GROUPS tells of a group. */
export interface GroupFacts {
  readonly name: string;
  /** null where Redis does not know it. */
  readonly lag: number | null;
  /** How many it has read, as Redis counts; null where Redis does not know it. */
  readonly read: number | null;
  readonly pending: number;
  readonly lastDeliveredId: string;
  readonly consumers: number;
}

export function decodeStreamFacts(reply: Reply): StreamFacts {
  const facts = asMap(reply);
  const firstEntry = facts.get("first-entry") ?? null;
  return {
    length: asNumber(facts.get("length")),
    firstId: firstEntry === null ? null : asText(asArray(firstEntry)[0]),
    lastGeneratedId: asText(facts.get("last-generated-id")),
    groups: asNumber(facts.get("groups")),
    added: asNumberOrNull(facts.get("entries-added") ?? null),
    maxDeletedId: asTextOrNull(facts.get("max-deleted-entry-id") ?? null),
  };
}

export function decodeGroupFacts(reply: Reply): GroupFacts[] {
  return asArray(reply).map((row) => {
    const facts = asMap(row);
    return {
      name: asText(facts.get("name")),
      lag: asNumberOrNull(facts.get("lag") ?? null),
      read: asNumberOrNull(facts.get("entries-read") ?? null),
      pending: asNumber(facts.get("pending")),
      lastDeliveredId: asText(facts.get("last-delivered-id")),
      consumers: asNumber(facts.get("consumers")),
    };
  });
}
