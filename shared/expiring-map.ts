const MAX_ENTRIES = 2_000;

/** Values that are remembered for a while. Names come from requests, so the number of entries is limited. */
export class ExpiringMap<Value> {
  readonly #kept = new Map<string, { value: Value; untilMs: number }>();
  readonly #now: () => number;
  readonly #keptMs: number;

  /** @param now the clock, in Unix milliseconds */
  constructor(now: () => number, keptMs: number) {
    this.#now = now;
    this.#keptMs = keptMs;
  }

  get(key: string): Value | undefined {
    const kept = this.#kept.get(key);
    return kept !== undefined && kept.untilMs > this.#now() ? kept.value : undefined;
  }

  set(key: string, value: Value): void {
    if (this.#kept.size >= MAX_ENTRIES && !this.#kept.has(key)) this.#kept.clear();
    this.#kept.set(key, { value, untilMs: this.#now() + this.#keptMs });
  }

  delete(key: string): void {
    this.#kept.delete(key);
  }

  deleteAll(isMeant: (key: string) => boolean): void {
    for (const key of this.#kept.keys()) if (isMeant(key)) this.#kept.delete(key);
  }
}
