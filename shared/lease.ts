import { parseEntryId } from "./ids.ts";

/** What a lease says: which delivery of which entry to whom. It is no credential; Redis' PEL is the truth. */
export interface Lease {
  readonly id: string;
  readonly consumer: string;
  /** Which delivery of the message this is, from 1. */
  readonly deliveries: number;
  /** The side id, for a message that was handed out of the group's side store. */
  readonly side?: string | undefined;
}

export type ReadLease = Lease | "malformed" | "foreign";

const SEPARATOR = "~"; // in no name or id, and needs no escaping in a URL
const HEAD = `1${SEPARATOR}`; // the version

/** Writes and reads the leases of one stream and group. */
export interface LeaseFormat {
  /** @returns text that needs no escaping in JSON, as long as the consumer's name needs none */
  write(lease: Lease): string;
  /** @returns `foreign` for a lease of another stream or group, `malformed` for what is no whole lease */
  read(text: string): ReadLease;
}

/**
 * A lease is `1~check~scope~id~deliveries~consumer[~side]`; later versions may append fields, which this one ignores.
 * `scope` is a hash of stream and group, `check` one of all that follows it, so that a cut or mangled lease is told.
 * Written and read for every message: hence no splitting, and numbers in decimal, which V8 writes fastest.
 */
export function leaseFormat(stream: string, group: string): LeaseFormat {
  const scope = String(hash(`${stream}/${group}`));
  // Every lease begins with the scope: its part of the check is the same for all.
  const start = `${scope}${SEPARATOR}`;
  const startHash = hash(start);
  return {
    write({ id, deliveries, consumer, side }) {
      const rest = `${id}${SEPARATOR}${deliveries}${SEPARATOR}${consumer}${side === undefined ? "" : SEPARATOR + side}`;
      return `${HEAD}${hash(rest, startHash)}${SEPARATOR}${start}${rest}`;
    },
    read(text) {
      const checked = text.indexOf(SEPARATOR, HEAD.length) + 1;
      if (checked === 0 || !text.startsWith(HEAD)) return "malformed";
      const isOwn = text.startsWith(start, checked);
      const check = isOwn ? hash(text, startHash, checked + start.length) : hash(text, undefined, checked);
      if (text.slice(HEAD.length, checked - 1) !== String(check)) return "malformed";
      if (!isOwn) return text.includes(SEPARATOR, checked) ? "foreign" : "malformed";
      const idEnd = text.indexOf(SEPARATOR, checked + start.length);
      const deliveriesEnd = text.indexOf(SEPARATOR, idEnd + 1);
      if (idEnd === -1 || deliveriesEnd === -1) return "malformed";
      const id = parseEntryId(text.slice(checked + start.length, idEnd));
      const deliveries = text.slice(idEnd + 1, deliveriesEnd);
      if (id === undefined || !/^[1-9]\d{0,9}$/.test(deliveries)) return "malformed";
      const consumerEnd = text.indexOf(SEPARATOR, deliveriesEnd + 1);
      if (consumerEnd === -1) return { id, deliveries: Number(deliveries), consumer: text.slice(deliveriesEnd + 1) };
      const consumer = text.slice(deliveriesEnd + 1, consumerEnd);
      const [side] = text.slice(consumerEnd + 1).split(SEPARATOR, 1);
      return { id, deliveries: Number(deliveries), consumer, side: side === "" ? undefined : side };
    },
  };
}

/**
 * FNV-1a, of which 30 bits are kept, the most that V8 takes for a small integer: against mistakes, not against forgers
 * (http://www.isthe.com/chongo/tech/comp/fnv/).
 * @param value the hash of what stands before, if anything does
 * @param from where to begin in the text
 */
function hash(text: string, value = 0x811c9dc5, from = 0): number {
  let hashed = value;
  for (let i = from; i < text.length; i++) hashed = Math.imul(hashed ^ text.charCodeAt(i), 0x01000193);
  return hashed & 0x3fffffff;
}
