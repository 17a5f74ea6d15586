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
  const scope = hash(`${stream}/${group}`).toString(36);
  // Every lease begins with the scope: its part of the check is the same for all.
  const start = `${scope}${SEPARATOR}`;
  const startHash = hash(start);
  return {
    write({ id, deliveries, consumer, side }) {
      const rest = `${id}${SEPARATOR}${deliveries}${SEPARATOR}${consumer}${side === undefined ? "" : SEPARATOR + side}`;
      return `${VERSION}${SEPARATOR}${hash(rest, startHash).toString(36)}${SEPARATOR}${start}${rest}`;
    },
    read(text) {
      const checked = text.indexOf(SEPARATOR, VERSION.length + 1) + 1;
      const head = `${VERSION}${SEPARATOR}${hash(text, undefined, checked).toString(36)}${SEPARATOR}`;
      if (checked === 0 || head.length !== checked || !text.startsWith(head)) return "malformed";
      const [leaseScope, id = "", deliveries = "", consumer, side] = text.slice(checked).split(SEPARATOR);
      if (leaseScope !== scope) return "foreign";
      const entryId = parseEntryId(id);
      if (entryId === undefined || !/^[1-9]\d{0,9}$/.test(deliveries) || consumer === undefined) return "malformed";
      const lease = { id: entryId, deliveries: Number(deliveries), consumer };
      return side === undefined || side === "" ? lease : { ...lease, side };
    },
  };
}

/**
 * FNV-1a, 32 bits: against mistakes, not against forgers (http://www.isthe.com/chongo/tech/comp/fnv/).
 * @param value the hash of what stands before, if anything does
 * @param from where to begin in the text
 */
function hash(text: string, value = 0x811c9dc5, from = 0): number {
  let hashed = value;
  for (let i = from; i < text.length; i++) hashed = Math.imul(hashed ^ text.charCodeAt(i), 0x01000193);
  return hashed >>> 0;
}
