import { Buffer } from "node:buffer";
import { WeirError } from "../errors.ts";
import { type EncodedMessages, encodeMessages, type NewMessage } from "../message.ts";
import type { Reply } from "../redis/connection.ts";
import { type Call, unwrap } from "../redis/redis.ts";
import { asArray, asNumber, asText } from "../redis/reply.ts";
import type { ScriptCall } from "../redis/script.ts";
import { producePlainScript, produceScript } from "../scripts/produce.lua.ts";
import type { Delivery } from "./delivery-ids.ts";
import { adoptStream } from "./manage.ts";
import { unknownStream } from "./missing.ts";
import { noteLaterDue, notePassing, passingCall } from "./promote.ts";
import { registerCall, visitByCalls } from "./registry.ts";
import { planSchedule, type SchedulePlan } from "./schedule-plan.ts";
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
 * Appends messages in order, all or nothing, in one round trip; those that are scheduled are stored in the same step.
 * @param messages 1 to 1,000
 * @param idempotencyKey a repeat with the same key within the stream's `dedupeWindowMs` appends nothing
 * @param cache spares a look at the settings, a command
 * @param nowMs this machine's clock, in Unix milliseconds; for what is scheduled only a hint: Redis' own decides
 * @throws {WeirError} `unknown-stream`; `payload-too-large`; `idempotency-mismatch` when the key came with other
 *   messages; `stream-full`; `redis-full`; `outcome-unknown`
 */
export async function produce(
  stream: EventStream,
  messages: readonly NewMessage[],
  idempotencyKey?: string,
  cache = new SettingsCache(),
  nowMs = Date.now(),
): Promise<Produced> {
  const encoded = encodeMessages(messages);
  const schedule = planSchedule(stream, messages, cache, nowMs);
  if (idempotencyKey === undefined) return append({ stream, cache, nowMs, schedule }, encoded, NO_GATE);
  const keys = [stream.keys.once(idempotencyKey)];
  const gate = { keys, fingerprint: await fingerprint(encoded, schedule), delivery: undefined };
  return append({ stream, cache, nowMs, schedule }, encoded, gate);
}

/**
 * Appends one message that was delivered to a webhook source, unless it was there before; in one round trip, and three
 * commands more than a plain one.
 * @param delivery what a repeat of it is known by; undefined: nothing is taken for a repeat
 * @param nowMs this machine's clock, in Unix milliseconds
 * @throws {WeirError} as {@link produce}; then the delivery counts as not there
 */
export async function produceDelivery(
  stream: EventStream,
  message: NewMessage,
  delivery: Delivery | undefined,
  cache: SettingsCache,
  nowMs = Date.now(),
): Promise<Produced> {
  const gate = delivery === undefined ? NO_GATE : { keys: delivery.keys, fingerprint: undefined, delivery };
  return append({ stream, cache, nowMs, schedule: undefined }, encodeMessages([message]), gate);
}

/** What keeps a repeat from being appended. */
interface Gate {
  readonly keys: readonly string[];
  /** With an idempotency key. */
  readonly fingerprint: string | undefined;
  readonly delivery: Delivery | undefined;
}

const NO_GATE: Gate = { keys: [], fingerprint: undefined, delivery: undefined };

async function append(sending: Sending, encoded: EncodedMessages, gate: Gate): Promise<Produced> {
  const { stream, cache, schedule } = sending;
  const largestBytes = Math.max(...encoded.sizes);
  const known = cache.stream(stream);
  const isKnown = known !== undefined && (gate.delivery === undefined || known.incarnation !== undefined);
  const looks = !isKnown || known.isBounded || largestBytes > known.maxMessageBytes || schedule !== undefined;
  const args = [
    looks || gate.fingerprint !== undefined ? 1 : 0,
    largestBytes,
    known?.maxMessageBytes ?? STREAM_DEFAULTS.maxMessageBytes,
    STREAM_DEFAULTS.dedupeWindowMs,
    gate.fingerprint ?? "",
    JSON.stringify(encoded.lengths),
    encoded.short,
  ];
  const delivered = gate.delivery === undefined ? "" : deliveryArgument(gate.delivery, known?.incarnation);
  const script = schedule === undefined && gate.delivery === undefined ? producePlainScript : produceScript;
  const reply = await sendSomewhere(sending, () => ({
    script,
    keys: [stream.keys.stream, stream.keys.config, ...gate.keys, ...(schedule?.keys() ?? [])],
    args: [...args, schedule?.argument() ?? "", delivered, ...encoded.long],
  }));
  const [outcome, detail, maxMessageBytes, isBounded, laterDueMs, incarnation] = reply;
  if (looks && outcome === "appended") {
    cache.setStream(stream, {
      maxMessageBytes: asNumber(maxMessageBytes),
      isBounded: isBounded === 1,
      incarnation: asText(incarnation),
    });
    noteLaterDue(stream, cache, asNumber(laterDueMs));
  }
  if (outcome === "appended" || outcome === "repeated") {
    const ids = asText(detail);
    return { ids: ids === "" ? [] : ids.split(" "), repeated: outcome === "repeated" };
  }
  throw refusal(stream, asText(outcome), detail, encoded.sizes);
}

