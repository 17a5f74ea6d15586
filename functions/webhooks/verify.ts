import { evidenceOf, signedTimeOf } from "./evidence.ts";
import type { Secrets } from "./keys.ts";
import { isObject, jsonOf } from "./places.ts";
import type { Scheme } from "./scheme.ts";
import { holdsSecret } from "./shared-secret.ts";
import { isSignedWith } from "./signature.ts";
import type { WebhookRequest } from "./webhook-request.ts";

export type Verified = {
  readonly isVerified: true;
  readonly secret: "current" | "previous";
  /** When the provider signed it; null where it signs no time. */
  readonly signedAtMs: number | null;
};

export type Verdict =
  | Verified
  | {
      readonly isVerified: false;
      readonly code: "bad-signature" | "stale-webhook";
      /** One of a few fixed texts: nothing of the request, which anybody may have sent. */
      readonly detail: string;
    };

/**
 * Finds out whether a request was signed with one of the secrets. It does not throw for anything that a request may hold:
 * what cannot be read is not verified.
 * @param time null: whatever its age
 */
export async function verify(
  scheme: Scheme,
  request: WebhookRequest,
  secrets: Secrets,
  time: { readonly nowMs: number; readonly toleranceMs: number } | null,
): Promise<Verdict> {
  if (scheme.algorithm === "shared-secret") {
    const held = await matching(secrets, (secret) => holdsSecret(scheme, request, secret));
    return held === undefined ? refused("the request does not hold the secret") : verified(held, null);
  }
  const evidence = await evidenceOf(scheme, request);
  if (typeof evidence === "string") return refused(evidence);
  const secret = await matching(secrets, (one) => isSignedWith(scheme, evidence, one));
  if (secret === undefined) return refused("the signature does not fit the request");
  if (scheme.isJsonObject === true && !isObject(jsonOf(request))) {
    return refused("the body is no JSON object");
  }
  // Only now: what a time says that nobody signed is nothing.
  const signedAtMs = signedTimeOf(scheme, request);
  if (typeof signedAtMs === "string") return refused(signedAtMs);
  const aheadMs = time === null || signedAtMs === null ? 0 : signedAtMs - time.nowMs;
  if (time !== null && aheadMs > time.toleranceMs) return stale("the signed time is too far in the future");
  if (time !== null && -aheadMs > time.toleranceMs) return stale("the signed time is too far in the past");
  return verified(secret, signedAtMs);
}

/** @returns which of the secrets fits; undefined when neither does */
export async function matching(
  { current, previous }: Secrets,
  fits: (secret: string) => Promise<boolean> | boolean,
): Promise<Verified["secret"] | undefined> {
  if (await fits(current)) return "current";
  return previous !== undefined && (await fits(previous)) ? "previous" : undefined;
}

export function verified(secret: Verified["secret"], signedAtMs: number | null): Verified {
  return { isVerified: true, secret, signedAtMs };
}

/** @param detail a fixed text */
export function refused(detail: string): Verdict {
  return { isVerified: false, code: "bad-signature", detail };
}

function stale(detail: string): Verdict {
  return { isVerified: false, code: "stale-webhook", detail };
}
