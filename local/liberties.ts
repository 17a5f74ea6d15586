// What Redis has and Upstash's documents leave in doubt: its pages list it in one place and deny it in another, or not at
// all. The endpoint refuses it unless it is told to take the liberty, so that nothing here depends on it unawares.

export const LIBERTIES = [
  /** The option ENTRIESREAD of XGROUP CREATE and SETID. */
  "entriesread",
  /** XCLAIM's options but JUSTID. */
  "xclaim-options",
  /** Fields of XINFO that tell counts: `entries-added`, `entries-read`, `lag` and the ids that go with them. */
  "xinfo-counts",
  /** XINFO CONSUMERS of a missing group is an error, not an empty list. */
  "xinfo-missing-group",
  /** TIME inside scripts. */
  "time-in-scripts",
  /** Scripts may use keys that are not among their KEYS. */
  "undeclared-keys",
] as const;

export type Liberty = (typeof LIBERTIES)[number];
export type Liberties = ReadonlySet<Liberty>;

/**
 * Reads `UPSTASH_LIBERTIES`.
 * @param text `all`, or names with commas between; nothing: none, the strictest
 * @returns the liberties, or what is wrong in a sentence
 */
export function parseLiberties(text = ""): Liberties | string {
  if (text === "all") return new Set(LIBERTIES);
  const names = text.split(",").filter((name) => name !== "");
  const found = names.flatMap((name) => LIBERTIES.find((liberty) => liberty === name) ?? []);
  if (found.length === names.length) return new Set(found);
  return `UPSTASH_LIBERTIES must be all or some of ${LIBERTIES.join(",")}, got ${JSON.stringify(text)}.`;
}

/** @throws {RangeError} when the environment's setting is wrong */
export function libertiesOfEnvironment(): Liberties {
  const liberties = parseLiberties(process.env.UPSTASH_LIBERTIES);
  if (typeof liberties === "string") throw new RangeError(liberties);
  return liberties;
}
