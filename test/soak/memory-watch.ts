import type { Redis } from "../../shared/redis/redis.ts";

const MIB = 1024 * 1024;
/** How much more the last third of a run may use than the one before. Less than that is noise of the two allocators. */
const GROWTH = 1.25;
const NOISE_BYTES = 32 * MIB;

/** Watches what Redis and this process use. */
export class MemoryWatch {
  readonly #redis: Redis;
  readonly #samples: { redis: number; process: number }[] = [];
  #redisPeak = 0;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  async sample(): Promise<void> {
    const info = String(await this.#redis.send(["INFO", "memory"]));
    const used = Number(/^used_memory:(\d+)/m.exec(info)?.[1]);
    this.#redisPeak = Math.max(this.#redisPeak, Number(/^used_memory_peak:(\d+)/m.exec(info)?.[1]));
    this.#samples.push({ redis: used, process: process.memoryUsage.rss() });
  }

  now(): string {
    const { redis, process } = this.#samples.at(-1) ?? { redis: 0, process: 0 };
    return `Redis ${inMib(redis)}, RSS ${inMib(process)}`;
  }

  /** Whether either used clearly more in the last third of the run than in the one before. */
  get grows(): boolean {
    return this.#growth("redis") || this.#growth("process");
  }

  report(): string {
    const [middle, last] = [this.#third(1), this.#third(2)];
    const of = (what: "redis" | "process") =>
      `most ${inMib(most(this.#samples, what))}, middle third ${inMib(most(middle, what))}, last third ${inMib(most(last, what))}${this.#growth(what) ? ", GROWS" : ""}`;
    return `Redis peak ${inMib(this.#redisPeak)} (${of("redis")}); RSS of this process ${of("process")}`;
  }

  #third(number: number) {
    const size = this.#samples.length / 3;
    return this.#samples.slice(Math.floor(number * size), Math.floor((number + 1) * size));
  }

  #growth(what: "redis" | "process"): boolean {
    const before = most(this.#third(1), what);
    return most(this.#third(2), what) > Math.max(before * GROWTH, before + NOISE_BYTES);
  }
}

function most(samples: readonly { redis: number; process: number }[], what: "redis" | "process"): number {
  return Math.max(0, ...samples.map((sample) => sample[what]));
}

function inMib(bytes: number): string {
  return `${(bytes / MIB).toFixed(0)} MiB`;
}
