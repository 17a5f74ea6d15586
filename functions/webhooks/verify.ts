import { evidenceOf } from "./evidence.ts";
import type { Secrets } from "./keys.ts";
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
    return verdict(held, null, "the request does not hold the secret");
  }
  const evidence = await evidenceOf(scheme, request);
  if (typeof evidence === "string") return verdict(undefined, null, evidence);
  const { signedAtMs } = evidence;
  const secret = await matching(secrets, (one) => isSignedWith(scheme, evidence, one));
  // Only then: what a time says that nobody signed is nothing.
  if (secret !== undefined && time !== null && signedAtMs !== null) {
    const aheadMs = signedAtMs - time.nowMs;
    if (aheadMs > time.toleranceMs) return stale("the signed time is too far in the future");
    if (-aheadMs > time.toleranceMs) return stale("the signed time is too far in the past");
  }
  return verdict(secret, signedAtMs, "the signature does not fit the request");
}

/** @returns which of the secrets fits; undefined when neither does */
export async function matching(
  { current, previous }: Secrets,
  fits: (secret: string) => Promise<boolean> | boolean,
): Promise<Verified["secret"] | undefined> {
  if (await fits(current)) return "current";
  return previous !== undefined && (await fits(previous)) ? "previous" : undefined;
}

/** @param otherwise what is wrong when no secret fits */
export function verdict(secret: Verified["secret"] | undefined, signedAtMs: number | null, otherwise: string): Verdict {
  if (secret === undefined) return { isVerified: false, code: "bad-signature", detail: otherwise };
  return { isVerified: true, secret, signedAtMs };
}

function stale(detail: string): Verdict {
  return { isVerified: false, code: "stale-webhook", detail };
}
