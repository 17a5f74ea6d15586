import { WeirError } from "../errors.ts";
import {
  type Command,
  type Connection,
  ConnectionError,
  type Outcome,
  type Reply,
  ReplyError,
  type RunOptions,
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

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /**
   * Runs calls in order in one round trip, not atomically. Scripts run by hash; one that Redis does not have cached
   * (its cache may vanish at any time) did nothing, and is sent again with its source in a second round trip: so no
   * call may depend on a script before it.
   * @returns one outcome per call; a Redis error of one call leaves the others as they are
   * @throws {WeirError} `redis-unavailable`, or `outcome-unknown` when something that writes may have run
   */
  async pipeline(calls: readonly Call[], options: RunOptions = {}): Promise<Outcome[]> {
    if (calls.length === 0) return [];
    const outcomes = await this.#run(calls, byHash, options, []);
    const missing = calls.filter((_, i) => isNoScript(outcomes[i]));
    if (missing.length === 0) return outcomes;
    const done = calls.filter((_, i) => !isNoScript(outcomes[i]));
    const again = await this.#run(missing, bySourceOnce(), options, done);
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

  /** @param done the calls that ran before in the same pipeline: an error of this run loses their outcomes */
  async #run(
    calls: readonly Call[],
    toCommand: (call: Call) => Command,
    options: RunOptions,
    done: readonly Call[],
  ): Promise<Outcome[]> {
    const started = performance.now();
    try {
      const outcomes = await this.#connection.run(calls.map(toCommand), options);
      return outcomes.map((outcome, i) => this.#count(calls[i], outcome));
    } catch (error) {
      if (!(error instanceof ConnectionError)) throw error;
      throw unavailable(error, error.maybeRan ? [...done, ...calls] : done);
    } finally {
      this.usage.roundTrips += 1;
      this.usage.durationMs += performance.now() - started;
    }
  }

  /** A script answers with the number of commands it ran and its result. */
  #count(call: Call | undefined, outcome: Outcome): Outcome {
    this.usage.commands += 1;
    if (call === undefined || !("script" in call) || outcome instanceof ReplyError) return outcome;
    if (!Array.isArray(outcome) || typeof outcome[0] !== "number") {
      throw new TypeError(`script ${call.script.name} did not return its number of commands`);
    }
    this.usage.commands += outcome[0];
    const result: Reply | undefined = outcome[1];
    return result ?? null;
  }
}

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

function isNoScript(outcome: Outcome | undefined): boolean {
  return outcome instanceof ReplyError && outcome.word === "NOSCRIPT";
}

/** Commands that change nothing: a lost answer leaves nothing in doubt. */
const READS = new Set([
  "EXISTS",
  "GET",
  "HGETALL",
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
  "ZCOUNT",
  "ZRANGE",
  "ZSCORE",
]);

/** @param ran the calls that have run or may have */
function unavailable(error: ConnectionError, ran: readonly Call[]): WeirError {
  if (ran.some((call) => ("script" in call ? !call.script.onlyReads : !READS.has(call[0])))) {
    return new WeirError(
      "outcome-unknown",
      "Redis did not answer in time or whole, so this may or may not have happened; a produce is safe to repeat with the same Idempotency-Key",
      { cause: error, retryAfterS: 1 },
    );
  }
  if (error.cause instanceof ReplyError) return asWeirError(error.cause);
  return new WeirError("redis-unavailable", "Redis could not be reached or did not answer in time", {
    cause: error,
    retryAfterS: 1,
  });
}

/**
 * An error of Redis as one that a client may see, by its leading word
 * (https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors). Redis' own text goes to the log only:
 * it may quote arguments.
 */
export function asWeirError(error: ReplyError): WeirError {
  const options = { cause: error, retryAfterS: 5 };
  switch (error.word) {
    case "WRONGTYPE":
      return new WeirError("conflict", "the Redis key that this needs holds another type of value", { cause: error });
    case "NOGROUP":
      return new WeirError("unknown-group", "there is no such stream or group", { cause: error });
    case "OOM":
      return new WeirError("redis-full", "Redis is out of memory; nothing was written", options);
    case "LOADING":
    case "MASTERDOWN":
    case "READONLY":
    case "MISCONF":
    case "CLUSTERDOWN":
    case "TRYAGAIN":
    case "BUSY":
    case "NOREPLICAS":
      return new WeirError("redis-unavailable", `Redis cannot serve this now (${error.word})`, options);
    case "NOAUTH":
    case "WRONGPASS":
    case "NOPERM":
      return new WeirError("redis-unavailable", `Redis refuses Weir's credentials (${error.word})`, options);
  }
  return asHostedError(error);
}

/** Upstash's own errors have no code words (https://upstash.com/docs/redis/troubleshooting). */
function asHostedError(error: ReplyError): WeirError {
  const text = error.message;
  if (/max (request|key) size/i.test(text)) {
    return new WeirError("payload-too-large", "the hosted Redis takes no request and gives no answer of this size", {
      cause: error,
    });
  }
  if (/capacity quota|max single record size/i.test(text)) {
    return new WeirError("redis-full", "the hosted Redis has no room left for this", { cause: error, retryAfterS: 60 });
  }
  if (/^unauthorized/i.test(text)) {
    return new WeirError("redis-unavailable", "Redis refuses Weir's credentials", { cause: error, retryAfterS: 5 });
  }
  if (/max concurrent connections/i.test(text)) {
    return new WeirError("redis-unavailable", "Redis has too many connections", { cause: error, retryAfterS: 5 });
  }
  if (/limit exceeded/i.test(text)) {
    return new WeirError("redis-unavailable", "the hosted Redis' quota is used up", { cause: error, retryAfterS: 60 });
  }
  return new WeirError("internal-error", "Redis refused a command", { cause: error });
}
