import type { Bytes } from "./bytes.ts";
import type { Evidence } from "./evidence.ts";
import { hmacKeyOf, isPublicKey, publicKeyOf } from "./keys.ts";
import type { HmacScheme, PublicKeyScheme, SignedScheme } from "./scheme.ts";

/** Whether one of the signatures was made over one of the messages, with this secret or by the holder of this key. */
export async function isSignedWith(scheme: SignedScheme, evidence: Evidence, secret: string): Promise<boolean> {
  try {
    const check = isPublicKey(scheme) ? await publicKeyCheck(scheme, secret) : await hmacCheck(scheme, secret);
    if (check === undefined) return false;
    for (const message of evidence.messages) {
      for (const signature of evidence.signatures) if (await check(signature, message)) return true;
    }
    return false;
  } catch {
    // WebCrypto throws for what is no point on the curve, say: not verified, like whatever else cannot be read.
    return false;
  }
}

type Check = (signature: Bytes, message: Bytes) => Promise<boolean>;

const HASHES = { "hmac-sha1": "SHA-1", "hmac-sha256": "SHA-256", "hmac-sha512": "SHA-512" } as const;

async function hmacCheck(scheme: HmacScheme, secret: string): Promise<Check | undefined> {
  const bytes = hmacKeyOf(scheme, secret);
  if (bytes === undefined) return undefined;
  const hmac = { name: "HMAC", hash: HASHES[scheme.algorithm] };
  const key = await crypto.subtle.importKey("raw", bytes, hmac, false, ["verify"]);
  return (signature, message) => crypto.subtle.verify(hmac, key, signature, message);
}

const ALGORITHMS = {
  ed25519: { name: "Ed25519" },
  "ecdsa-p256": { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  "rsa-sha256": { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
} as const;

async function publicKeyCheck(scheme: PublicKeyScheme, text: string): Promise<Check | undefined> {
  const publicKey = publicKeyOf(scheme, text);
  if (publicKey === undefined) return undefined;
  const algorithm = ALGORITHMS[scheme.algorithm];
  const key = await crypto.subtle.importKey(publicKey.format, publicKey.bytes, algorithm, false, ["verify"]);
  return async (given, message) => {
    const signature = scheme.algorithm === "ecdsa-p256" && scheme.signatureForm !== "raw" ? fromDer(given) : given;
    return signature !== undefined && (await crypto.subtle.verify(algorithm, key, signature, message));
  };
}

const INTEGER_BYTES = 32;

/** An ECDSA signature in ASN.1 (`SEQUENCE { r INTEGER, s INTEGER }`) as WebCrypto takes it: r and s, 32 bytes each. */
function fromDer(der: Bytes): Bytes | undefined {
  const [sequence, length] = der;
  if (sequence !== 0x30 || length !== der.byteLength - 2) return undefined;
  const r = integerAt(der, 2);
  const s = r === undefined ? undefined : integerAt(der, r.end);
  if (r === undefined || s === undefined || s.end !== der.byteLength) return undefined;
  const raw = new Uint8Array(2 * INTEGER_BYTES);
  raw.set(r.bytes, INTEGER_BYTES - r.bytes.byteLength);
  raw.set(s.bytes, 2 * INTEGER_BYTES - s.bytes.byteLength);
  return raw;
}

/** A positive integer in its shortest form, without the zero that keeps it positive. */
function integerAt(der: Bytes, at: number): { readonly bytes: Bytes; readonly end: number } | undefined {
  const [tag, length = 0, first = 0, second = 0] = der.subarray(at);
  const end = at + 2 + length;
  if (tag !== 0x02 || length === 0 || end > der.byteLength || first >= 0x80) return undefined;
  if (first === 0 && (length === 1 || second < 0x80)) return undefined;
  const bytes = der.slice(at + 2 + (first === 0 ? 1 : 0), end);
  return bytes.byteLength <= INTEGER_BYTES ? { bytes, end } : undefined;
}
