import { type ErrorCode, WeirError } from "../errors.ts";
import {
  type Command,
  type Connection,
  ConnectionError,
  type Outcome,
  type Reply,
  ReplyError,
  type RunOptions,
  UnexpectedReply,
} from "./connection.ts";
import type { ScriptCall } from "./script.ts";

export type Call = Command | ScriptCall;

/** Usage so far: commands as Upstash bills them (those inside scripts too), round trips, time waited. */
export interface Usage {
  commands: number;
  roundTrips: number;
  durationMs: number;
}

/** Redis as the stream module sees it; made per request, so that its usage is that request's. */
export class Redis {
  readonly usage: Usage = { commands: 0, roundTrips: 0, durationMs: 0 };
  readonly #connection: Connection;
  /** Whether anything that writes was answered: whatever goes wrong from then on leaves that done. */
  #hasWritten = false;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /**
   * Runs calls in order in one round trip, not atomically. Scripts run by hash; one that Redis does not have cached
   * (its cache may vanish at any time) did nothing, and is sent again with its source in a second round trip: so no
   * call may depend on a script before it.
   * @returns one outcome per call; a Redis error of one call leaves the others as they are, and so does whatever happens to
   *   those alone that are aside
   * @throws {WeirError} `redis-unavailable`, or `outcome-unknown` when something that writes may have run
   */
  async pipeline(calls: readonly Call[], options: RunOptions = {}): Promise<Outcome[]> {
    if (calls.length === 0) return [];
    const outcomes = await this.#run(calls, byHash, options);
    const missing = calls.filter((_, i) => isNoScript(outcomes[i]));
    if (missing.length === 0) return outcomes;
    const again = await this.#run(missing, bySourceOnce(), options).catch((error: unknown): Outcome[] => {
      // The others have run, and were answered.
      if (missing.every(isAside)) return missing.map(() => new ReplyError("NOSCRIPT, and no answer to its source"));
      throw error;
    });
    return outcomes.map((outcome) => (isNoScript(outcome) ? (again.shift() ?? null) : outcome));
  }

  /**
   * Runs one call.
   * @throws {WeirError} as {@link pipeline}, and by {@link asWeirError} when Redis answers with an error
   */
  async send(call: Call): Promise<Reply> {
    const [outcome = null] = await this.pipeline([call]);
    return unwrap(outcome);
  }

  /**
   * An error of this request as its client should be told it: what was refused only after something else had been written
   * says so. Any other error stays as it is.
   */
  explain(error: unknown): unknown {
    const told = this.unread(error);
    const isRefusal = told instanceof WeirError && REFUSALS.has(told.code) && told.options.settled === undefined;
    if (!isRefusal || !this.#hasWritten) return told;
    return new WeirError(told.code, `${told.message}; a part of this may have been done before`, told.options);
  }

  /** An answer that cannot be read, as the fault of Redis or of what stands before it. Any other error stays as it is. */
  unread(error: unknown): unknown {
    if (!(error instanceof UnexpectedReply)) return error;
    const options = { cause: error, retryAfterS: RETRY_AFTER_S.nonsense };
    const detail = "Redis, or what stands before it, gave an answer that cannot be read";
    return this.#hasWritten
      ? new WeirError("outcome-unknown", `${detail}, so this may or may not have happened`, options)
      : new WeirError("redis-unavailable", `${detail}; nothing was changed`, options);
  }

  async #run(calls: readonly Call[], toCommand: (call: Call) => Command, options: RunOptions): Promise<Outcome[]> {
    const started = performance.now();
    try {
      const outcomes = await this.#connection.run(calls.map(toCommand), options);
      return outcomes.map((outcome, i) => this.#count(calls[i], outcome));
    } catch (error) {
      if (error instanceof ConnectionError) throw this.#unavailable(error, calls);
      throw this.unread(error);
    } finally {
      this.usage.roundTrips += 1;
      this.usage.durationMs += performance.now() - started;
    }
  }

  /** A script answers with the number of commands it ran and its result. */
  #count(call: Call | undefined, outcome: Outcome): Outcome {
    this.usage.commands += 1;
    if (call === undefined) return outcome;
    if (outcome instanceof ReplyError) {
      return "script" in call && writes(call) ? new ReplyError(outcome.message, { ofWritingScript: true }) : outcome;
    }
    this.#hasWritten ||= writes(call);
    if (!("script" in call)) return outcome;
    if (!Array.isArray(outcome) || typeof outcome[0] !== "number") {
      if (isAside(call)) return new ReplyError(`the script ${call.script.name} gave an answer that cannot be read`);
      throw new UnexpectedReply(`the script ${call.script.name} did not answer its number of commands`);
    }
    this.usage.commands += outcome[0];
    const result: Reply | undefined = outcome[1];
    return result ?? null;
  }

  /** What it means to the client that these calls got no answer. */
  #unavailable(error: ConnectionError, calls: readonly Call[]): WeirError {
    const options = { cause: error, retryAfterS: RETRY_AFTER_S.lost };
    if (error.maybeRan && calls.some(writes)) {
      const detail = "Redis did not answer in time or whole, so this may or may not have happened";
      return new WeirError("outcome-unknown", detail, options);
    }
    const refusal = error.cause instanceof ReplyError ? asWeirError(error.cause) : undefined;
    if (this.#hasWritten) {
      const detail = "Redis went away in the middle of this: a part of it may have happened";
      const retryAfterS = refusal?.options.retryAfterS ?? options.retryAfterS;
      return new WeirError("outcome-unknown", detail, { ...options, retryAfterS });
    }
    const detail = "Redis could not be reached or did not answer in time; nothing was changed";
    return refusal ?? new WeirError("redis-unavailable", detail, options);
  }
}

