import { Buffer } from "node:buffer";
import { WeirError } from "../errors.ts";
import { type EncodedMessages, encodeMessages, type NewMessage } from "../message.ts";
import type { Reply } from "../redis/connection.ts";
import { asArray, asNumber, asText } from "../redis/reply.ts";
import { produceScript } from "../scripts/produce.lua.ts";
import type { Delivery } from "./delivery-ids.ts";
import { adoptStream } from "./manage.ts";
import { unknownStream } from "./missing.ts";
import { STREAM_DEFAULTS } from "./settings.ts";
import { SettingsCache } from "./settings-cache.ts";
import type { EventStream } from "./stream.ts";

/** The least that `maxMessageBytes` can be set to. */
export const MIN_MAX_MESSAGE_BYTES = 1024;

export interface Produced {
  /** None for a delivery that was there before: what became of it is not remembered. */
  readonly ids: readonly string[];
  /** Whether an earlier request with the same key appended them. */
  readonly repeated: boolean;
}

/**
 * Appends messages in order, all or nothing, in one round trip.
 * @param messages 1 to 1,000
 * @param idempotencyKey a repeat with the same key within the stream's `dedupeWindowMs` appends nothing
 * @param cache spares a look at the settings, a command
 * @throws {WeirError} `unknown-stream`; `payload-too-large`; `idempotency-mismatch` when the key came with other
 *   messages; `stream-full`; `redis-full`; `outcome-unknown`
 */
export async function produce(
  stream: EventStream,
  messages: readonly NewMessage[],
  idempotencyKey?: string,
  cache = new SettingsCache(),
): Promise<Produced> {
  const encoded = encodeMessages(messages);
  if (idempotencyKey === undefined) return append(stream, encoded, cache, { looks: false, keys: [] });
  const once = { looks: true, keys: [stream.keys.once(idempotencyKey)], fingerprint: await fingerprint(encoded) };
  return append(stream, encoded, cache, once);
}

/**
 * Appends one message that was delivered to a webhook source, unless it was there before; in one round trip, and three
 * commands more than a plain one.
 * @param delivery what a repeat of it is known by; undefined: nothing is taken for a repeat
 * @throws {WeirError} as {@link produce}; then the delivery counts as not there
 */
export async function produceDelivery(
  stream: EventStream,
  message: NewMessage,
  delivery: Delivery | undefined,
  cache: SettingsCache,
): Promise<Produced> {
  const gate = { looks: false, keys: delivery?.keys ?? [], delivery };
  return append(stream, encodeMessages([message]), cache, gate);
}

/** What keeps a repeat from being appended. */
interface Gate {
  /** Whether the script must read the settings. */
  readonly looks: boolean;
  readonly keys: readonly string[];
  readonly fingerprint?: string;
  readonly delivery?: Delivery | undefined;
}

async function append(
  stream: EventStream,
  { lengths, short, long, sizes }: EncodedMessages,
  cache: SettingsCache,
  gate: Gate,
): Promise<Produced> {
  const largestBytes = Math.max(...sizes);
  const known = cache.stream(stream);
  const looks = known === undefined || known.isBounded || largestBytes > known.maxMessageBytes;
  const call = {
    script: produceScript,
    keys: [stream.keys.stream, stream.keys.config, ...gate.keys],
    args: [
      looks || gate.looks ? 1 : 0,
      largestBytes,
      known?.maxMessageBytes ?? STREAM_DEFAULTS.maxMessageBytes,
      STREAM_DEFAULTS.dedupeWindowMs,
      gate.fingerprint ?? "",
      JSON.stringify(lengths),
      short,
      gate.delivery?.digest ?? "",
      gate.delivery?.lifeMs ?? 0,
      ...long,
    ],
  };
  let reply = asArray(await stream.redis.send(call));
  if (reply[0] === "unadopted") {
    await adoptStream(stream, Date.now());
    reply = asArray(await stream.redis.send(call));
  }
  const [outcome, detail, maxMessageBytes, isBounded] = reply;
  if (looks && outcome === "appended") {
    cache.setStream(stream, { maxMessageBytes: asNumber(maxMessageBytes), isBounded: isBounded === 1 });
  }
  if (outcome === "appended" || outcome === "repeated") {
    const ids = asText(detail);
    return { ids: ids === "" ? [] : ids.split(" "), repeated: outcome === "repeated" };
  }
  throw refusal(stream, asText(outcome), detail, sizes);
}

function refusal(stream: EventStream, outcome: string, detail: Reply | undefined, sizes: readonly number[]): WeirError {
  switch (outcome) {
    case "mismatch":
      return new WeirError(
        "idempotency-mismatch",
        "this Idempotency-Key was used with other messages; nothing was appended",
      );
    case "too-large":
      return tooLarge(sizes, asNumber(detail));
    case "full": {
      const group = asText(detail);
      return new WeirError(
        "stream-full",
        `the stream "${stream.name}" has reached its maxLength, and the group "${group}" is not done with the oldest message`,
        { retryAfterS: 5 },
      );
    }
    case "exhausted":
      return new WeirError(
        "conflict",
        `the stream "${stream.name}" has the greatest id that there can be, which another client has given; nothing can follow it`,
      );
    default:
      return unknownStream(stream);
  }
}

function tooLarge(sizes: readonly number[], limit: number): WeirError {
  const errors = sizes.flatMap((bytes, i) =>
    bytes > limit ? [{ path: `messages[${i}]`, message: `expected at most ${limit} bytes, got ${bytes}` }] : [],
  );
  return new WeirError("payload-too-large", `a message may have ${limit} bytes; nothing was appended`, { errors });
}

/** SHA-256 of the messages as they are stored: the same whatever the spacing and media type of the request. */
async function fingerprint({ lengths, short, long }: EncodedMessages): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", Buffer.from(JSON.stringify([lengths, short, long])));
  return Buffer.from(digest).toString("base64url");
}
