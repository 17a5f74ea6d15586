import { WeirError } from "../errors.ts";
import { type Command, type Outcome, type Reply, ReplyError } from "../redis/connection.ts";
import { asWeirError, type Call, unwrap } from "../redis/redis.ts";
import type { EventStream } from "./stream.ts";

/** Tells by Redis' error whether a stream or a group is missing. */

export function unknownStream({ name }: EventStream): WeirError {
  return new WeirError("unknown-stream", `there is no stream "${name}"`);
}

export function unknownGroup({ name }: EventStream, group: string): WeirError {
  return new WeirError("unknown-group", `the stream "${name}" has no group "${group}"`);
}

/** @throws {WeirError} `unknown-stream`; `conflict` when the key holds something else */
export async function requireStream(stream: EventStream): Promise<void> {
  const type = await stream.redis.send(["TYPE", stream.keys.stream]);
  if (type === "stream") return;
  if (type === "none") throw unknownStream(stream);
  throw new WeirError("conflict", `the Redis key of the stream "${stream.name}" holds another type of value`);
}

/** Whether Redis found no stream at the key: XINFO says so without a code word of its own. */
export function isNoSuchKey(error: ReplyError): boolean {
  return error.word === "ERR" && /no such key/i.test(error.message);
}

/** @throws {WeirError} `unknown-stream`, and what Redis' error stands for otherwise */
export function unwrapOfStream(stream: EventStream, outcome: Outcome = null): Reply {
  if (outcome instanceof ReplyError && isNoSuchKey(outcome)) throw unknownStream(stream);
  return unwrap(outcome);
}

/**
 * Answers NOGROUP where the group or the stream is missing, else the group's oldest pending entry. Cheap however much is
 * pending, and by however many consumers: the summary (XPENDING without a range) walks through all of those.
 */
export function probeGroup({ keys }: EventStream, group: string): Command {
  return ["XPENDING", keys.stream, group, "-", "+", 1];
}

/**
 * Runs one call on a group.
 * @throws {WeirError} `unknown-stream`, `unknown-group`, and what Redis' error stands for otherwise
 */
export async function sendToGroup(stream: EventStream, group: string, call: Call): Promise<Reply> {
  const [outcome = null] = await stream.redis.pipeline([call]);
  if (outcome instanceof ReplyError) throw await groupError(stream, group, outcome);
  return outcome;
}

/**
 * The error to throw for what Redis answered to a command on a group. Redis says NOGROUP for a missing stream too, so
 * then one more command tells them apart.
 */
export async function groupError(stream: EventStream, group: string, error: unknown): Promise<unknown> {
  const cause = error instanceof WeirError ? error.options.cause : error;
  if (!(cause instanceof ReplyError)) return error;
  if (cause.word === "NOGROUP") {
    const exists = await stream.redis.send(["EXISTS", stream.keys.stream]);
    return exists === 1 ? unknownGroup(stream, group) : unknownStream(stream);
  }
  if (isNoSuchKey(cause)) return unknownStream(stream);
  if (/pending entries list limit/i.test(cause.message)) {
    return new WeirError(
      "too-many-pending",
      "this consumer holds as many unsettled messages as the hosted Redis allows; settle some, or use more consumers",
      { cause, retryAfterS: 1 },
    );
  }
  return asWeirError(cause);
}