/** Codes that say that nothing was done, but for what came before in the same request. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set(["redis-unavailable", "redis-full"]);

/** @throws {WeirError} when the outcome is an error of Redis */
export function unwrap(outcome: Outcome): Reply {
  if (outcome instanceof ReplyError) throw asWeirError(outcome);
  return outcome;
}

function byHash(call: Call): Command {
  if (!("script" in call)) return call;
  if (call.inTurn === true) return bySource(call);
  return ["EVALSHA", call.script.sha1, call.keys.length, ...call.keys, ...call.args];
}

function bySource({ script, keys, args }: ScriptCall): Command {
  return ["EVAL", script.source, keys.length, ...keys, ...args];
}

/** A script's first call brings the source; later ones find it cached, since a pipeline keeps its order. */
function bySourceOnce(): (call: Call) => Command {
  const sent = new Set<string>();
  return (call) => {
    if (!("script" in call) || sent.has(call.script.sha1)) return byHash(call);
    sent.add(call.script.sha1);
    return bySource(call);
  };
}

function isAside(call: Call): boolean {
  return "script" in call && call.isAside === true;
}

function isNoScript(outcome: Outcome | undefined): boolean {
  return outcome instanceof ReplyError && outcome.word === "NOSCRIPT";
}

/** Commands that change nothing: a lost answer leaves nothing in doubt. */
const READS = new Set([
  "EXISTS",
  "GET",
  "HGET",
  "HGETALL",
  "HKEYS",
  "HMGET",
  "LRANGE",
  "PING",
  "TIME",
  "TYPE",
  "XINFO",
  "XLEN",
  "XPENDING",
  "XRANGE",
  "XREVRANGE",
  "ZCARD",
  "ZCOUNT",
  "ZRANGE",
  "ZRANGEBYSCORE",
  "ZREVRANGEBYSCORE",
  "ZSCORE",
]);

function writes(call: Call): boolean {
  return "script" in call ? !call.script.onlyReads : !READS.has(call[0]);
}

/** After how many seconds it is worth trying again, by what has to happen until then. */
const RETRY_AFTER_S = {
  /** A new connection may work at once; the connections of requests, which fill Redis' limit, end with them. */
  lost: 1,
  /** A migration of slots, somebody's script. */
  moment: 1,
  /** Loading of data, a failover, a proxy that restarts. */
  restart: 5,
  nonsense: 5,
  /** The reaper, which frees memory, comes once a minute. */
  full: 30,
  /** Somebody has to do something: mend the credentials, free the disk, take a larger plan. */
  people: 60,
} as const;

