import { ExpiringMap } from "../expiring-map.ts";
import type { StreamConfig } from "./settings.ts";
import type { EventStream } from "./stream.ts";

/** What a fast poll must know before it reads. */
export interface CachedGroup {
  readonly ackWaitMs: number;
  readonly maxMessageBytes: number;
  readonly maxDeliveries: number;
  /** Which group of that name it is, for its leases; "": it has none. */
  readonly incarnation: string;
}

/** What a produce must know to leave the settings unread. */
export interface CachedStream {
  readonly maxMessageBytes: number;
  /** Whether a produce must look at the length. */
  readonly isBounded: boolean;
  /** Which stream of that name it is; absent: not known. */
  readonly incarnation?: string;
}

/** What is known of a stream's scheduled messages, by this machine's clock. */
export interface CachedLater {
  /** When the first one is due; Infinity: nothing known. */
  readonly dueMs: number;
  /** Until then nothing is appended in passing: the last time there was nothing to be done. */
  readonly restUntilMs?: number;
  /** The buckets that hold what is due, where they are known. */
  readonly buckets?: readonly string[];
}

const NOTHING_LATER: CachedLater = { dueMs: Number.POSITIVE_INFINITY };

const KEPT_MS = 10_000;
/** What to remember of a stream's settings. */
export function cachedStream({ maxMessageBytes, retention }: StreamConfig): CachedStream {
  return { maxMessageBytes, isBounded: retention.maxLength !== null && retention.unfinished === "keep" };
}

/** Remembers settings within one isolate, for 10 seconds. Scripts decide by what they read themselves. */
export class SettingsCache {
  readonly #groups: ExpiringMap<CachedGroup>;
  readonly #streams: ExpiringMap<CachedStream>;
  readonly #later: ExpiringMap<CachedLater>;
  readonly #buckets: ExpiringMap<ReadonlyMap<number, number>>;

  constructor(now: () => number = Date.now) {
    this.#groups = new ExpiringMap(now, KEPT_MS);
    this.#later = new ExpiringMap(now, KEPT_MS);
    this.#buckets = new ExpiringMap(now, KEPT_MS);
    this.#streams = new ExpiringMap(now, KEPT_MS);
  }

  group(stream: EventStream, group: string): CachedGroup | undefined {
    return this.#groups.get(`${stream.keys.stream} ${group}`);
  }

  setGroup(stream: EventStream, group: string, settings: CachedGroup): void {
    this.#groups.set(`${stream.keys.stream} ${group}`, settings);
  }

  /** After this isolate itself has changed the settings. */
  forgetGroup(stream: EventStream, group: string): void {
    this.#groups.delete(`${stream.keys.stream} ${group}`);
  }

  /** After this isolate itself has deleted the stream. */
  forgetStream(stream: EventStream): void {
    this.#streams.delete(stream.keys.stream);
    this.#later.delete(stream.keys.stream);
    this.#buckets.delete(stream.keys.stream);
    // Names hold no spaces.
    this.#groups.deleteAll((key) => key.startsWith(`${stream.keys.stream} `));
  }

  stream(stream: EventStream): CachedStream | undefined {
    return this.#streams.get(stream.keys.stream);
  }

  setStream(stream: EventStream, settings: CachedStream): void {
    this.#streams.set(stream.keys.stream, settings);
  }

  later(stream: EventStream): CachedLater {
    return this.#later.get(stream.keys.stream) ?? NOTHING_LATER;
  }

  setLater(stream: EventStream, later: CachedLater): void {
    this.#later.set(stream.keys.stream, later);
  }

  /** By hour, the number of the bucket that had room last. */
  buckets(stream: EventStream): ReadonlyMap<number, number> {
    return this.#buckets.get(stream.keys.stream) ?? new Map();
  }

  setBuckets(stream: EventStream, buckets: ReadonlyMap<number, number>): void {
    this.#buckets.set(stream.keys.stream, buckets);
  }
}
