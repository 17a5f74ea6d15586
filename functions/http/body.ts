import { Buffer } from "node:buffer";
import { WeirError } from "../../shared/errors.ts";
import { HttpError } from "./errors.ts";
import { type Excess, findExcess, MAX_LEVELS } from "./json-text.ts";
import { invalidRequest, memberPath } from "./validate.ts";

/** JSON up to this length is parsed as it is: whatever it holds, it takes 4 MB at most (measured). */
const SMALL_CHARACTERS = 64 * 1024;

/**
 * Reads a body as text, stopping at the limit.
 * @throws as {@link readBytes}; {WeirError} `invalid-request` when it is not UTF-8
 */
export async function readText(request: Request, maxBytes: number): Promise<string> {
  return decodeUtf8(await readBytes(request, maxBytes));
}

/**
 * Reads a body, stopping at the limit.
 * @throws {WeirError} `payload-too-large`; `invalid-request` when it is cut short
 * @throws {HttpError} `unsupported-media-type` when it is compressed
 */
export async function readBytes(request: Request, maxBytes: number): Promise<Uint8Array> {
  refuseEncoded(request);
  const stated = request.headers.get("content-length");
  if (Number(stated ?? 0) > maxBytes) throw tooLarge(maxBytes, `got ${stated}`);
  try {
    // The server holds a client to the length that it states, so nothing need be counted, and one read costs far less
    // than reading a stream.
    return stated === null ? await readChunks(request, maxBytes) : new Uint8Array(await request.arrayBuffer());
  } catch (error) {
    if (error instanceof WeirError) throw error;
    throw new WeirError("invalid-request", "the body was cut short", { cause: error });
  }
}

function refuseEncoded({ headers }: Request): void {
  const encoding = headers.get("content-encoding") ?? "";
  if (encoding === "" || encoding.toLowerCase() === "identity") return;
  const got = `got Content-Encoding: ${encoding.slice(0, 40)}`;
  throw new HttpError("unsupported-media-type", `expected a body that is not compressed, ${got}`);
}

async function readChunks(request: Request, maxBytes: number): Promise<Uint8Array> {
  const reader: ReadableStreamDefaultReader<Uint8Array> | undefined = request.body?.getReader();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for (let next = await reader?.read(); next !== undefined && !next.done; next = await reader?.read()) {
    bytes += next.value.byteLength;
    if (bytes > maxBytes) {
      await discard(reader);
      throw tooLarge(maxBytes, "got more");
    }
    chunks.push(next.value);
  }
  return Buffer.concat(chunks);
}

/** What a client may send after it was refused, for its connection to be kept. */
const MAX_DISCARDED_BYTES = 64 * 1024 * 1024;

/**
 * Reads the rest of a body that was refused, before the answer: a client that is still writing would lose its connection,
 * and with it the answer. workerd ends what an invocation reads when it has answered, and closed up to half of them.
 */
async function discard(reader: ReadableStreamDefaultReader<Uint8Array> | undefined): Promise<void> {
  try {
    for (let bytes = 0; bytes <= MAX_DISCARDED_BYTES; ) {
      const next = await reader?.read();
      if (next === undefined || next.done) return;
      bytes += next.value.byteLength;
    }
    await reader?.cancel();
  } catch {
    // The client has gone, or the Worker's invocation has ended: there is nothing left to read.
  }
}

function tooLarge(maxBytes: number, got: string): WeirError {
  return new WeirError("payload-too-large", `a body may have ${maxBytes} bytes here, ${got}`);
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** @throws {WeirError} `invalid-request` when it is not UTF-8 */
export function decodeUtf8(bytes: Uint8Array): string {
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
  if (!accepted.includes(type)) throw unsupported(accepted.join(" or "), request);
  if (charset !== undefined && !/^"?utf-?8"?$/.test(charset)) {
    throw new HttpError("unsupported-media-type", `expected UTF-8, got the charset ${charset.slice(0, 40)}`);
  }
  return type;
}

/** @param expected in words */
export function unsupported(expected: string, { headers }: Request): HttpError {
  const type = headers.get("content-type");
  const got = type === null ? "no Content-Type" : JSON.stringify(type.slice(0, 100));
  return new HttpError("unsupported-media-type", `expected ${expected}, got ${got}`);
}

/** What a text is of a request. */
export interface JsonPlace {
  /** For messages: "the body" or a line of it. */
  readonly where?: string;
  /** The path of the value in the request; those of its members follow it. */
  readonly path?: string;
  /** How many arrays and objects lie around a payload in it; the payload itself has {@link MAX_LEVELS}. */
  readonly levelsAround?: number;
  /** How many arrays, objects and members it may hold in all. */
  readonly maxParts: number;
}

/**
 * Parses JSON, after a look at how deep and how full it is where it is long.
 * @throws {WeirError} `invalid-request`, without quoting the text: it may be anybody's payload; `payload-too-large`
 */
export function parseJson(text: string, place: JsonPlace): unknown {
  const { where = "the body" } = place;
  if (text.length > SMALL_CHARACTERS) refuseExcess(text, place);
  try {
    return JSON.parse(text);
  } catch (error) {
    const at = error instanceof Error ? /at position (\d+)/.exec(error.message)?.[1] : undefined;
    const position = text.trim() === "" ? " but empty" : at === undefined ? "" : `: see position ${at}`;
    throw new WeirError("invalid-request", `${where} is not valid JSON${position}`);
  }
}

function refuseExcess(text: string, place: JsonPlace): void {
  const excess = findExcess(text, limitsAt(place));
  if (excess?.of === "levels") throw tooDeep(excess, place);
  if (excess?.of === "parts") {
    const limit = `${place.where ?? "the body"} may hold ${place.maxParts} arrays, objects and members in all`;
    throw new WeirError("payload-too-large", `${limit}, got more`);
  }
}

function limitsAt({ levelsAround = 0, maxParts }: JsonPlace) {
  return { maxLevels: levelsAround + MAX_LEVELS, maxParts, pathLength: levelsAround };
}

/** The error for JSON in which something is nested too deeply: it says where. */
export function tooDeepIn(text: string, place: JsonPlace): WeirError {
  return tooDeep(findExcess(text, limitsAt({ ...place, maxParts: Number.POSITIVE_INFINITY })), place);
}

function tooDeep(excess: Excess | undefined, { path = "" }: JsonPlace): WeirError {
  const message = `expected at most ${MAX_LEVELS} levels of arrays and objects, got more`;
  return invalidRequest([{ path: (excess?.path ?? []).reduce<string>(memberPath, path), message }]);
}
