import type { Context } from "hono";
import type { Config, Settings } from "../shared/config.ts";
import type { ReaperRun } from "../shared/reaper/runs.ts";
import type { RedisClock } from "../shared/redis/clock.ts";
import type { Redis } from "../shared/redis/redis.ts";
import type { Revocations } from "../shared/revocations.ts";
import type { SettingsCache } from "../shared/stream/settings-cache.ts";
import type { Caller } from "./http/auth.ts";
import type { ProblemCode } from "./http/errors.ts";
import type { RateLimits } from "./http/rate-limit.ts";
import type { WebhookMemory } from "./webhooks/sources.ts";

/** What a request works with. */
export interface RequestContext {
  readonly config: Config;
  /** This request's own, so that its usage is what the request cost. */
  readonly redis: Redis;
  readonly cache: SettingsCache;
  /** What is known of webhook sources. */
  readonly webhooks: WebhookMemory;
  /** Which access tokens are revoked, as this isolate knows it. */
  readonly revocations: Revocations;
  /** Redis' time, as this isolate knows it. */
  readonly clock: RedisClock;
  /** The clock, in Unix milliseconds. */
  readonly now: () => number;
  /** Runs the scheduled work now. Handed in: functions/ knows nothing of scheduled/. */
  readonly runReaper: () => Promise<ReaperRun>;
}

/** Hono's types for the app. */
export interface AppEnv {
  Bindings: Settings & RateLimits;
  Variables: {
    /** Names the request in its answer and in the log. */
    requestId: string;
    context: RequestContext;
    caller: Caller;
    /** Of the error that was answered. */
    errorCode: ProblemCode;
    /** What repeating this request means; see `Endpoint`. */
    repeat: string | undefined;
  };
}

export type AppContext = Context<AppEnv>;
