import type { Waiting } from "../../shared/stream/in-time.ts";
import type { AppContext, RequestContext } from "../context.ts";

/** Who waits for what a request hands out: a client may have gone away meanwhile. */
export function waitingOf({ clock, config }: RequestContext, c: AppContext): Waiting {
  return { clock, timeoutMs: config.redisTimeoutMs, isGone: () => c.req.raw.signal.aborted };
}
