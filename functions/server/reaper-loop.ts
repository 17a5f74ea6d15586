import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../../shared/config.ts";
import { WeirError } from "../../shared/errors.ts";
import { lastRun } from "../../shared/reaper/runs.ts";
import type { Connection } from "../../shared/redis/connection.ts";
import { Redis } from "../../shared/redis/redis.ts";
import { log } from "../log.ts";
import { reap } from "../reap.ts";

/** The reaper, running again and again until it is stopped. */
export interface ReaperLoop {
  /** Starts no further run, and waits for the one under way. */
  stop(): Promise<void>;
}

/** Runs the reaper, first after one interval. Runs of one server never overlap. */
export function startReaper(config: Config, connection: Connection, intervalMs: number): ReaperLoop {
  const stopping = new AbortController();
  const running = runUntil(stopping.signal, intervalMs, () => runOnce(config, new Redis(connection), intervalMs));
  return {
    async stop() {
      stopping.abort();
      await running;
    },
  };
}

async function runUntil(signal: AbortSignal, intervalMs: number, run: () => Promise<void>): Promise<void> {
  for (let nextMs = Date.now() + intervalMs; ; nextMs = Math.max(nextMs + intervalMs, Date.now())) {
    await sleep(Math.max(0, nextMs - Date.now()), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    await run();
  }
}

/** A failed run is logged; the next one does its work. */
async function runOnce(config: Config, redis: Redis, intervalMs: number): Promise<void> {
  const nowMs = Date.now();
  try {
    if (await ranLately(redis, config.keyPrefix, nowMs, intervalMs)) return;
    const { complete, backlog, durationMs, redisCommands, groups, streams, errors } = await reap(config, redis, {
      nowMs,
      everyStream: false,
    });
    if (errors.length > 0) log("error", "the reaper met errors", { errors });
    if (complete && groups.length + streams.length === 0) return;
    log("info", "the reaper ran", { complete, backlog, durationMs, redisCommands, groups, streams });
  } catch (error) {
    const code = error instanceof WeirError ? error.code : "internal-error";
    log("error", "the reaper's run failed; the next one does its work", { code, reason: reasonOf(error) });
  }
}

/** Whether another server has just done all that was due: beside each other, they would only cost more commands. */
async function ranLately(redis: Redis, keyPrefix: string, nowMs: number, intervalMs: number): Promise<boolean> {
  const last = await lastRun(redis, keyPrefix);
  return last?.complete === true && Math.abs(nowMs - last.startedAt) < intervalMs / 2;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
