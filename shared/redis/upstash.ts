import { Buffer, isUtf8 } from "node:buffer";
import { errors, Redis } from "@upstash/redis/cloudflare";
import {
  type Command,
  type Connection,
  ConnectionError,
  type Outcome,
  type Reply,
  ReplyError,
  type RunOptions,
} from "./connection.ts";

export interface UpstashOptions {
  readonly url: string;
  readonly token: string;
  readonly timeoutMs: number;
}

/**
 * Redis over Upstash's REST API. Commands are sent raw through the client's own requester: its typed helpers
 * parse values (digits get lost) and send some stream commands wrongly.
 */
export class UpstashConnection extends Redis implements Connection {
  constructor({ url, token, timeoutMs }: UpstashOptions) {
    super({
      url,
      token,
      // Even one retry repeats an XADD whose answer was lost.
      retry: { retries: 0 },
      // A static aborted signal resolves with a made-up result; the function form throws.
      signal: () => AbortSignal.timeout(timeoutMs),
      // The client would decode bytes that are not UTF-8 into U+FFFD: the base64 is asked for and decoded here.
      responseEncoding: false,
      automaticDeserialization: false,
      enableAutoPipelining: false,
      enableTelemetry: false,
    });
  }

  async run(commands: readonly Command[], { mayReplaceBytes = false }: RunOptions = {}): Promise<Outcome[]> {
    const headers: Record<string, string> = mayReplaceBytes ? {} : { "Upstash-Encoding": "base64" };
    const answer: unknown = await this.client
      .request({ path: ["pipeline"], body: commands, headers })
      .catch((error: unknown) => {
        throw asConnectionError(error);
      });
    if (!Array.isArray(answer) || answer.length !== commands.length) {
      throw new ConnectionError("the REST endpoint's answer is not one result per command", { maybeRan: true });
    }
    return answer.map((item) => decodeItem(item, mayReplaceBytes ? asReply : decodeBase64));
  }

  async close(): Promise<void> {
    // fetch leaves no connection for us to close.
  }
}

function decodeItem(item: unknown, decode: (value: unknown) => Reply): Outcome {
  if (typeof item === "object" && item !== null) {
    if ("error" in item && typeof item.error === "string") return new ReplyError(item.error);
    if ("result" in item) return decode(item.result);
  }
  throw new ConnectionError("the REST endpoint's answer has an item with neither result nor error", { maybeRan: true });
}

function asReply(value: unknown): Reply {
  if (isReply(value)) return value;
  throw new ConnectionError("the REST endpoint's answer holds something else than a reply", { maybeRan: true });
}

function isReply(value: unknown): value is Reply {
  if (typeof value === "string" || typeof value === "number" || value === null) return true;
  return Array.isArray(value) && value.every(isReply);
}

function decodeBase64(value: unknown): Reply {
  // The status reply OK is the one text that Upstash leaves as it is. Base64 never has that length.
  if (typeof value === "string") return value === "OK" ? value : decodeText(value);
  if (typeof value === "number" || value === null) return value;
  if (Array.isArray(value)) return value.map(decodeBase64);
  throw new ConnectionError(`the REST endpoint's answer holds a ${typeof value}`, { maybeRan: true });
}

/** By atob() as long as it is ASCII, as most is: in workerd each step from bytes to text is a call into the runtime. */
function decodeText(base64: string): string | Uint8Array {
  // atob() overlooks spaces, and padding that is missing.
  if (base64.length % 4 !== 0 || /\s/.test(base64)) throw notBase64();
  let binary: string;
  try {
    binary = atob(base64);
  } catch {
    throw notBase64();
  }
  if (!/[\x80-\xff]/.test(binary)) return binary;
  const bytes = Buffer.from(binary, "latin1");
  return isUtf8(bytes) ? bytes.toString() : new Uint8Array(bytes);
}

function notBase64(): ConnectionError {
  return new ConnectionError("the REST endpoint's answer is not base64", { maybeRan: true });
}

/** What Upstash answers to a whole request that it did not run: no credentials, over quota, too large. */
const REFUSED = /^(unauthorized|wrongpass|noauth|noperm|err max |err invalid|err failed to parse)/i;

/**
 * What Cloudflare's edge answers a Worker that it could not connect: the origin refuses (521), has no route (523), no TLS
 * (525, 526), no name or no tunnel (530: 1016, 1033). In doubt are 520, 522 (the request was sent, and not acknowledged) and
 * 524 (https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/).
 */
const EDGE_NOT_CONNECTED = /: error code: (521|523|525|526|530|1016|1033)$/;

function asConnectionError(error: unknown): ConnectionError {
  if (error instanceof errors.UpstashJSONParseError) {
    const code = EDGE_NOT_CONNECTED.exec(error.message.trim())?.[1];
    return code === undefined
      ? new ConnectionError("the REST endpoint's answer is not JSON", { maybeRan: true })
      : new ConnectionError(`the REST endpoint cannot be reached (${code})`, { maybeRan: false });
  }
  // The client appends the whole command, payload included: it must not reach a log.
  const text = error instanceof Error ? (error.message.split(", command was:")[0] ?? "") : "unknown fault";
  if (error instanceof errors.UpstashError && REFUSED.test(text)) {
    return new ConnectionError("the REST endpoint refused the request", {
      maybeRan: false,
      cause: new ReplyError(text),
    });
  }
  const fault = systemFault(error);
  // Node's fetch names its causes. workerd by itself (`wrangler dev`) says "Network connection lost." of a refused
  // connection, of one that was closed or reset before and after the request, and of half an answer; "internal error" of an
  // unknown name and of failed TLS. A body sent in parts tells nothing either: it is read to its end before the connection
  // fails. So there the outcome counts as unknown.
  return new ConnectionError(fault === undefined ? text : `${text} (${fault.code})`, {
    maybeRan: fault === undefined || !(fault.syscall === "connect" || NOT_CONNECTED.has(fault.code)),
  });
}

/** Faults before there is a connection that are of no system call, or of several: a host may have several addresses. */
const NOT_CONNECTED = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"]);

function systemFault(error: unknown): { code: string; syscall?: unknown } | undefined {
  const cause = error instanceof Error ? error.cause : undefined;
  if (!(cause instanceof Error) || !("code" in cause) || typeof cause.code !== "string") return undefined;
  return "syscall" in cause ? { code: cause.code, syscall: cause.syscall } : { code: cause.code };
}
