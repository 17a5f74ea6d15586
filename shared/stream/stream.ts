import { WeirError } from "../errors.ts";
import { type StreamKeys, streamKeys } from "../keys.ts";
import { type Reply, ReplyError } from "../redis/connection.ts";
import { asWeirError, type Call, type Redis } from "../redis/redis.ts";

/** A stream by its name, with the Redis it lies in; the functions of this folder act on it. */
export interface EventStream {
  readonly redis: Redis;
  readonly name: string;
  readonly keys: StreamKeys;
}

/** The keys of one group, in the order in which the scripts of delivery take them. */
export function groupKeys({ keys }: EventStream, group: string): readonly string[] {
  return [keys.stream, keys.config, keys.dead(group), keys.again(group), keys.againDue(group)];
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

/** Names a stream; nothing is read and it need not be there. */
export function openStream(redis: Redis, keyPrefix: string, name: string): EventStream {
  return { redis, name, keys: streamKeys(keyPrefix, name) };
}

export function unknownStream(stream: EventStream): WeirError {
  return new WeirError("unknown-stream", `there is no stream "${stream.name}"`);
}

export function unknownGroup(stream: EventStream, group: string): WeirError {
  return new WeirError("unknown-group", `the stream "${stream.name}" has no group "${group}"`);
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
  if (cause.word === "ERR" && /no such key/i.test(cause.message)) return unknownStream(stream);
  if (/pending entries list limit/i.test(cause.message)) {
    return new WeirError(
      "too-many-pending",
      "this consumer holds as many unsettled messages as the hosted Redis allows; settle some, or use more consumers",
      { cause, retryAfterS: 1 },
    );
  }
  return asWeirError(cause);
}
