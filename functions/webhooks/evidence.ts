import { type Bytes, concat, decode, encode, sha256, utf8 } from "./bytes.ts";
import { formOf, headerAt, isForm, queryOf, textAt } from "./places.ts";
import {
  type HeaderItems,
  hasPart,
  needsUrl,
  type Part,
  type SignedScheme,
  signedHeaders,
  type TimePlace,
} from "./scheme.ts";
import type { WebhookRequest } from "./webhook-request.ts";

/** What a signed request shows for itself. */
export interface Evidence {
  /** Any one of them will do. */
  readonly signatures: readonly Bytes[];
  /** What may have been signed, the likeliest first. */
  readonly messages: readonly Bytes[];
}

/** Of one request: a provider sends two while a secret is changed, a stranger may send a thousand. */
const MAX_SIGNATURES = 5;
/** A stored URL is an attribute. */
const MAX_URL_CHARACTERS = 4_096;
const HTTP_URL = /^https?:\/\/[!-~]+$/;
const METHOD = /^[A-Z]{1,16}$/;

/**
 * What can be told before a signature is checked. As little as can be is done for a request that anybody may have sent: no
 * JSON is parsed, unless a part of it is what is signed.
 * @returns the evidence, or in words what is wrong with it: fixed texts, nothing of the request
 */
export async function evidenceOf(scheme: SignedScheme, request: WebhookRequest): Promise<Evidence | string> {
  const fault = requestFault(scheme, request) ?? (await formFault(scheme, request));
  if (fault !== undefined) return fault;
  const signatures = itemsAt(request, scheme.signature)
    .slice(0, MAX_SIGNATURES)
    .map((text) => decode(text, scheme.signature.encoding))
    .filter((signature) => signature !== undefined);
  if (signatures.length === 0) return "the signature is missing or has not the form of this scheme";
  const messages = urlsOf(scheme, request).map((url) => messageOf({ scheme, request, url }));
  if (!messages.every((message) => message !== undefined)) return "a part of what is signed is missing";
  return { signatures, messages };
}

/**
 * The time in a request that was signed.
 * @returns null where the provider signs none; a text that says what is wrong with it
 */
export function signedTimeOf({ time }: SignedScheme, request: WebhookRequest): number | null | string {
  if (time === undefined) return null;
  const ms = millisecondsOf(timeText(request, time) ?? "", time.unit);
  return ms ?? "the signed time is missing or has not the form of this scheme";
}

function requestFault(scheme: SignedScheme, request: WebhookRequest): string | undefined {
  if (signedHeaders(scheme).some((name) => headerAt(request, name) === undefined)) {
    return "a header that is signed, or holds the signature, is missing, too long or not plain ASCII";
  }
  if (needsUrl(scheme) && (request.url.length > MAX_URL_CHARACTERS || !HTTP_URL.test(request.url))) {
    return "the URL, which is signed in part or as a whole, is too long or not plain ASCII";
  }
  return hasPart(scheme, "method") && !METHOD.test(request.method) ? "the method, which is signed, is none" : undefined;
}

/** What must hold for a body of which only a form is signed, so that nothing in it goes unsigned. */
async function formFault(scheme: SignedScheme, request: WebhookRequest): Promise<string | undefined> {
  if (!hasPart(scheme, "form")) return undefined;
  // Whatever the body says that it is: the form that was signed then had no parameters.
  const stated = statedDigest(scheme, request);
  if (stated !== undefined) {
    const isRight = stated === encode(await sha256(request.body), "hex");
    return isRight ? undefined : "the signed URL states the digest of another body";
  }
  if (request.body.byteLength === 0) return undefined;
  if (isForm(request)) return formOf(request) === undefined ? "the form is not UTF-8" : undefined;
  return "the body is no form, and the signed URL does not state its digest";
}

function statedDigest({ bodyDigest }: SignedScheme, request: WebhookRequest): string | undefined {
  return bodyDigest === undefined ? undefined : queryOf(request).get(bodyDigest)?.toLowerCase();
}

/** @returns what was signed of a request that was verified, as far as a repeat has the same */
export function signedMessage(scheme: SignedScheme, request: WebhookRequest): Bytes | undefined {
  return messageOf({ scheme, request, url: request.url });
}

/** @returns the texts of the header's items that have the prefix, without it */
export function itemsAt(request: WebhookRequest, { header, separator, prefix = "" }: HeaderItems): string[] {
  const value = headerAt(request, header) ?? "";
  const items = separator === undefined ? [value] : value.split(separator).map((item) => item.trim());
  return items.filter((item) => item.startsWith(prefix)).map((item) => item.slice(prefix.length));
}

function timeText(request: WebhookRequest, place: TimePlace): string | undefined {
  return "header" in place ? itemsAt(request, place)[0] : textAt(request, place);
}

const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/;

function millisecondsOf(text: string, unit: TimePlace["unit"]): number | undefined {
  if (unit === "s") return /^\d{1,11}$/.test(text) ? Number(text) * 1_000 : undefined;
  if (unit === "ms") return /^\d{1,14}$/.test(text) ? Number(text) : undefined;
  const ms = ISO_TIME.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

interface Source {
  readonly scheme: SignedScheme;
  readonly request: WebhookRequest;
  readonly url: string;
}

/** @returns what is signed, put together; undefined when a part of it is not there */
function messageOf(source: Source): Bytes | undefined {
  const { signed } = source.scheme;
  const parts = signed.map((part) => bytesOf(part, source)).filter((bytes) => bytes !== undefined);
  return parts.length === signed.length ? concat(parts) : undefined;
}

function bytesOf(part: Part, source: Source): Uint8Array | undefined {
  if (part === "body") return source.request.body;
  const text = partText(part, source);
  // A lone surrogate, which JSON may hold escaped, has no bytes.
  return text?.isWellFormed() === true ? utf8(text) : undefined;
}

function partText(part: Exclude<Part, "body">, { scheme, request, url }: Source): string | undefined {
  if (typeof part === "object") return "text" in part ? part.text : headerAt(request, part.header);
  switch (part) {
    case "timestamp":
      return scheme.time === undefined ? undefined : timeText(request, scheme.time);
    case "id":
      return scheme.id === undefined ? undefined : textAt(request, scheme.id);
    case "method":
      return request.method;
    case "url":
      return url;
    case "url-decoded":
      return url.replace(DECODED, (code) => decodeURIComponent(code));
    case "form":
      return statedDigest(scheme, request) === undefined ? sortedForm(request) : "";
  }
}

/** What HubSpot decodes before it signs (its page on request validation, version 3). */
const DECODED = /%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)/gi;

/**
 * The parameters as Twilio signs them: by name, in the order of their UTF-16 units; of one that is repeated each value
 * once, in their order (its library's `getExpectedTwilioSignature`).
 */
function sortedForm(request: WebhookRequest): string {
  const form = formOf(request) ?? new URLSearchParams();
  return [...new Set(form.keys())]
    .sort()
    .flatMap((name) => [...new Set(form.getAll(name))].sort().map((value) => name + value))
    .join("");
}

/** The URL as it is, and where the provider may do so, with the port that goes without saying, or without it. */
function urlsOf({ isPortOptional }: SignedScheme, { url }: WebhookRequest): string[] {
  const [, scheme, host, port, rest = ""] = /^(https?):\/\/([^/?#]*?)(:\d+)?([/?#].*)?$/.exec(url) ?? [];
  if (isPortOptional !== true || scheme === undefined) return [url];
  const other = port === undefined ? (scheme === "https" ? ":443" : ":80") : "";
  return [url, `${scheme}://${host}${other}${rest}`];
}
