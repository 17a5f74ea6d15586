import type { Command, Connection, Outcome, RunOptions } from "./connection.ts";

interface Member {
  readonly connection: Connection;
  /** Pipelines whose answers have not come yet. */
  underWay: number;
}

/**
 * Several connections that share the work, for a process that lives long: a large answer on one does not hold up the
 * small ones on the others. What is sent in the same turn of the event loop stays together on one connection, which
 * writes it to its socket at once.
 */
export class ConnectionPool implements Connection {
  readonly #members: readonly Member[];
  /** Where this turn's pipelines go. */
  #current: Member | undefined;

  /** @param open makes one connection; it is called `size` times */
  constructor(open: () => Connection, size: number) {
    this.#members = Array.from({ length: size }, () => ({ connection: open(), underWay: 0 }));
  }

  async run(commands: readonly Command[], options?: RunOptions): Promise<Outcome[]> {
    const member = this.#choose();
    member.underWay += 1;
    try {
      return await member.connection.run(commands, options);
    } finally {
      member.underWay -= 1;
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#members.map(({ connection }) => connection.close()));
  }

  #choose(): Member {
    if (this.#current !== undefined) return this.#current;
    const idlest = this.#members.reduce((best, member) => (member.underWay < best.underWay ? member : best));
    this.#current = idlest;
    setImmediate(() => {
      this.#current = undefined;
    });
    return idlest;
  }
}
