const U64_MAX = 18446744073709551615n;

const USUAL_ID = /^[1-9]\d{0,18}-(?:0|[1-9]\d{0,18})$/;

/** Before every id that there may be. */
export const FIRST_ID = "0-0";
/** The last id that there may be. */
export const LAST_ID = `${U64_MAX}-${U64_MAX}`;

/** @returns the entry id in Redis' own spelling, or undefined when the text is not a whole id such as `1690000000000-0` */
export function parseEntryId(text: string): string | undefined {
  // The usual case: short enough to be in range, no leading zeros.
  if (USUAL_ID.test(text)) return text;
  const match = /^(\d{1,20})-(\d{1,20})$/.exec(text);
  if (match === null) return undefined;
  const [ms, sequence] = [BigInt(match[1] ?? ""), BigInt(match[2] ?? "")];
  return ms <= U64_MAX && sequence <= U64_MAX ? `${ms}-${sequence}` : undefined;
}

/** @returns when Redis made the id, in Unix milliseconds */
export function timeOfId(id: string): number {
  return Number(id.slice(0, id.indexOf("-")));
}

/** @returns the id's place within its millisecond; above 2^53 only nearly */
export function sequenceOfId(id: string): number {
  return Number(id.slice(id.indexOf("-") + 1));
}

/** @returns the id right before that millisecond, for a group that is to read from then on */
export function idBefore(ms: number): string {
  return ms === 0 ? FIRST_ID : `${ms - 1}-${U64_MAX}`;
}

/** Orders two ids of Redis; their halves are up to 64 bits, more than a number holds. */
export function compareIds(a: string, b: string): number {
  const [aMs = "", aSequence = ""] = a.split("-");
  const [bMs = "", bSequence = ""] = b.split("-");
  return compareDigits(aMs, bMs) || compareDigits(aSequence, bSequence);
}

function compareDigits(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}

/** @returns the id as text whose order is that of ids: each half with its number of digits before it */
export function orderedId(id: string): string {
  return id.replace(/\d+/g, (digits) => String(digits.length).padStart(2, "0") + digits);
}
