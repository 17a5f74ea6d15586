import { Buffer } from "node:buffer";

/** How a signature or a key is written. */
export type Encoding = "hex" | "base64" | "base64url";

export const ENCODINGS = ["hex", "base64", "base64url"] as const satisfies readonly Encoding[];

const encoder = new TextEncoder();

/** Bytes as WebCrypto takes them: never a view of shared memory. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** @returns the UTF-8 of well-formed text */
export function utf8(text: string): Bytes {
  return encoder.encode(text);
}

/**
 * @param text from a stranger: anything at all
 * @returns the bytes; undefined unless it is their one and only spelling (in hex, either case): what was changed in
 *   transit by a single bit must not read the same
 */
export function decode(text: string, encoding: Encoding): Bytes | undefined {
  if (encoding === "hex") return /^(?:[0-9a-fA-F]{2})+$/.test(text) ? bytesOf(text, "hex") : undefined;
  const bytes = bytesOf(text, encoding);
  return bytes.byteLength > 0 && encode(bytes, encoding) === text ? bytes : undefined;
}

export function encode(bytes: Uint8Array, encoding: Encoding): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(encoding);
}

function bytesOf(text: string, encoding: Encoding): Bytes {
  // A copy of its own: Buffer.from() may hand out a part of a pool.
  return new Uint8Array(Buffer.from(text, encoding));
}

export function concat(parts: readonly Uint8Array[]): Bytes {
  const bytes = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}

/** @returns SHA-256 of the bytes */
export async function sha256(bytes: Uint8Array): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", concat([bytes])));
}
