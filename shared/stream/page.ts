/** A page of a list: `next` goes back as cursor, null at the end. */
export interface Page<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
}

/** Which page of a list by name. */
export interface PageQuery {
  /** The last name of the page before. */
  readonly cursor?: string | undefined;
  readonly limit: number;
}

/** Cuts a page out of named things, ordered by name. */
export function pageByName<Item extends { readonly name: string }>(
  all: readonly Item[],
  { cursor = "", limit }: PageQuery,
): Page<Item> {
  const rest = all.filter(({ name }) => name > cursor).sort((a, b) => (a.name < b.name ? -1 : 1));
  const items = rest.slice(0, limit);
  return { items, next: rest.length > limit ? (items.at(-1)?.name ?? null) : null };
}
