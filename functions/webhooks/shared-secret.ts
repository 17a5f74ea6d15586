import { timingSafeEqual } from "node:crypto";
import { utf8Text } from "../http/raw-data.ts";
import { concat, decode, encode, utf8 } from "./bytes.ts";
import { hmac } from "./keys.ts";
import { headerAt, isTextAt, textAt, textsInEach } from "./places.ts";
import type { SharedSecretScheme } from "./scheme.ts";
import type { WebhookRequest } from "./webhook-request.ts";

/** Requests that hold the secret itself, and what is kept in its place. */

/** Whether the request holds this secret, everywhere where it should. */
export function holdsSecret(scheme: SharedSecretScheme, request: WebhookRequest, secret: string): boolean {
  const held = secretsHeld(scheme, request);
  return held.length > 0 && held.every((one) => isSame(one, secret));
}

function secretsHeld({ secretAt }: SharedSecretScheme, request: WebhookRequest): readonly string[] {
  if (typeof secretAt === "object" && "each" in secretAt) return textsInEach(request, secretAt) ?? [];
  // A number may say the same as a text; what is cut out before a body is stored are texts.
  if (typeof secretAt === "object" && "pointer" in secretAt && !isTextAt(request, secretAt.pointer)) return [];
  const one = typeof secretAt === "object" ? textAt(request, secretAt) : credentials(request, secretAt);
  return one === undefined ? [] : [one];
}

function credentials(request: WebhookRequest, kind: "bearer" | "basic"): string | undefined {
  const [, scheme = "", value = ""] = /^(\w+) +(\S+)$/.exec(headerAt(request, "authorization") ?? "") ?? [];
  if (scheme.toLowerCase() !== kind) return undefined;
  if (kind === "bearer") return value;
  const bytes = decode(value, "base64");
  return bytes === undefined ? undefined : utf8Text(bytes);
}

/** Compares in a time that tells nothing about the secret but its length. */
export function isSame(given: string, secret: string): boolean {
  const bytes = utf8(given);
  const expected = utf8(secret);
  return secret !== "" && bytes.byteLength === expected.byteLength && timingSafeEqual(bytes, expected);
}

/** @returns JSON text in which no string, whether name or value, is the secret any more: those are empty */
export function withoutSecret(json: string, secret: string): string {
  const kept: string[] = [];
  let from = 0;
  for (let start = json.indexOf('"'); start !== -1; start = json.indexOf('"', from)) {
    const end = stringEnd(json, start);
    kept.push(json.slice(from, start), stringOf(json.slice(start, end)) === secret ? '""' : json.slice(start, end));
    from = end;
  }
  return kept.join("") + json.slice(from);
}

/** @returns the index behind the string that starts at `start`, in JSON that was parsed */
function stringEnd(json: string, start: number): number {
  for (let quote = json.indexOf('"', start + 1); quote !== -1; quote = json.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (json[quote - 1 - backslashes] === "\\") backslashes++;
    if (backslashes % 2 === 0) return quote + 1;
  }
  return json.length;
}

function stringOf(text: string): string {
  const parsed: unknown = text.includes("\\") ? JSON.parse(text) : text.slice(1, -1);
  return typeof parsed === "string" ? parsed : "";
}

/**
 * What lets a stored message be verified again where the request held the secret, which may not be stored.
 * @param source the source's name
 * @param body as it is stored
 */
export async function sealOf(source: string, body: Uint8Array, secret: string): Promise<string> {
  // Told apart from what any provider signs: the same secret may sign bodies elsewhere.
  const sealed = concat([utf8(`weir webhook-seal\n${source}\n`), body]);
  return encode(await hmac("SHA-256", utf8(secret), sealed), "base64url");
}

export async function isSealedWith(
  source: string,
  { body, seal }: { readonly body: Uint8Array; readonly seal: string },
  secret: string,
): Promise<boolean> {
  return secret !== "" && isSame(seal, await sealOf(source, body, secret));
}
