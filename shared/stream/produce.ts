import { Buffer } from "node:buffer";
import { WeirError } from "../errors.ts";
import { encodeMessage, messageBytes, type NewMessage } from "../message.ts";
import { asArray, asNumber, asText } from "../redis/reply.ts";
import { produceScript } from "../scripts/produce.lua.ts";
import { STREAM_DEFAULTS } from "./settings.ts";
import { type EventStream, unknownStream } from "./stream.ts";

/** The least that `maxMessageBytes` can be set to: smaller messages need no look at the setting. */
export const LEAST_MAX_MESSAGE_BYTES = 1024;

export interface Produced {
  readonly ids: readonly string[];
  /** Whether an earlier request with the same key appended them. */
  readonly replayed: boolean;
}

/**
 * Appends messages in order, all or nothing, in one round trip.
 * @param messages 1 to 1,000
 * @param idempotencyKey a repeat with the same key within the stream's `dedupeWindowMs` appends nothing
 * @throws {WeirError} `unknown-stream`; `payload-too-large`; `idempotency-mismatch` when the key came with other
 *   messages; `redis-full`; `outcome-unknown`
 */
export async function produce(
  stream: EventStream,
  messages: readonly NewMessage[],
  idempotencyKey?: string,
): Promise<Produced> {
  const encoded = messages.map(encodeMessage);
  const sizes = encoded.map(messageBytes);
  const largestBytes = Math.max(...sizes);
  const { keys } = stream;
  const reply = await stream.redis.send({
    script: produceScript,
    keys:
      idempotencyKey === undefined ? [keys.stream, keys.config] : [keys.stream, keys.config, keys.once(idempotencyKey)],
    args: [
      largestBytes <= LEAST_MAX_MESSAGE_BYTES ? 0 : largestBytes,
      STREAM_DEFAULTS.maxMessageBytes,
      STREAM_DEFAULTS.dedupeWindowMs,
      idempotencyKey === undefined ? "" : await fingerprint(encoded),
      ...encoded.flatMap((fields) => [fields.length, ...fields]),
    ],
  });
  const [outcome, detail] = asArray(reply);
  switch (outcome) {
    case "appended":
    case "replayed":
      return { ids: asText(detail).split(" "), replayed: outcome === "replayed" };
    case "mismatch":
      throw new WeirError(
        "idempotency-mismatch",
        "this Idempotency-Key was used with other messages; nothing was appended",
      );
    case "too-large":
      throw tooLarge(sizes, asNumber(detail));
    default:
      throw unknownStream(stream);
  }
}

function tooLarge(sizes: readonly number[], limit: number): WeirError {
  const errors = sizes.flatMap((bytes, i) =>
    bytes > limit ? [{ path: `messages[${i}]`, message: `expected at most ${limit} bytes, got ${bytes}` }] : [],
  );
  return new WeirError("payload-too-large", `a message may have ${limit} bytes; nothing was appended`, { errors });
}

/** SHA-256 of the messages as they are stored: the same whatever the spacing and media type of the request. */
async function fingerprint(encoded: readonly (readonly string[])[]): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", Buffer.from(JSON.stringify(encoded)));
  return Buffer.from(digest).toString("base64url");
}
