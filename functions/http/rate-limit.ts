import type { RateLimitPolicy } from "../../shared/config.ts";
import type { AppContext } from "../context.ts";
import { log } from "../log.ts";
import { HttpError } from "./errors.ts";

/**
 * A rate limit of Workers (https://developers.cloudflare.com/workers/runtime-apis/bindings/rate-limit/): it counts by key, in
 * one of Cloudflare's locations, and answers nothing but whether there is room.
 */
interface RateLimiter {
  limit(options: { readonly key: string }): Promise<{ readonly success: boolean }>;
}

/** The bindings of a Worker that limit; what is not bound is not limited. A server of one's own has none. */
export interface RateLimits {
  /** By who calls. */
  readonly RATE_LIMIT?: RateLimiter;
  /** By the source of a webhook. */
  readonly WEBHOOK_RATE_LIMIT?: RateLimiter;
}

/** The longest window that such a binding may have. */
const LONGEST_WINDOW_S = 60;

/**
 * Counts a request that was let in, before anything of it is read.
 * @throws {HttpError} `rate-limited`
 */
export async function limitCaller(c: AppContext): Promise<void> {
  const { caller, context } = c.var;
  const key = caller === "root" ? "root" : caller.id === null ? `subject ${caller.subject}` : `token ${caller.id}`;
  if (await hasRoom(c, "RATE_LIMIT", key)) return;
  const { rateLimit } = context.config;
  const retryAfterS = rateLimit?.windowS ?? LONGEST_WINDOW_S;
  const headers = headersFor(rateLimit, retryAfterS);
  throw new HttpError("rate-limited", "this token has made too many requests", { retryAfterS, headers });
}

/**
 * Counts a webhook by its source, before anything of it is read.
 * @throws {HttpError} `rate-limited`
 */
export async function limitWebhooks(c: AppContext, source: string): Promise<void> {
  if (await hasRoom(c, "WEBHOOK_RATE_LIMIT", source)) return;
  const detail = `too many webhooks of the source ${source} have come`;
  throw new HttpError("rate-limited", detail, { retryAfterS: LONGEST_WINDOW_S });
}

/** https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/ */
function headersFor(policy: RateLimitPolicy | undefined, retryAfterS: number): Record<string, string> {
  const state = { ratelimit: `"requests";r=0;t=${retryAfterS}` };
  if (policy === undefined) return state;
  return { ...state, "ratelimit-policy": `"requests";q=${policy.quota};w=${policy.windowS}` };
}

/** A limit that cannot be asked limits nobody: it protects, and must not be what fails. */
async function hasRoom(c: AppContext, name: keyof RateLimits, key: string): Promise<boolean> {
  const limiter = c.env?.[name];
  // A setting of that name in a server's environment is text.
  if (typeof limiter !== "object") return true;
  try {
    return (await limiter.limit({ key })).success;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    log("error", "a rate limit could not be asked, and limits nobody", { requestId: c.var.requestId, name, reason });
    return true;
  }
}
