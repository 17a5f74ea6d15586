import { WeirError } from "../errors.ts";
import type { NewMessage } from "../message.ts";
import type { Reply } from "../redis/connection.ts";
import { asText } from "../redis/reply.ts";
import { bucketKeys, bucketName, FULL_BUCKET_BYTES, hourAt, readBucketName } from "./buckets.ts";
import type { SettingsCache } from "./settings-cache.ts";
import type { EventStream } from "./stream.ts";

/** How far ahead a message may be scheduled. */
export const MAX_DELAY_MS = 30 * 24 * 3_600_000;

/** A message to be stored for later: its number from 1, whether `ms` is a delay (1) or a time (0). */
type Wanted = readonly [number: number, isDelay: 1 | 0, ms: number];

/**
 * Which buckets a request's scheduled messages go into. A script may touch only keys that it is given, so they are guessed
 * by this machine's clock; the script decides by Redis' own, and tells what does not fit.
 */
export class SchedulePlan {
  /** What was asked for, whatever the clock. */
  readonly wanted: readonly Wanted[];
  readonly #stream: EventStream;
  readonly #cache: SettingsCache;
  #nowMs: number;
  /** By hour, the number of the bucket to use. */
  #numbers: Map<number, number>;

  constructor(stream: EventStream, wanted: readonly Wanted[], cache: SettingsCache, nowMs: number) {
    this.#stream = stream;
    this.#cache = cache;
    this.wanted = wanted;
    this.#nowMs = nowMs;
    this.#numbers = new Map(cache.buckets(stream));
  }

  /** When the first one is due, as far as this machine's clock tells. */
  get firstMs(): number {
    return Math.min(...this.wanted.map((one) => this.#dueAt(one)));
  }

  /** The keys that the script takes for them. */
  keys(): string[] {
    const { keys } = this.#stream;
    return [keys.clock, keys.later, keys.laterSizes, ...bucketKeys(keys, [...this.#buckets()])];
  }

  /** The argument that the script takes for them. */
  argument(): string {
    const places = new Map([...this.#buckets()].map((name, i) => [name, i + 1]));
    const messages = this.wanted.map((one) => [one[0], places.get(this.#bucketOf(one) ?? "") ?? 0, one[1], one[2]]);
    return JSON.stringify({ buckets: [...places.keys()], full: FULL_BUCKET_BYTES, messages });
  }

  /** Takes what the script told: Redis' time, and the buckets that have room where some had none. */
  move([redisNowMs = "0", ...roomy]: readonly Reply[]): void {
    this.#nowMs = Number(asText(redisNowMs));
    for (const name of roomy) {
      const { hour, number } = readBucketName(asText(name));
      this.#numbers.set(hour, number);
    }
    const thisHour = hourAt(this.#nowMs);
    this.#numbers = new Map([...this.#numbers].filter(([hour]) => hour >= thisHour));
    this.#cache.setBuckets(this.#stream, this.#numbers);
  }

  #buckets(): Set<string> {
    return new Set(this.wanted.flatMap((one) => this.#bucketOf(one) ?? []));
  }

  /** None for what is due already: it is appended at once. */
  #bucketOf(one: Wanted): string | undefined {
    const dueMs = this.#dueAt(one);
    const hour = hourAt(dueMs);
    return dueMs <= this.#nowMs ? undefined : bucketName(hour, this.#numbers.get(hour));
  }

  #dueAt([, isDelay, ms]: Wanted): number {
    return isDelay === 1 ? this.#nowMs + ms : ms;
  }
}

/**
 * Plans where a request's scheduled messages go.
 * @returns undefined when there are none
 * @throws {WeirError} `invalid-request` for a time that is too far ahead
 */
export function planSchedule(
  stream: EventStream,
  messages: readonly NewMessage[],
  cache: SettingsCache,
  nowMs: number,
): SchedulePlan | undefined {
  if (messages.every(({ schedule }) => schedule === undefined)) return undefined;
  const wanted = messages.flatMap(({ schedule }, i): Wanted[] => {
    if (schedule === undefined) return [];
    if ("deliverAtMs" in schedule) return [[i + 1, 0, schedule.deliverAtMs]];
    return schedule.delayMs === 0 ? [] : [[i + 1, 1, schedule.delayMs]];
  });
  const errors = wanted
    .filter(([, isDelay, ms]) => isDelay === 0 && ms > nowMs + MAX_DELAY_MS)
    .map(([number]) => ({ path: `messages[${number - 1}].deliverAt`, message: "expected a time within 30 days" }));
  if (errors.length > 0) {
    throw new WeirError("invalid-request", "a message may be scheduled up to 30 days ahead; nothing was appended", {
      errors,
    });
  }
  return wanted.length === 0 ? undefined : new SchedulePlan(stream, wanted, cache, nowMs);
}
