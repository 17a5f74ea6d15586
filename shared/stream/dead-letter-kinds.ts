import { timeOfId } from "../ids.ts";
import type { Reply } from "../redis/connection.ts";
import { asArray, asNumber, asText, asTextOrNull } from "../redis/reply.ts";
import { summarizeDeadLettersScript } from "../scripts/summarize-dead-letters.lua.ts";
import { type DeadLetterReason, MAX_FILTER_CHARACTERS, reasonOf } from "./dead-letters.ts";
import { sendToGroup } from "./missing.ts";
import { MAX_STEPS } from "./steps.ts";
import type { EventStream } from "./stream.ts";

/** Dead letters with the same reason, event type and words of the consumer: what a redrive by these three takes. */
export interface DeadLetterKind {
  readonly reason: DeadLetterReason;
  readonly type: string | null;
  /** The consumer's words. */
  readonly detail: string | null;
  readonly count: number;
  /** When the first and the last of them died, in Unix milliseconds. */
  readonly oldestAt: number;
  readonly newestAt: number;
  /** The dead letter that died last. */
  readonly exampleId: string;
}

export interface DeadLetterSummary {
  readonly kinds: readonly DeadLetterKind[];
  /** Whether these are all that the group has. */
  readonly complete: boolean;
}

/** The newest that one request looks at; and in one step, for some milliseconds of Redis. */
const MAX_LOOK = 10_000;
const STEP = 1_000;
/** Most first; what is left out is told by `complete`. */
const MAX_KINDS = 100;
/** All kinds have to be counted to know the 100: where each has long words of its own, this many are kept in memory. */
const MAX_KEPT_CHARACTERS = 4 * 1024 * 1024;
/** Enough of a text to tell that it has more characters than a filter takes, of up to 4 bytes each. */
const MAX_TEXT_BYTES = 4 * (MAX_FILTER_CHARACTERS + 1);

/**
 * Counts a group's dead letters by their kind, from the newest on. Most first; of equally many those that came last.
 * @throws {WeirError} `unknown-stream`, `unknown-group`; `conflict` when a key of the group holds another type of value
 */
export async function summarizeDeadLetters(stream: EventStream, group: string): Promise<DeadLetterSummary> {
  const kinds = new Map<string, DeadLetterKind>();
  let [looked, kept, last]: [number, number, string | null] = [0, 0, null];
  for (let steps = 0; steps < MAX_STEPS && looked < MAX_LOOK && kept < MAX_KEPT_CHARACTERS; steps++) {
    const step = await countKinds(stream, group, last, Math.min(STEP, MAX_LOOK - looked));
    for (const kind of step.kinds) {
      const key = JSON.stringify([kind.reason, kind.type, kind.detail]);
      const known = kinds.get(key);
      if (known === undefined) kept += key.length;
      // Each step is older than the one before.
      kinds.set(key, known ? { ...known, count: known.count + kind.count, oldestAt: kind.oldestAt } : kind);
    }
    looked += step.looked;
    last = step.last;
    if (last === null) break;
  }
  // They are in the order of their newest, and sorting keeps that among equals.
  const sorted = [...kinds.values()].sort((a, b) => b.count - a.count);
  return { kinds: sorted.slice(0, MAX_KINDS), complete: last === null && sorted.length <= MAX_KINDS };
}

/** @param before the oldest id that the step before looked at */
async function countKinds(stream: EventStream, group: string, before: string | null, max: number) {
  const { keys } = stream;
  const [looked, kinds = null, last = null] = asArray(
    await sendToGroup(stream, group, {
      script: summarizeDeadLettersScript,
      keys: [keys.stream, keys.config, keys.dead(group)],
      args: [group, before === null ? "+" : `(${before}`, max, MAX_TEXT_BYTES],
    }),
  );
  return { looked: asNumber(looked), kinds: asArray(kinds).map(decodeKind), last: asTextOrNull(last) };
}

function decodeKind(reply: Reply): DeadLetterKind {
  const [reason, type = null, detail = null, count, newest, oldest] = asArray(reply);
  const exampleId = asText(newest);
  return {
    reason: reasonOf(asText(reason)),
    type: shown(type),
    detail: shown(detail),
    count: asNumber(count),
    oldestAt: timeOfId(asText(oldest)),
    newestAt: timeOfId(exampleId),
    exampleId,
  };
}

/**
 * A text as a filter of a redrive takes it. Another client may have stored a longer one: cut, with a mark that makes it too
 * long for a filter still, so that nobody redrives others by it.
 */
function shown(reply: Reply): string | null {
  const text = asTextOrNull(reply);
  if (text === null || text.length <= MAX_FILTER_CHARACTERS) return text;
  const characters = Array.from(text);
  if (characters.length <= MAX_FILTER_CHARACTERS) return text;
  return `${characters.slice(0, MAX_FILTER_CHARACTERS).join("")}…`;
}
