import { Redis } from "ioredis";
import type { PayloadKind } from "./payloads.ts";
import { payloads } from "./payloads.ts";

/** A connection as a user of Redis would make it. */
export function connectRedis(port: number, db = 0): Redis {
  return new Redis({ host: "127.0.0.1", port, db, protocol: 2 });
}

const FILL = `
for i = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', 'data', ARGV[2 + i % (#ARGV - 1)]) end`;

/** Appends messages by a loop inside Redis, which costs the load generator nothing. */
export async function fill(redis: Redis, stream: string, messages: number, kind: PayloadKind): Promise<void> {
  const texts = payloads(kind);
  for (let left = messages; left > 0; left -= 5_000) {
    await redis.eval(FILL, 1, stream, Math.min(left, 5_000), ...texts);
  }
}

let streams = 0;

/** A stream's name that was not used before. */
export function newName(): string {
  streams++;
  return `bench-${process.pid}-${streams}`;
}
