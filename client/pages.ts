/** What every page of a list has. */
interface Page {
  readonly next: string | null;
}

/**
 * A list that comes page by page. Nothing is asked for before it is read.
 *
 * @example
 * for await (const message of weir.stream("orders").messages({ start: "-" })) console.log(message.id);
 */
export class Pages<Item, PageOfThem extends Page> implements AsyncIterable<Item> {
  readonly #get: (cursor: string | undefined) => Promise<PageOfThem>;
  readonly #itemsOf: (page: PageOfThem) => readonly Item[];

  /** @param get asks for the page that starts there; undefined: the first */
  constructor(
    get: (cursor: string | undefined) => Promise<PageOfThem>,
    itemsOf: (page: PageOfThem) => readonly Item[],
  ) {
    this.#get = get;
    this.#itemsOf = itemsOf;
  }

  /** The first page alone, as it was answered: its `next` goes back as `cursor`. */
  first(): Promise<PageOfThem> {
    return this.#get(undefined);
  }

  /** Page by page, as they were answered. */
  async *byPage(): AsyncGenerator<PageOfThem, void, undefined> {
    for (let cursor: string | undefined; ; ) {
      const page = await this.#get(cursor);
      yield page;
      if (page.next === null) return;
      cursor = page.next;
    }
  }

  /** Item by item; the next page is asked for when it is needed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Item, void, undefined> {
    for await (const page of this.byPage()) yield* this.#itemsOf(page);
  }

  /** All items at once. A list has no bound of its own. */
  async toArray(): Promise<Item[]> {
    const items: Item[] = [];
    for await (const page of this.byPage()) items.push(...this.#itemsOf(page));
    return items;
  }
}

/**
 * Makes a request again and again with the `next` of its answer as `cursor`, for work that is bounded a call: replay,
 * redrive, trim, deleting dead letters.
 *
 * @example
 * for await (const { redriven } of steps((cursor) => group.redrive({ all: true, cursor }))) console.log(redriven);
 */
export async function* steps<Step extends Page>(
  call: (cursor: string | undefined) => Promise<Step>,
): AsyncGenerator<Step, void, undefined> {
  for (let cursor: string | undefined; ; ) {
    const step = await call(cursor);
    yield step;
    if (step.next === null) return;
    cursor = step.next;
  }
}
