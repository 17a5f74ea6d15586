import { Buffer } from "node:buffer";
import { WeirError } from "../../shared/errors.ts";
import { HttpError } from "./errors.ts";

/** The largest body of a request. */
export const MAX_BODY_BYTES = 8 * 1024 * 1024;

/**
 * Reads a body as text, stopping at the limit.
 * @throws {WeirError} `payload-too-large`; `invalid-request` when it is cut short or not UTF-8
 */
export async function readText(request: Request): Promise<string> {
  const stated = request.headers.get("content-length");
  if (Number(stated ?? 0) > MAX_BODY_BYTES) throw tooLarge();
  try {
    // The server holds a client to the length that it states, so nothing need be counted, and one read costs far less
    // than reading a stream.
    return decodeUtf8(stated === null ? await readChunks(request) : await request.arrayBuffer());
  } catch (error) {
    if (error instanceof WeirError) throw error;
    throw new WeirError("invalid-request", "the body was cut short", { cause: error });
  }
}

async function readChunks(request: Request): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MAX_BODY_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function tooLarge(): WeirError {
  return new WeirError("payload-too-large", `a body may have ${MAX_BODY_BYTES} bytes`);
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function decodeUtf8(bytes: Uint8Array | ArrayBuffer): string {
  try {
    return utf8.decode(bytes);
  } catch (error) {
    throw new WeirError("invalid-request", "the body is not valid UTF-8", { cause: error });
  }
}

/**
 * @param accepted the media types that the route takes
 * @returns the media type of the body, without its parameters
 * @throws {HttpError} `unsupported-media-type`
 */
export function mediaTypeOf(request: Request, accepted: readonly string[]): string {
  const header = request.headers.get("content-type");
  const [type = "", ...parameters] = (header ?? "").split(";").map((part) => part.trim().toLowerCase());
  const charset = parameters.find((parameter) => parameter.startsWith("charset="))?.slice("charset=".length);
  if (!accepted.includes(type)) {
    const got = header === null ? "no Content-Type" : `"${type.slice(0, 100)}"`;
    throw new HttpError("unsupported-media-type", `expected ${accepted.join(" or ")}, got ${got}`);
  }
  if (charset !== undefined && !/^"?utf-?8"?$/.test(charset)) {
    throw new HttpError("unsupported-media-type", `expected UTF-8, got the charset ${charset.slice(0, 40)}`);
  }
  return type;
}

/**
 * @param where what the text is, for the message: "the body" or a line of it
 * @throws {WeirError} `invalid-request`, without quoting the text: it may be anybody's payload
 */
export function parseJson(text: string, where = "the body"): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const at = error instanceof Error ? /at position (\d+)/.exec(error.message)?.[1] : undefined;
    const place = text.trim() === "" ? " but empty" : at === undefined ? "" : `: see position ${at}`;
    throw new WeirError("invalid-request", `${where} is not valid JSON${place}`);
  }
}