/** A request that was told to use other buckets so often meets others that fill them faster. */
const MAX_ATTEMPTS = 8;

interface Sending {
  readonly stream: EventStream;
  readonly cache: SettingsCache;
  readonly nowMs: number;
  readonly schedule: SchedulePlan | undefined;
}

/** Sends a produce until its stream is adopted, and its scheduled messages have buckets that they belong into. */
async function sendSomewhere(sending: Sending, makeCall: () => ScriptCall): Promise<readonly Reply[]> {
  const { stream, schedule } = sending;
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const reply = asArray(await sendOnce(sending, makeCall()));
    if (reply[0] === "unadopted") await adoptStream(stream, Date.now());
    else if (reply[0] === "elsewhere" && schedule !== undefined) schedule.move(asArray(reply[1]));
    else return reply;
  }
  throw new WeirError(
    "redis-unavailable",
    "too many messages are being scheduled for the same hour; nothing was stored",
    {
      retryAfterS: 1,
    },
  );
}

/**
 * One round trip: in passing, what is due, before what is new takes the room in a stream that is full; the produce; and what
 * the reaper must know of it.
 */
async function sendOnce(sending: Sending, call: ScriptCall): Promise<Reply> {
  const { stream, cache, nowMs, schedule } = sending;
  const passing = passingCall(stream, cache, nowMs);
  // Visits behind the script, which must run in its turn: see visitByCalls().
  const calls: Call[] =
    schedule === undefined ? [call] : [{ ...call, inTurn: true }, ...visitByCalls(stream, schedule.firstMs)];
  const outcomes = await stream.redis.pipeline(passing === undefined ? calls : [passing, ...calls]);
  if (passing !== undefined) notePassing(stream, cache, outcomes.shift() ?? null, nowMs);
  const [outcome = null, , touched = null] = outcomes;
  const reply = unwrap(outcome);
  if (schedule !== undefined) await mendVisit(sending, schedule, asArray(reply), touched !== null);
  return reply;
}

/** A note of the visit that is so much too late is written anew. */
const LATE_NOTE_MS = 1_000;

/**
 * Has the stream visited in time where that was not noted: the registry lacks its name, or this machine's clock is ahead of
 * Redis'. A round trip more in these cases alone. The messages are stored: whatever goes wrong is not the request's.
 */
async function mendVisit(
  { stream, nowMs }: Sending,
  { firstMs }: SchedulePlan,
  reply: readonly Reply[],
  isRegistered: boolean,
): Promise<void> {
  const [outcome, , , , , , first = null] = reply;
  if (outcome !== "appended" && outcome !== "repeated") return;
  const dueMs = asNumber(first);
  const isLate = dueMs >= 0 && dueMs < firstMs - LATE_NOTE_MS;
  const calls = isRegistered ? [] : [registerCall(stream, nowMs)];
  if (isLate) calls.push(...visitByCalls(stream, dueMs));
  if (calls.length > 0) await stream.redis.pipeline(calls).catch(() => undefined);
}

function deliveryArgument({ digest, moment, oldest, lifeMs }: Delivery, incarnation = ""): string {
  return JSON.stringify({ digest, moment, oldest, lifeMs, incarnation });
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
async function fingerprint(
  { lengths, short, long }: EncodedMessages,
  schedule: SchedulePlan | undefined,
): Promise<string> {
  const content = [lengths, short, long, ...(schedule === undefined ? [] : [schedule.wanted])];
  const digest = await crypto.subtle.digest("SHA-256", Buffer.from(JSON.stringify(content)));
  return Buffer.from(digest).toString("base64url");
}
