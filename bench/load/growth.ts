// How the cost of single operations grows with what lies in the stream and is pending.
import type { Redis } from "ioredis";
import { median } from "../stats.ts";
import type { Sample } from "./job.ts";
import { MAX_MESSAGE_BYTES } from "./payloads.ts";
import { connectRedis, fill } from "./redis.ts";
import { type JobOf, WeirStream } from "./weir.ts";

const REPEATS = 15;

// As if they had been handed out an hour ago to consumers that are gone; not to one, since Upstash limits each.
const LEAVE_PENDING = `
local left, consumer = tonumber(ARGV[1]), tonumber(ARGV[2])
while left > 0 do
  local name = 'gone' .. consumer
  local read = redis.call('XREADGROUP', 'GROUP', 'g', name, 'COUNT', math.min(left, 1000), 'STREAMS', KEYS[1], '>')
  if not read then break end
  local ids = {}
  for i, entry in ipairs(read[1][2]) do ids[i] = entry[1] end
  if ARGV[3] == '1' then redis.call('XCLAIM', KEYS[1], 'g', name, 0, unpack(ids), 'IDLE', 3600000, 'JUSTID') end
  left, consumer = left - #ids, consumer + 1
end`;

/** Everything in one stream: as many entries pending as said, behind them new ones. */
export async function growth(job: JobOf<"growth">): Promise<Sample> {
  const { entries, target, redisPort } = job;
  const stream = await WeirStream.create(target, MAX_MESSAGE_BYTES["200 B"]);
  const redis = connectRedis(redisPort);
  const { meter } = stream;
  meter.start();
  await fill(redis, stream.key, entries, "200 B");
  const stretch = 10_000;
  for (let left = entries; left > 0; left -= stretch) await leavePending(redis, stream, Math.min(left, stretch), left);
  await fill(redis, stream.key, REPEATS * 220 + 1_000, "200 B");

  const time = async (method: string, path: string, body?: (i: number) => unknown) => {
    const times: number[] = [];
    for (let i = 0; i < REPEATS; i++) {
      const started = performance.now();
      await stream.call(method, path, body?.(i));
      times.push(performance.now() - started);
    }
    return median(times);
  };
  const poll = (pollState?: string) => () => ({ consumer: "c", batchSize: 100, ...(pollState && { pollState }) });
  const figures: Record<string, number> = {
    "consume 100, fast poll": await time("POST", "/groups/g/consume", poll("1.0.0.0.0")),
    "consume 100, reclaim poll": await time("POST", "/groups/g/consume", poll()),
    "look at the stream": await time("GET", ""),
    "look at the group": await time("GET", "/groups/g"),
    "list 100 pending": await time("GET", "/groups/g/pending?limit=100"),
    "trim 1,000, all kept for the group": await time("POST", "/trim", () => ({
      maxLength: Math.max(0, entries - 1_000),
    })),
    "reaper run, nothing expired": await time("POST", "/v1/reaper/run"),
  };
  const claimed = await expireSome(redis, stream, 1_000);
  const started = performance.now();
  await stream.call("POST", "/v1/reaper/run");
  figures["reaper run, 1,000 expired"] = claimed === 0 ? Number.NaN : performance.now() - started;
  const sample = { ...meter.stop(), figures };
  redis.disconnect();
  await stream.delete();
  return sample;
}

async function leavePending(redis: Redis, stream: WeirStream, count: number, number: number): Promise<void> {
  await redis.eval(LEAVE_PENDING, 1, stream.key, count, number, 0);
}

/** @returns how many of the new entries are now pending as expired */
async function expireSome(redis: Redis, stream: WeirStream, count: number): Promise<number> {
  await redis.eval(LEAVE_PENDING, 1, stream.key, count, 0, 1);
  return count;
}
