import { WeirError } from "./errors.ts";
import { revokedTokensKey } from "./keys.ts";
import type { Redis } from "./redis/redis.ts";
import { asArray, asText } from "./redis/reply.ts";
import { revokeTokenScript } from "./scripts/revoke-token.lua.ts";

/** How many revoked tokens are kept at once: their ids are some 400 KB, which each isolate reads every 10 seconds. */
export const MAX_REVOKED = 10_000;
/** Within this time a revocation is known everywhere. */
const KEPT_MS = 10_000;
/** A revocation is kept for so long after its token has ended: no clock that is off by less lets the token in again. */
const KEPT_AFTER_END_MS = 24 * 3_600_000;
/** When somebody has to put right what another client left in that key. */
const RETRY_AFTER_S = 60;

interface Known {
  readonly ids: ReadonlySet<string>;
  readonly untilMs: number;
}

/** The revoked access tokens of a deployment, as an isolate knows them: what it has read it keeps for 10 seconds. */
export class Revocations {
  readonly #now: () => number;
  #known: Known | undefined;

  /** @param now the clock, in Unix milliseconds */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /**
   * Whether a token is revoked. Asks Redis, by one command, where the last answer is older than 10 seconds.
   * @throws {WeirError} `redis-unavailable` when the list cannot be read: then nobody can tell, and nobody gets in
   */
  async has(redis: Redis, keyPrefix: string, id: string): Promise<boolean> {
    if (this.#known === undefined || this.#known.untilMs <= this.#now()) {
      // From before it is sent: the answer may be older than its arrival.
      const nowMs = this.#now();
      this.#known = { ids: await readRevoked(redis, keyPrefix, nowMs), untilMs: nowMs + KEPT_MS };
    }
    return this.#known.ids.has(id);
  }

  /**
   * Revokes a token: refused here at once, and within 10 seconds by whoever else serves this deployment. Repeating it is
   * safe; the latest end that was named counts.
   * @param endsAtMs when the token ends by itself, in Unix milliseconds: the revocation is forgotten a day later
   * @throws {WeirError} `conflict` when 10,000 are kept; `redis-full`, `redis-unavailable`, `outcome-unknown`
   */
  async revoke(redis: Redis, keyPrefix: string, { id, endsAtMs }: { id: string; endsAtMs: number }): Promise<void> {
    const nowMs = this.#now();
    const done = await redis.send({
      script: revokeTokenScript,
      keys: [revokedTokensKey(keyPrefix)],
      args: [id, endsAtMs, nowMs, KEPT_AFTER_END_MS, MAX_REVOKED],
    });
    this.#known = undefined;
    if (done === 0) {
      throw new WeirError(
        "conflict",
        `${MAX_REVOKED} revoked tokens are kept already; a new TOKEN_SECRET ends all tokens`,
      );
    }
  }
}

async function readRevoked(redis: Redis, keyPrefix: string, nowMs: number): Promise<ReadonlySet<string>> {
  const from = nowMs - KEPT_AFTER_END_MS;
  try {
    const key = revokedTokensKey(keyPrefix);
    // From the end: what has ended and still lies there must not push out what has not.
    return new Set(
      asArray(await redis.send(["ZREVRANGEBYSCORE", key, "+inf", from, "LIMIT", 0, MAX_REVOKED])).map(asText),
    );
  } catch (error) {
    const told = redis.unread(error);
    if (told instanceof WeirError && told.code === "redis-unavailable") throw told;
    const detail = "the list of revoked tokens cannot be read; nothing was changed";
    throw new WeirError("redis-unavailable", detail, { cause: told, retryAfterS: RETRY_AFTER_S });
  }
}
