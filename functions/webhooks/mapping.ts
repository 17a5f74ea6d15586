import { Buffer } from "node:buffer";
import type { NewMessage } from "../../shared/message.ts";
import { rawData, statedType, utf8Text } from "../http/raw-data.ts";
import { encode, sha256, utf8 } from "./bytes.ts";
import { signedMessage } from "./evidence.ts";
import type { Secrets } from "./keys.ts";
import { firstTextAt, headerAt, jsonOf, MAX_JSON_PARTS, textAt } from "./places.ts";
import type { Provider } from "./providers.ts";
import { hasPart, needsUrl, type Scheme, signedHeaders } from "./scheme.ts";
import { isSealedWith, sealOf, withoutSecret } from "./shared-secret.ts";
import { matching, refused, type Verdict, type Verified, verified, verify } from "./verify.ts";
import type { WebhookRequest } from "./webhook-request.ts";

/** How a source's requests become messages. */
export interface Mapping {
  readonly source: string;
  readonly provider: Provider;
  /** The provider's, or the source's own. */
  readonly scheme: Scheme;
  /** Before the event type. */
  readonly typePrefix: string;
  /** Where the message's key stands. */
  readonly key: { readonly header: string } | { readonly pointer: string } | null;
}

/** Of a type, a key, a delivery id. */
const MAX_TEXT_CHARACTERS = 1_024;

/**
 * Makes a message of a request that was verified. It holds all that verifying it again needs, and no secret.
 * @param verdict what `verify()` said
 */
export async function toMessage(
  mapping: Mapping,
  request: WebhookRequest,
  verdict: Verified,
  secrets: Secrets,
): Promise<NewMessage> {
  const secret = secrets[verdict.secret] ?? secrets.current;
  const body = mapping.scheme.algorithm === "shared-secret" ? bodyWithout(request, secret) : request.body;
  const { payload } = rawData(body, request.headers.get("content-type"), MAX_JSON_PARTS);
  const publicText = (text: string | undefined) => (isSecretIn(mapping, text, secret) ? undefined : text);
  const id = publicText(deliveryId(mapping, request));
  return {
    type: publicText(typeOf(mapping, request)),
    key: mapping.key === null ? undefined : publicText(short(textAt(request, mapping.key))),
    attributes: {
      "webhook-source": mapping.source,
      ...(id === undefined ? {} : { "webhook-id": id }),
      ...(await proofOf(mapping, request, body, secret)),
    },
    ...payload,
  };
}

/** The place of a key may be that of the secret. */
function isSecretIn({ scheme }: Mapping, text: string | undefined, secret: string): boolean {
  return scheme.algorithm === "shared-secret" && text?.includes(secret) === true;
}

/** JSON as it came but for the secret; other bodies do not hold it where it is looked for. */
function bodyWithout(request: WebhookRequest, secret: string): Uint8Array {
  const text = utf8Text(request.body) ?? "";
  return jsonOf(request) === undefined || !text.includes('"') ? request.body : utf8(withoutSecret(text, secret));
}

function typeOf({ provider, typePrefix }: Mapping, request: WebhookRequest): string | undefined {
  const event = firstTextAt(request, provider.eventType);
  return event === undefined ? undefined : short(typePrefix + event);
}

/** @returns text that may be a type, a key, an id; undefined when it is none: the message comes without it */
function short(text: string | undefined): string | undefined {
  return text !== undefined && text !== "" && text.length <= MAX_TEXT_CHARACTERS && text.isWellFormed()
    ? text
    : undefined;
}

function deliveryId({ scheme, provider }: Mapping, request: WebhookRequest): string | undefined {
  return short(firstTextAt(request, scheme.id === undefined ? provider.deliveryId : [scheme.id]));
}

/** What verifying the stored message needs besides its body. */
async function proofOf(
  { source, scheme }: Mapping,
  request: WebhookRequest,
  body: Uint8Array,
  secret: string,
): Promise<Record<string, string>> {
  if (scheme.algorithm === "shared-secret") return { "webhook-seal": await sealOf(source, body, secret) };
  const headers = signedHeaders(scheme).map((name) => [name, headerAt(request, name) ?? ""]);
  return {
    ...Object.fromEntries(headers),
    ...(needsUrl(scheme) ? { "webhook-url": request.url } : {}),
    ...(hasPart(scheme, "method") ? { "webhook-method": request.method } : {}),
  };
}

/**
 * What repeats of a delivery are known by: the provider's delivery id; without one its signed time and all that was signed, the
 * body among it. Two events that happened within the same second may differ in a signed header alone.
 * @returns undefined when there is neither: then nothing is taken for a repeat
 */
export async function identityOf(
  mapping: Mapping,
  request: WebhookRequest,
  verdict: Verified,
): Promise<string | undefined> {
  const id = deliveryId(mapping, request);
  if (id !== undefined) return `id:${id}`;
  if (verdict.signedAtMs === null || mapping.scheme.algorithm === "shared-secret") return undefined;
  const signed = signedMessage(mapping.scheme, request) ?? request.body;
  return `at:${verdict.signedAtMs}:${encode(await sha256(signed), "hex")}`;
}

type Fields = ReadonlyMap<string, string | Uint8Array>;

/**
 * A stored message as the request that it came as, as far as it was signed: exactly the bytes that came.
 * @param fields of a stream's entry, as `fieldMap` has them
 */
export function storedRequest({ scheme }: Mapping, fields: Fields): WebhookRequest {
  const headers = new Headers();
  const type = statedType(textOf(fields, "datacontenttype") ?? "application/json");
  if (type !== undefined) headers.set("content-type", type);
  for (const name of signedHeaders(scheme)) {
    const value = textOf(fields, name);
    // Another client may have written what no header can hold.
    if (value !== undefined && /^[ -~]*$/.test(value)) headers.set(name, value);
  }
  return {
    method: textOf(fields, "webhook-method") ?? "POST",
    url: textOf(fields, "webhook-url") ?? "",
    headers,
    body: storedBody(fields),
  };
}

function storedBody(fields: Fields): Uint8Array {
  const data = fields.get("data") ?? "";
  if (typeof data !== "string") return data;
  return fields.get("weir-encoding") === "base64" ? Buffer.from(data, "base64") : utf8(data);
}

function textOf(fields: Fields, name: string): string | undefined {
  const value = fields.get(name);
  return typeof value === "string" ? value : undefined;
}

/** Verifies a stored message again, whatever its age. */
export async function verifyStored(mapping: Mapping, fields: Fields, secrets: Secrets): Promise<Verdict> {
  const request = storedRequest(mapping, fields);
  if (mapping.scheme.algorithm !== "shared-secret") return verify(mapping.scheme, request, secrets, null);
  const seal = textOf(fields, "webhook-seal") ?? "";
  const sealed = await matching(secrets, (secret) =>
    isSealedWith(mapping.source, { body: request.body, seal }, secret),
  );
  return sealed === undefined ? refused("the seal does not fit the stored body") : verified(sealed, null);
}
