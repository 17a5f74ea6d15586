import { isDay } from "./day.ts";

/** What CloudEvents 1.0.2 permits: the names and values of an event's attributes. */

/** A message that came as a CloudEvent keeps the event's attributes under their names with this before them. */
export const CE_PREFIX = "ce-";
/** Names of attributes (section 3, "Naming Conventions"). */
export const EVENT_NAME = /^[a-z0-9]+$/;
/** Longer ones are no URIs that anybody uses, and patterns look at them. */
export const MAX_URI_CHARACTERS = 4_096;

/** Whether it is a String of CloudEvents: no controls, no halves of surrogate pairs, no noncharacters. */
export function isEventText(text: string): boolean {
  return !/[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u.test(text);
}

/** Whether it is a timestamp of RFC 3339. A leap second is not taken: no Date can hold it. */
export function isTimestamp(text: string): boolean {
  const pattern =
    /^(\d{4}-\d{2}-\d{2})T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,20})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/i;
  const day = text.length <= 50 ? pattern.exec(text)?.[1] : undefined;
  return day !== undefined && isDay(day);
}

/** Whether it is a URI with a scheme (RFC 3986, section 3) and something behind it, which SDKs insist on. */
export function isUri(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:[^?#]/i.test(text) && isUriReference(text);
}

/** Whether it is a URI or a relative reference that is not empty (RFC 3986, section 4.1). */
export function isUriReference(text: string): boolean {
  if (text === "" || text.length > MAX_URI_CHARACTERS) return false;
  if (!/^[\w\-.~:/?#[\]@!$&'()*+,;=%]+$/.test(text) || /%(?![0-9a-f]{2})/i.test(text)) return false;
  // The pattern of RFC 3986, appendix B, which matches any text.
  const [, scheme = "a", authority = "", ...rest] =
    /^(?:([^:/?#]*):)?(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/.exec(text) ?? [];
  const isWhole = !rest.some((part) => /[#[\]]/.test(part ?? ""));
  return isWhole && /^[a-z][a-z0-9+.-]*$/i.test(scheme) && isAuthority(authority);
}

function isAuthority(authority: string): boolean {
  const [found, address] = /^(?:[^@[\]]*@)?(?:(\[[0-9a-f:.]+\])|[^@:[\]]*)(?::\d*)?$/i.exec(authority) ?? [];
  return found !== undefined && (address === undefined || URL.canParse(`http://${address}`));
}
