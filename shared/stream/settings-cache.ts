import type { EventStream } from "./stream.ts";

/** What a fast poll must know before it reads. */
export interface CachedSettings {
  readonly ackWaitMs: number;
  readonly maxMessageBytes: number;
}

const KEPT_MS = 10_000;
const MOST_GROUPS = 1_000;

/** Remembers settings within one isolate, for 10 seconds: only to tell them, and to bound a batch; scripts read their own. */
export class SettingsCache {
  readonly #kept = new Map<string, { settings: CachedSettings; untilMs: number }>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  get(stream: EventStream, group: string): CachedSettings | undefined {
    const kept = this.#kept.get(cacheKey(stream, group));
    return kept !== undefined && kept.untilMs > this.#now() ? kept.settings : undefined;
  }

  set(stream: EventStream, group: string, settings: CachedSettings): void {
    // Names come from requests: the map must not grow with them.
    if (this.#kept.size >= MOST_GROUPS) this.#kept.clear();
    this.#kept.set(cacheKey(stream, group), { settings, untilMs: this.#now() + KEPT_MS });
  }
}

function cacheKey(stream: EventStream, group: string): string {
  return `${stream.keys.stream} ${group}`;
}
