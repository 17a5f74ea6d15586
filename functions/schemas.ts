import { z } from "@hono/zod-openapi";
import { type Position, parseEntryId, parsePosition } from "../shared/ids.ts";
import { NAME } from "../shared/keys.ts";

/** Schemas that several routes share: names, ids, times, paging. */

const NAME_RULE = "expected 1 to 128 of A-Z a-z 0-9 . _ : - and not . or ..";

export const Name = z.string().regex(NAME, NAME_RULE);

/** An existing consumer may have been named by a native client, in any way. */
export const AnyName = z.string().min(1, "expected a name");

export const StreamParams = z.object({ stream: Name });
export const GroupParams = z.object({ stream: Name, group: Name });

/** An entry id, in Redis' own spelling. */
export const EntryId = z.string().transform((text, context) => {
  const id = parseEntryId(text);
  if (id !== undefined) return id;
  context.addIssue({ code: "custom", message: "expected an entry id such as 1690000000000-0" });
  return z.NEVER;
});

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

/** A bound of a range in a query. */
export const RangeBound = z.string().transform(position("-", "+"));

/** A bound in a body; milliseconds may be a JSON number. */
export const Bound = z
  .union([z.string(), z.int().min(0).transform(String)])
  .pipe(RangeBound)
  .openapi({ type: "string", description: "An id, ms, ISO 8601 time, `-` or `+`" });

export const EntryIds = z
  .array(EntryId)
  .min(1)
  .max(1_000)
  .openapi({ type: "array", items: { type: "string" }, minItems: 1, maxItems: 1_000 });

/** Where a group begins to read; milliseconds may be a JSON number. */
export const Start = z
  .union([z.string(), z.int().min(0).transform(String)])
  .transform(position("earliest", "latest"))
  .openapi({
    type: "string",
    example: "earliest",
    description: "`earliest`, `latest`, an entry id (reading goes on after it), Unix milliseconds or an ISO 8601 time",
  });

/** A whole number in a query. */
export function queryInteger(least: number, most: number) {
  return z
    .string()
    .regex(/^\d{1,15}$/, `expected a whole number from ${least} to ${most}`)
    .transform(Number)
    .pipe(z.int().min(least).max(most))
    .openapi({ type: "integer", minimum: least, maximum: most });
}

/** A whole number in a body. */
export function integer(least: number, most: number) {
  return z.int().min(least).max(most);
}

/**
 * A setting: absent is unchanged, null is back to the default (so that cannot be the schema's `default`).
 * @param usual what holds as long as nothing is set; null: no limit
 */
export function setting(least: number, most: number, usual: number | null) {
  return integer(least, most)
    .nullish()
    .openapi({ description: usualText(usual) });
}

/** What a setting is as long as nothing is set, in words. */
export function usualText(usual: number | string | boolean | null): string {
  return usual === null ? "None unless set" : `\`${usual}\` unless set`;
}

/** What trimming took from a group that was not done with it. */
export const GapSchema = z.object({ fromId: z.string(), toId: z.string(), messages: z.int() }).openapi("Gap");

export const Limit = queryInteger(1, 1_000).default(100).openapi({ default: 100 });
export const Next = z.string().nullable().openapi({ description: "Goes back as `cursor`; null at the end" });
