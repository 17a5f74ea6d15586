import { registryKey, type StreamKeys, streamKeys } from "../keys.ts";
import type { Redis } from "../redis/redis.ts";

/** A stream by its name, with the Redis it lies in; the functions of this folder act on it. */
export interface EventStream {
  readonly redis: Redis;
  readonly name: string;
  readonly keys: StreamKeys;
  /** The key of the registry that lists it. */
  readonly registry: string;
}

/** Names a stream; nothing is read, and it need not exist. */
export function openStream(redis: Redis, keyPrefix: string, name: string): EventStream {
  return { redis, name, keys: streamKeys(keyPrefix, name), registry: registryKey(keyPrefix) };
}

/** The keys of one group, in the order in which the scripts of delivery take them. */
export function groupKeys({ keys }: EventStream, group: string): readonly string[] {
  return [
    keys.stream,
    keys.config,
    keys.dead(group),
    keys.again(group),
    keys.againDue(group),
    keys.deadIndex(group),
    keys.clock,
  ];
}
