// Scripts that run here in another wording than the client sent, under the digest that the client knows.
import { createHash } from "node:crypto";
import { LIBERTIES, type Liberties } from "./liberties.ts";
import type { Planned } from "./planned.ts";
import { type Arg, errorText } from "./resp.ts";
import { withUpstashRules } from "./script-rules.ts";

/**
 * Replaces scripts by their reworded form and digests accordingly. Redis' own script cache stays the only cache: what
 * SCRIPT FLUSH or a restart removed there is NOSCRIPT, whatever is remembered here. A script that somebody loaded past
 * this endpoint runs as it is; where the endpoint is strict, it is NOSCRIPT until its text has come this way.
 */
export class RewordedScripts {
  readonly #runsAs = new Map<string, string>();
  readonly #liberties: Liberties;
  readonly #isStrict: boolean;

  constructor(liberties: Liberties) {
    this.#liberties = liberties;
    this.#isStrict = LIBERTIES.some((liberty) => !liberties.has(liberty));
  }

  /**
   * @param name the command's name in capitals
   * @param args the whole command
   */
  plan(name: string, args: readonly Arg[]): Planned {
    if (name === "EVAL" || name === "EVAL_RO") return this.#replaceText(args, 1, restoreDigest);
    if (name === "EVALSHA" || name === "EVALSHA_RO") return this.#replaceDigests(args, 1, 2);
    if (name !== "SCRIPT") return { commands: [args] };
    const sub = textOf(args[1]).toUpperCase();
    if (sub === "LOAD") return this.#replaceText(args, 2, answerDigest);
    return sub === "EXISTS" ? this.#replaceDigests(args, 2, args.length) : { commands: [args] };
  }

  #replaceText(args: readonly Arg[], at: number, fix: Restore): Planned {
    const script = textOf(args[at]);
    const reworded = withUpstashRules(script, this.#liberties, this.#isStrict);
    const sha = digest(script);
    if (reworded === script) {
      if (this.#isStrict) this.#runsAs.set(sha, sha);
      return { commands: [args] };
    }
    const runsAs = this.#runsAs.get(sha) ?? digest(reworded);
    this.#runsAs.set(sha, runsAs);
    return { commands: [args.with(at, reworded)], reply: onlyReply((reply) => fix(reply, runsAs, sha)) };
  }

  #replaceDigests(args: readonly Arg[], from: number, to: number): Planned {
    if (this.#runsAs.size === 0 && !this.#isStrict) return { commands: [args] };
    const known = textOf(args[from]).toLowerCase();
    const runsAs = this.#runsAs.get(known);
    const replaced = args.map((arg, at) => {
      if (at < from || at >= to) return arg;
      return this.#runsAs.get(textOf(arg).toLowerCase()) ?? (this.#isStrict ? UNKNOWN : arg);
    });
    if (runsAs === undefined) return { commands: [replaced] };
    return { commands: [replaced], reply: onlyReply((reply) => restoreDigest(reply, runsAs, known)) };
  }
}

/** No script's digest. */
const UNKNOWN = "f".repeat(40);

function onlyReply(fix: (reply: Buffer) => Buffer): (replies: readonly Buffer[]) => Buffer {
  return ([reply]) => fix(reply ?? Buffer.alloc(0));
}

type Restore = (reply: Buffer, runsAs: string, sha: string) => Buffer;

/** Redis names the script in its errors. */
function restoreDigest(reply: Buffer, runsAs: string, sha: string): Buffer {
  const text = errorText(reply);
  return text === undefined ? reply : Buffer.from(`-${text.replaceAll(runsAs, sha)}\r\n`);
}

function answerDigest(reply: Buffer, runsAs: string, sha: string): Buffer {
  return errorText(reply) === undefined ? Buffer.from(`$40\r\n${sha}\r\n`) : restoreDigest(reply, runsAs, sha);
}

function textOf(arg: Arg | undefined): string {
  return typeof arg === "string" ? arg : Buffer.from(arg ?? []).toString();
}

function digest(script: string): string {
  return createHash("sha1").update(script).digest("hex");
}
