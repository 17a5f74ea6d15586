import type { Context } from "hono";
import type { Config, Settings } from "../shared/config.ts";
import type { ReaperRun } from "../shared/reaper-runs.ts";
import type { Redis } from "../shared/redis/redis.ts";
import type { SettingsCache } from "../shared/stream/settings-cache.ts";
import type { Caller } from "./permissions.ts";

/** What every request works with. */
export interface Weir {
  readonly config: Config;
  /** This request's own, so that its usage is what the request cost. */
  readonly redis: Redis;
  readonly cache: SettingsCache;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Runs the scheduled work now; handed in, since functions know nothing of it. */
  readonly runReaper: () => Promise<ReaperRun>;
}

export interface AppEnv {
  Bindings: Settings;
  Variables: { weir: Weir; caller: Caller };
}

export type AppContext = Context<AppEnv>;
