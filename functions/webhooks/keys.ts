import { type Bytes, concat, decode, encode, utf8 } from "./bytes.ts";
import type { HmacScheme, PublicKeyScheme, Scheme } from "./scheme.ts";

/** A source's secrets, or the provider's public keys; two while they are changed. */
export interface Secrets {
  readonly current: string;
  readonly previous?: string | undefined;
}

const MAX_SECRET_CHARACTERS = 8_192;

/**
 * @returns what is wrong with a secret's form, such as a public key that is none; undefined when nothing is. It never
 *   quotes the secret.
 */
export function secretFault(scheme: Scheme, secret: string): string | undefined {
  if (secret === "") return "expected a secret, got an empty one";
  if (secret.length > MAX_SECRET_CHARACTERS) {
    return `expected at most ${MAX_SECRET_CHARACTERS} characters, got ${secret.length}`;
  }
  if (!secret.isWellFormed()) return "expected well-formed Unicode";
  if (isPublicKey(scheme)) {
    return publicKeyOf(scheme, secret) === undefined ? EXPECTED_KEYS[scheme.algorithm] : undefined;
  }
  // What a copied secret easily has, and what then no signature is made with.
  if (secret.trim() !== secret) return "expected no space or line break before or behind the secret";
  if (scheme.algorithm !== "shared-secret") {
    return hmacKeyOf(scheme, secret) === undefined ? EXPECTED_SECRETS[scheme.secretForm] : undefined;
  }
  if (scheme.secretAt === "basic" && !secret.includes(":")) return "expected user:password";
  return undefined;
}

const EXPECTED_SECRETS = {
  text: "expected text",
  base64: "expected base64 with padding",
  hex: "expected hex digits",
  whsec: "expected whsec_ and base64 behind it",
} as const;

const EXPECTED_KEYS = {
  ed25519: "expected an Ed25519 public key: 64 hex digits, or SPKI as PEM or base64",
  "ecdsa-p256": "expected a P-256 public key: SPKI as PEM or base64",
  "rsa-sha256": "expected an RSA public key of 2,048 to 4,096 bits: SPKI as PEM or base64",
} as const;

export function isPublicKey(scheme: Scheme): scheme is PublicKeyScheme {
  return scheme.algorithm === "ed25519" || scheme.algorithm === "ecdsa-p256" || scheme.algorithm === "rsa-sha256";
}

/** @returns the HMAC key that the secret stands for; undefined when it has another form */
export function hmacKeyOf({ secretForm }: HmacScheme, secret: string): Bytes | undefined {
  if (secretForm === "text") return secret === "" ? undefined : utf8(secret);
  if (secretForm === "hex") return decode(secret, "hex");
  return decode(secretForm === "whsec" ? secret.replace(/^whsec_/, "") : secret, "base64");
}

/** A public key in the form that WebCrypto takes. */
export interface PublicKey {
  readonly format: "raw" | "spki";
  readonly bytes: Bytes;
}

/** @returns the key that the text stands for; undefined when it is none of that algorithm */
export function publicKeyOf({ algorithm }: PublicKeyScheme, text: string): PublicKey | undefined {
  const key = keyBytes(text);
  if (key === undefined) return undefined;
  if (algorithm === "ed25519" && key.byteLength === ED25519_BYTES) return { format: "raw", bytes: key };
  return isSpkiOf(algorithm, encode(key, "hex")) ? { format: "spki", bytes: key } : undefined;
}

const ED25519_BYTES = 32;

/** PEM, base64 or hex. */
function keyBytes(text: string): Bytes | undefined {
  const trimmed = text.trim();
  const pem = /^-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----$/.exec(trimmed)?.[1];
  const plain = (pem ?? trimmed).replace(/\s+/g, "");
  return pem === undefined && /^[0-9a-fA-F]{64}$/.test(plain) ? decode(plain, "hex") : decode(plain, "base64");
}

/** How SPKI (RFC 5280) of these kinds begins, up to the key itself, in hex. */
const ED25519_SPKI = /^302a300506032b6570032100[0-9a-f]{64}$/;
const P256_SPKI = /^3059301306072a8648ce3d020106082a8648ce3d03010703420004[0-9a-f]{128}$/;
const RSA_SPKI = /^30820[1-2][0-9a-f]{2}300d06092a864886f70d010101050003820[1-2][0-9a-f]{2}003082/;

/** SPKI of 2,048 and of 4,096 bits, in bytes, with some for a long exponent. */
const RSA_BYTES = { min: 256 + 38, max: 512 + 48 };

function isSpkiOf(algorithm: PublicKeyScheme["algorithm"], hex: string): boolean {
  if (algorithm === "ed25519") return ED25519_SPKI.test(hex);
  if (algorithm === "ecdsa-p256") return P256_SPKI.test(hex);
  const bytes = hex.length / 2;
  return RSA_SPKI.test(hex) && bytes >= RSA_BYTES.min && bytes <= RSA_BYTES.max;
}

/** @returns HMAC of the message */
export async function hmac(hash: "SHA-1" | "SHA-256" | "SHA-512", key: Bytes, message: Uint8Array): Promise<Bytes> {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, concat([message])));
}
