/** One Redis command: its name, then its arguments. */
export type Command = readonly [name: string, ...args: (string | number)[]];

/**
 * What Redis answers. Text that is valid UTF-8 is a string; a value that is not (a foreign client may store anything)
 * stays as its bytes, so that it is never changed in silence.
 */
export type Reply = string | Uint8Array | number | null | readonly Reply[];

/** Redis (or Upstash) answered the command with an error; other commands of the pipeline are not affected. */
export class ReplyError extends Error {
  override readonly name = "ReplyError";
  /** Whether it is of a script that changes things: what that did before the error stays done. */
  readonly ofWritingScript: boolean;

  /** @param text Redis' own words, less the arguments that it quotes of an unknown command: those may be a payload */
  constructor(text: string, { ofWritingScript = false } = {}) {
    super(text.replace(/, with args beginning with:.*$/s, ""));
    this.ofWritingScript = ofWritingScript;
  }

  /** The leading word by which Redis classifies its errors, such as `WRONGTYPE`; `ERR` when there is none. */
  get word(): string {
    return /^[A-Z]+(?= |$)/.exec(this.message.replace(SCRIPT_ERROR, ""))?.[0] ?? "ERR";
  }
}

/** Before Redis 7, what a command in a script was answered came behind this. */
const SCRIPT_ERROR = /^ERR Error running script \(call to [^)]*\): (@?user_script: ?\d+: )*-?/;

/**
 * No usable answer came: connection refused, closed or timed out, or an answer that is not Redis'. When Redis refused
 * the connection or the whole request in so many words, the cause is that {@link ReplyError}; the errors of the client
 * libraries are no causes, since they hold the whole command, or the password.
 */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
  /** Whether the commands may have reached Redis and may have run. */
  readonly maybeRan: boolean;

  constructor(message: string, options: { maybeRan: boolean; cause?: ReplyError }) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.maybeRan = options.maybeRan;
  }
}

export type Outcome = Reply | ReplyError;

export interface RunOptions {
  /**
   * Whether U+FFFD may stand for bytes that are not UTF-8. Upstash then answers with plain JSON instead of base64
   * (https://upstash.com/docs/redis/features/restapi#response), which takes a third of the CPU time to read; whoever
   * asks for it looks again where it finds that character.
   */
  readonly mayReplaceBytes?: boolean;
}

/** An answer came whole, and is not what Redis answers to that command. */
export class UnexpectedReply extends TypeError {
  override readonly name = "UnexpectedReply";
}

/** What an adapter does; everything else (scripts, counting, error classes) is in {@link Redis}. */
export interface Connection {
  /**
   * Sends the commands in order in one round trip, not atomically, and never sends anything twice.
   * @returns one outcome per command, in order
   * @throws {ConnectionError} when the answer did not come whole
   */
  run(commands: readonly Command[], options?: RunOptions): Promise<Outcome[]>;
  close(): Promise<void>;
}
