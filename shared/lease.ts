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

/** A lease as it was read. */
export interface LeaseText extends Lease {
  /** Which group of that name handed it out; undefined in leases of earlier versions. */
  readonly incarnation?: string | undefined;
}

export type ReadLease = LeaseText | "malformed" | "foreign";

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
 * A lease is `1~scope~consumer~deliveries~id[~side[~incarnation]]~check`. `scope` is a hash of stream and group, `check`
 * one of all between the version and itself, so that a cut or mangled lease is noticed. `incarnation` says which group of
 * that name it was: a group that was deleted and made anew hands out the same messages under the same counts. Later versions
 * may put fields behind it (an empty one stands for what there is not), which this one ignores.
 *
 * Every message has one, so it must be cheap: what the leases of a batch share stands first, and the format remembers the
 * last such beginning with its part of the check. Per lease only the id's part is computed.
 * @param incarnation of the group, for the leases that are written; "": it has none
 */
export function leaseFormat(stream: string, group: string, incarnation = ""): LeaseFormat {
  const scope = String(hash(`${stream}/${group}`));
  let shared = shareOf(scope, "", 1);
  return {
    write({ id, deliveries, consumer, side }) {
      if (consumer !== shared.consumer || deliveries !== shared.deliveries) {
        shared = shareOf(scope, consumer, deliveries);
      }
      const own = ownPart(id, side, incarnation);
      return `${shared.head}${own}${SEPARATOR}${hash(own, shared.hash)}`;
    },
    read(text) {
      const end = text.lastIndexOf(SEPARATOR);
      const start = shared.head.length;
      if (start < end && text.startsWith(shared.head)) {
        if (text.slice(end + 1) !== String(hash(text, shared.hash, start, end))) return "malformed";
      } else {
        if (!text.startsWith(HEAD)) return "malformed";
        if (text.slice(end + 1) !== String(hash(text, undefined, HEAD.length, end))) return "malformed";
        const read = readShare(text, scope, end);
        if (typeof read === "string") return read;
        shared = read;
      }
      const { consumer, deliveries, head } = shared;
      const idEnd = text.indexOf(SEPARATOR, head.length);
      const id = parseEntryId(text.slice(head.length, idEnd));
      if (id === undefined) return "malformed";
      if (idEnd === end) return { id, deliveries, consumer };
      const [side, incarnation] = text.slice(idEnd + 1, end).split(SEPARATOR, 2);
      return { id, deliveries, consumer, side: side || undefined, incarnation: incarnation || undefined };
    },
  };
}

function ownPart(id: string, side: string | undefined, incarnation: string): string {
  if (incarnation !== "") return `${id}${SEPARATOR}${side ?? ""}${SEPARATOR}${incarnation}`;
  return side === undefined ? id : `${id}${SEPARATOR}${side}`;
}

/** What the leases of a batch begin with, and its part of their check. */
interface Share {
  readonly consumer: string;
  readonly deliveries: number;
  readonly head: string;
  readonly hash: number;
}

function shareOf(scope: string, consumer: string, deliveries: number): Share {
  const fields = `${scope}${SEPARATOR}${consumer}${SEPARATOR}${deliveries}${SEPARATOR}`;
  return { consumer, deliveries, head: HEAD + fields, hash: hash(fields) };
}

/** @param end where the checked part ends; the check has passed */
function readShare(text: string, scope: string, end: number): Share | "malformed" | "foreign" {
  const [itsScope, consumer, deliveries = "", id] = text.slice(HEAD.length, end).split(SEPARATOR, 4);
  if (consumer === undefined) return "malformed";
  if (itsScope !== scope) return "foreign";
  if (id === undefined || !/^[1-9]\d{0,9}$/.test(deliveries)) return "malformed";
  return shareOf(scope, consumer, Number(deliveries));
}

/**
 * FNV-1a, of which 30 bits are kept, the most that V8 takes for a small integer: against mistakes, not against forgers
 * (http://www.isthe.com/chongo/tech/comp/fnv/).
 * @param value the hash of what stands before, if anything does
 */
function hash(text: string, value = 0x811c9dc5, start = 0, end = text.length): number {
  let hashed = value;
  for (let i = start; i < end; i++) hashed = Math.imul(hashed ^ text.charCodeAt(i), 0x01000193);
  return hashed & 0x3fffffff;
}
