import { type Encoding, encode, utf8 } from "./bytes.ts";
import { hmac, type Secrets } from "./keys.ts";
import { type Place, textAt } from "./places.ts";
import type { Provider } from "./providers.ts";
import { isSame } from "./shared-secret.ts";
import { verify } from "./verify.ts";
import type { WebhookRequest } from "./webhook-request.ts";

/** How a provider finds out whether an address takes its webhooks, as data. */
export interface Handshake {
  readonly method: "GET" | "HEAD" | "OPTIONS" | "POST";
  /** What makes a request this handshake: all of it. */
  readonly when: readonly Condition[];
  /** The provider signs it as it signs its webhooks. */
  readonly isSigned?: boolean;
  /** Where the request holds the token that was agreed on. */
  readonly verifyTokenAt?: Place;
  /** What the answer is made from, and what it has to look like: anything may be in a request. */
  readonly challenge?: { readonly at: Place; readonly form: RegExp };
  readonly answer: HandshakeAnswer;
}

/** Text that has to be at a place, or anything there, or nothing. */
export interface Condition {
  readonly at: Place;
  readonly is?: string;
  readonly isAbsent?: boolean;
}

export type HandshakeAnswer =
  | { readonly kind: "fixed"; readonly status: number; readonly body?: string; readonly mediaType?: string }
  /** The challenge as plain text. */
  | { readonly kind: "echo" }
  /** A JSON object of the challenge and of HMAC-SHA-256 of it by the source's secret. */
  | { readonly kind: "json"; readonly members: Readonly<Record<string, "challenge" | ChallengeHmac>> }
  /** The challenge as the origin that may send (CloudEvents' web hooks, section 4). */
  | { readonly kind: "allowed-origin" };

interface ChallengeHmac {
  readonly encoding: Encoding;
  readonly prefix: string;
}

/** An answer of text, if any. */
export interface PlainAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
}

/** What a source has for handshakes. */
export interface HandshakeSettings {
  readonly secrets: Secrets | undefined;
  readonly verifyToken: string | undefined;
  readonly nowMs: number;
  readonly toleranceMs: number;
}

/**
 * Answers a provider that asks whether this address takes its webhooks.
 * @returns `no-verify-token` when the deployment has none to compare with; `refused` when the request is one of the provider's handshakes and does not prove it, or asks for what cannot
 *   be answered; undefined when it is none
 */
export async function answerHandshake(
  provider: Provider,
  request: WebhookRequest,
  settings: HandshakeSettings,
): Promise<PlainAnswer | "refused" | "no-verify-token" | undefined> {
  const handshake = provider.handshakes.find((one) => isMeant(one, request));
  if (handshake === undefined) return undefined;
  const challenge = challengeOf(handshake, request);
  if (challenge === undefined) return "refused";
  if (handshake.verifyTokenAt !== undefined) {
    const given = textAt(request, handshake.verifyTokenAt);
    if (settings.verifyToken === undefined) return "no-verify-token";
    if (given === undefined || !isSame(given, settings.verifyToken)) return "refused";
  }
  const secret = await secretFor(handshake, provider, request, settings);
  return secret === "refused" ? "refused" : answerOf(handshake.answer, challenge, secret);
}

/** A handshake is small: a large body is not parsed only to find that it is none. */
const MAX_HANDSHAKE_BYTES = 16 * 1024;

function isMeant({ method, when }: Handshake, request: WebhookRequest): boolean {
  if (request.method !== method || request.body.byteLength > MAX_HANDSHAKE_BYTES) return false;
  return when.every((condition) => holds(condition, request));
}

function holds({ at, is, isAbsent }: Condition, request: WebhookRequest): boolean {
  const text = textAt(request, at);
  if (isAbsent === true) return text === undefined;
  return is === undefined ? text !== undefined : text === is;
}

/** @returns undefined when there is none, or one of another form */
function challengeOf({ challenge }: Handshake, request: WebhookRequest): string | undefined {
  if (challenge === undefined) return "";
  const text = textAt(request, challenge.at);
  return text !== undefined && challenge.form.test(text) ? text : undefined;
}

/** @returns the secret that answers; undefined where none is needed */
async function secretFor(
  { isSigned, answer }: Handshake,
  { scheme }: Provider,
  request: WebhookRequest,
  { secrets, nowMs, toleranceMs }: HandshakeSettings,
): Promise<string | undefined | "refused"> {
  if (isSigned === true) {
    if (scheme === null || secrets === undefined) return "refused";
    const verdict = await verify(scheme, request, secrets, { nowMs, toleranceMs });
    return verdict.isVerified ? secrets[verdict.secret] : "refused";
  }
  if (answer.kind !== "json") return undefined;
  return secrets === undefined || secrets.current === "" ? "refused" : secrets.current;
}

/** What is answered is never taken for a page, whatever is in it. */
const NO_SNIFF = { "x-content-type-options": "nosniff" };

async function answerOf(
  answer: HandshakeAnswer,
  challenge: string,
  secret: string | undefined,
): Promise<PlainAnswer | "refused"> {
  switch (answer.kind) {
    case "fixed": {
      const type = answer.mediaType === undefined ? {} : { "content-type": answer.mediaType };
      return { status: answer.status, headers: { ...type, ...NO_SNIFF }, body: answer.body ?? null };
    }
    case "echo":
      return { status: 200, headers: { "content-type": "text/plain; charset=utf-8", ...NO_SNIFF }, body: challenge };
    case "allowed-origin": {
      const allowed = { allow: "POST", "webhook-allowed-origin": challenge, "webhook-allowed-rate": "*" };
      return { status: 200, headers: allowed, body: null };
    }
    case "json": {
      if (secret === undefined) return "refused";
      const mac = await hmac("SHA-256", utf8(secret), utf8(challenge));
      const members = Object.entries(answer.members).map(([name, from]) => {
        return [name, from === "challenge" ? challenge : from.prefix + encode(mac, from.encoding)];
      });
      const body = JSON.stringify(Object.fromEntries(members));
      return { status: 200, headers: { "content-type": "application/json", ...NO_SNIFF }, body };
    }
  }
}
