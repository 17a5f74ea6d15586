import { Buffer } from "node:buffer";
import type { z } from "@hono/zod-openapi";
import { type InvalidMember, WeirError } from "../shared/errors.ts";

/** The largest body of a request. */
export const MOST_BODY_BYTES = 8 * 1024 * 1024;

/**
 * Reads a body as text, stopping at the limit.
 * @throws {WeirError} `payload-too-large`; `invalid-request` when it is cut short or not UTF-8
 */
export async function readText(request: Request): Promise<string> {
  const stated = request.headers.get("content-length");
  if (Number(stated ?? 0) > MOST_BODY_BYTES) throw tooLarge();
  try {
    // A stated length is kept to by the server, so nothing need be counted: one read is much cheaper than a stream's.
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
    if (bytes > MOST_BODY_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function tooLarge(): WeirError {
  return new WeirError("payload-too-large", `a body may have ${MOST_BODY_BYTES} bytes`);
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
 * @throws {WeirError} `unsupported-media-type`
 */
export function mediaTypeOf(request: Request, accepted: readonly string[]): string {
  const header = request.headers.get("content-type");
  const [type = "", ...parameters] = (header ?? "").split(";").map((part) => part.trim().toLowerCase());
  const charset = parameters.find((parameter) => parameter.startsWith("charset="))?.slice("charset=".length);
  if (!accepted.includes(type)) {
    const got = header === null ? "no Content-Type" : `"${type.slice(0, 100)}"`;
    throw new WeirError("unsupported-media-type", `expected ${accepted.join(" or ")}, got ${got}`);
  }
  if (charset !== undefined && !/^"?utf-?8"?$/.test(charset)) {
    throw new WeirError("unsupported-media-type", `expected UTF-8, got the charset ${charset.slice(0, 40)}`);
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

/** A value checked against a schema, or every fault in it. */
export type Checked<Value> = { readonly value: Value } | { readonly errors: readonly InvalidMember[] };

/** @param path where the value stands in the request; its members' paths follow it */
export function check<Schema extends z.ZodType>(schema: Schema, value: unknown, path = ""): Checked<z.output<Schema>> {
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return { value: result.data };
  return { errors: result.error.issues.flatMap((issue) => describeIssue(issue, path)) };
}

function describeIssue(issue: z.core.$ZodIssue, base: string): InvalidMember[] {
  const path = issue.path.reduce<string>(memberPath, base);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({ path: memberPath(path, key), message: "there is no such member" }));
  }
  // The fault of a record's key says what is wrong with it only inside.
  const message = (issue.code === "invalid_key" ? issue.issues[0]?.message : undefined) ?? issue.message;
  const isTold = /received/.test(message) || (issue.code === "custom" && issue.params?.isPayload === true);
  return [{ path, message: isTold ? message : `${message}, got ${describe(issue.input)}` }];
}

function memberPath(path: string, part: PropertyKey): string {
  if (typeof part === "number") return `${path}[${part}]`;
  const name = shorten(String(part));
  return path === "" ? name : `${path}.${name}`;
}

/** A name that is too long is no name: it is told by its beginning. */
function shorten(name: string): string {
  return name.length <= 128 ? name : `${name.slice(0, 128)}...`;
}

/** A value in few words: numbers and short texts as they are, never a payload. */
function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string")
    return value.length <= 64 ? JSON.stringify(value) : `a string of ${value.length} characters`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === "object" && value !== null ? "an object" : String(value);
}
