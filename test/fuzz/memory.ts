import type { RedisWatch } from "./redis-state.ts";
import type { Target } from "./targets.ts";

const MIB = 1024 * 1024;
/**
 * What serves: V8 lets garbage lie for long, and bodies of 8 MiB are among the requests. Beyond this, or ever more, it is no
 * garbage.
 */
const MOST_OF_PROCESS_BYTES = 512 * MIB;
/** Of Redis: streams are deleted now and then. */
const MOST_OF_REDIS_BYTES = 256 * MIB;
/** Of Redis once all is deleted, above what it had at first: scripts and what its allocator keeps. */
const LEFT_IN_REDIS_BYTES = 16 * MIB;

/** Watches what the process that serves and Redis use. */
export class MemoryBounds {
  readonly #target: Target;
  readonly #redis: RedisWatch;
  #atFirstBytes: number | undefined;
  #mostOfProcess = 0;
  #mostOfRedis = 0;

  constructor(target: Target, redis: RedisWatch) {
    this.#target = target;
    this.#redis = redis;
  }

  /** @returns what is above its bound, in words */
  async exceeded(): Promise<string | undefined> {
    const ofRedis = await this.#redis.usedBytes();
    const ofProcess = (await this.#target.rssBytes()) ?? 0;
    this.#mostOfRedis = Math.max(this.#mostOfRedis, ofRedis);
    this.#mostOfProcess = Math.max(this.#mostOfProcess, ofProcess);
    if (ofProcess > MOST_OF_PROCESS_BYTES) return `the process that serves uses ${inMib(ofProcess)}`;
    return ofRedis > MOST_OF_REDIS_BYTES ? `Redis uses ${inMib(ofRedis)}` : undefined;
  }

  /** To be asked when nothing is left in Redis. @returns what is left all the same, in words */
  async left(): Promise<string | undefined> {
    const bytes = await this.#redis.usedBytes();
    this.#atFirstBytes ??= bytes;
    const moreBytes = bytes - this.#atFirstBytes;
    return moreBytes > LEFT_IN_REDIS_BYTES
      ? `Redis uses ${inMib(moreBytes)} more than at first, though all is deleted`
      : undefined;
  }

  report(): string {
    return `at most ${inMib(this.#mostOfProcess)} in the process that serves, ${inMib(this.#mostOfRedis)} in Redis`;
  }
}

function inMib(bytes: number): string {
  return `${(bytes / MIB).toFixed(0)} MiB`;
}