/** What a command in a script is answered that Weir's user may not run: by Redis 7.0, and by later ones. */
const DENIED_IN_SCRIPT = /user executing the script can't|ACL failure in script/i;

/**
 * An error of Redis as one that a client may see, by its leading word
 * (https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors). Redis' own text goes to the log only:
 * it may quote arguments. A script that Redis refuses because of its own state (full, read-only, loading) has written
 * nothing: that is checked until its first write only. A command that an ACL denies comes in its turn.
 */
export function asWeirError(error: ReplyError): WeirError {
  const { word } = error;
  if (DENIED_IN_SCRIPT.test(error.message)) return deniedInScript(error);
  switch (word) {
    case "WRONGTYPE":
      return new WeirError("conflict", "the Redis key that this needs holds another type of value", { cause: error });
    case "NOGROUP":
      return new WeirError("unknown-group", "there is no such stream or group", { cause: error });
    case "OOM":
      return new WeirError("redis-full", "Redis is out of memory and refuses this", waitFor(error, "full"));
    case "LOADING":
    case "MASTERDOWN":
    case "READONLY":
    case "CLUSTERDOWN":
    case "NOREPLICAS":
      return new WeirError("redis-unavailable", `Redis cannot serve this now (${word})`, waitFor(error, "restart"));
    case "BUSY":
    case "TRYAGAIN":
    // Its cache was flushed between the two attempts.
    case "NOSCRIPT":
      return new WeirError("redis-unavailable", `Redis cannot serve this now (${word})`, waitFor(error, "moment"));
    case "MISCONF":
      return new WeirError("redis-unavailable", `Redis cannot serve this now (${word})`, waitFor(error, "people"));
    case "NOAUTH":
    case "WRONGPASS":
    case "NOPERM":
      return new WeirError("redis-unavailable", `Redis refuses Weir's credentials (${word})`, waitFor(error, "people"));
  }
  return asUncodedError(error);
}

function waitFor(cause: ReplyError, until: keyof typeof RETRY_AFTER_S) {
  return { cause, retryAfterS: RETRY_AFTER_S[until] };
}

function deniedInScript(error: ReplyError): WeirError {
  const detail = "Redis refuses Weir's user a command that this needs";
  return error.ofWritingScript
    ? new WeirError("outcome-unknown", `${detail}: a part of it may have happened`, waitFor(error, "people"))
    : new WeirError("redis-unavailable", `${detail}; nothing was changed`, waitFor(error, "people"));
}

/** Errors without a code word: some of Redis', and Upstash's own (https://upstash.com/docs/redis/troubleshooting). */
function asUncodedError(error: ReplyError): WeirError {
  const text = error.message;
  if (/max (request|key) size|protocol error: invalid (multi)?bulk length/i.test(text)) {
    return new WeirError("payload-too-large", "this Redis takes no request and gives no answer of this size", {
      cause: error,
    });
  }
  if (/capacity quota|max single record size/i.test(text)) {
    return new WeirError("redis-full", "the hosted Redis has no room left for this", waitFor(error, "people"));
  }
  if (/^unauthorized|protocol error: unauthenticated/i.test(text)) {
    return new WeirError("redis-unavailable", "Redis refuses Weir's credentials", waitFor(error, "people"));
  }
  if (/max concurrent connections|max number of clients/i.test(text)) {
    return new WeirError("redis-unavailable", "Redis has too many connections", waitFor(error, "lost"));
  }
  if (/limit exceeded/i.test(text)) {
    return new WeirError("redis-unavailable", "the hosted Redis' quota is used up", waitFor(error, "people"));
  }
  // Redis kills no script that has written.
  if (/script killed by user/i.test(text)) {
    return new WeirError(
      "redis-unavailable",
      "Redis' operator ended this; nothing was changed",
      waitFor(error, "moment"),
    );
  }
  return new WeirError("internal-error", "Redis refused a command", { cause: error });
}
