import * as z from "zod";
import { parseEntryId } from "../../shared/ids.ts";
import { NAME } from "../../shared/keys.ts";
import { type Position, parsePosition } from "../../shared/stream/position.ts";
import { once } from "./once.ts";

/** Schemas that several routes share: names, ids, times, paging. */

/** For a limit on length: whatever is checked behind it, such as a pattern, sees no text that is longer. */
export const STOP = { abort: true } as const;

/**
 * Text of a limited length, in characters as JSON Schema counts them: an emoji is one. What is checked behind this sees no
 * text that is longer.
 */
export function limitedText(min: number, max: number) {
  const isShort = (text: string) => text.length <= max || (text.length <= 2 * max && Array.from(text).length <= max);
  const text = min === 0 ? z.string() : z.string().min(min);
  return text.refine(isShort, { ...STOP, message: `expected at most ${max} characters` }).meta({ maxLength: max });
}

const NAME_RULE = "expected 1 to 128 of A-Z a-z 0-9 . _ : - and not . or ..";

export const Name = z
  .string()
  .regex(NAME, NAME_RULE)
  .meta({ description: "1 to 128 of `A-Z a-z 0-9 . _ : -`, but not `.` or `..`" });

/** A consumer that is there already: a native client may have given it any name. */
export const AnyName = z
  .string()
  .min(1, "expected a name")
  .meta({ description: "A consumer's name; native clients may have chosen any" });

export const StreamParams = z.object({ stream: Name });
export const GroupParams = z.object({ stream: Name, group: Name });

/** An entry id, in Redis' own spelling. */
export const EntryId = z
  .string()
  .transform((text, context) => {
    const id = parseEntryId(text);
    if (id !== undefined) return id;
    context.addIssue({ code: "custom", message: "expected an entry id such as 1690000000000-0" });
    return z.NEVER;
  })
  .meta({ description: "An entry id, such as `1690000000000-0`" });

const EDGES: Readonly<Record<string, Position>> = {
  "-": { kind: "first" },
  "+": { kind: "last" },
  earliest: { kind: "first" },
  latest: { kind: "last" },
};

function position(first: string, last: string) {
  return (text: string, context: z.RefinementCtx): Position => {
    const edge = text === first || text === last ? EDGES[text] : undefined;
    const found = edge ?? parsePosition(text);
    if (found !== undefined) return found;
    const expected = `expected ${first}, ${last}, an entry id, Unix milliseconds or an ISO 8601 time`;
    context.addIssue({ code: "custom", message: expected });
    return z.NEVER;
  };
}

const BOUND = "An id, ms, ISO 8601 time, `-` or `+`";

/** A bound of a range in a query. */
export const RangeBound = z.string().transform(position("-", "+")).meta({ description: BOUND });

/** Text, or milliseconds as a JSON number. */
const TextOrMs = z.union([z.string(), z.int().min(0).transform(String)]);

/** A bound in a body. */
export const Bound = TextOrMs.pipe(RangeBound).meta({ description: BOUND });

export const EntryIds = z.array(EntryId).min(1).max(1_000);

/** Where a group begins to read. */
export const Start = TextOrMs.transform(position("earliest", "latest")).meta({
  example: "earliest",
  description: "`earliest`, `latest`, an entry id (reading goes on after it), Unix milliseconds or an ISO 8601 time",
});

/** A whole number in a query. */
export function queryInteger(min: number, max: number) {
  return z
    .string()
    .regex(/^\d{1,16}$/, `expected a whole number from ${min} to ${max}`)
    .transform(Number)
    .pipe(z.int().min(min).max(max))
    .meta({ shownAs: { type: "integer", minimum: min, maximum: max } });
}

/** A whole number in a body. */
export function integer(min: number, max: number) {
  return z.int().min(min).max(max);
}

/**
 * A setting: absent is unchanged, null is back to the default (so the schema itself cannot have a `default`).
 * @param unlessSet the default; null: no limit
 */
export function setting(min: number, max: number, unlessSet: number | null) {
  return integer(min, max)
    .nullish()
    .meta({ description: defaultInWords(unlessSet) });
}

/** A setting's default for the documentation. */
export function defaultInWords(unlessSet: number | string | boolean | null): string {
  return unlessSet === null ? "None unless set" : `\`${unlessSet}\` unless set`;
}

/** What trimming took from a group that was not done with it. */
export const gapSchema = once(() =>
  z.object({ fromId: z.string(), toId: z.string(), messages: z.int() }).meta({ id: "Gap" }),
);

/** Where a page of a list begins: after the page before. */
export function cursor<Schema extends z.ZodType>(position: Schema) {
  return position.optional().meta({ description: "`next` of the page before" });
}

export const Limit = queryInteger(1, 1_000).default(100).meta({ default: 100 });
export const Next = z.string().nullable().meta({ description: "Goes back as `cursor`; null at the end" });
