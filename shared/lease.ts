import { parseEntryId } from "./ids.ts";

/** What a lease says: which delivery of which entry to whom. It is no credential; Redis' PEL is the truth. */
export interface Lease {
  readonly id: string;
  readonly consumer: string;
  /** Which delivery of the message this is, from 1. */
  readonly deliveries: number;
  /** The side id, for a message that was handed out of the group's side store. */
  readonly side?: string;
}

export type ReadLease = Lease | "malformed" | "foreign";

const VERSION = "1";
const SEPARATOR = "~"; // in no name or id, and needs no escaping in a URL

/** Writes and reads the leases of one stream and group. */
export interface LeaseFormat {
  write(lease: Lease): string;
  /** @returns `foreign` for a lease of another stream or group, `malformed` for what is no whole lease */
  read(text: string): ReadLease;
}

/**
 * A lease is `1~check~scope~id~deliveries~consumer[~side]`; later versions may append fields, which this one ignores.
 * `scope` is a hash of stream and group, `check` one of all that follows it, so that a cut or mangled lease is told.
 */
export function leaseFormat(stream: string, group: string): LeaseFormat {
  const scope = hash(`${stream}/${group}`);
  return {
    write({ id, deliveries, consumer, side }) {
      const fields = [scope, id, deliveries, consumer];
      const rest = (side === undefined ? fields : [...fields, side]).join(SEPARATOR);
      return [VERSION, hash(rest), rest].join(SEPARATOR);
    },
    read(text) {
      const [version, check, ...rest] = text.split(SEPARATOR);
      if (version !== VERSION || check !== hash(rest.join(SEPARATOR))) return "malformed";
      const [leaseScope, id = "", deliveries = "", consumer, side] = rest;
      if (leaseScope !== scope) return "foreign";
      const entryId = parseEntryId(id);
      if (entryId === undefined || !/^[1-9]\d{0,9}$/.test(deliveries) || consumer === undefined) return "malformed";
      const lease = { id: entryId, deliveries: Number(deliveries), consumer };
      return side === undefined || side === "" ? lease : { ...lease, side };
    },
  };
}

/** FNV-1a, 32 bits, in base 36: against mistakes, not against forgers (http://www.isthe.com/chongo/tech/comp/fnv/). */
function hash(text: string): string {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return (value >>> 0).toString(36);
}
