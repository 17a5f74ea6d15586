import type { LeaseFormat } from "../lease.ts";
import { decodeEntry, type Entry, messageJson } from "../message.ts";
import type { Reply } from "../redis/connection.ts";
import { asArray, asNumber, asText } from "../redis/reply.ts";

/** How much one batch may hold, by the stream's `maxMessageBytes`: Upstash refuses to send a reply above 10 MB. */
export const BATCH_BYTES = 8 * 1024 * 1024;

/** How many messages a batch may have: COUNT cannot limit bytes, so the largest message that there may be does. */
export function roomFor(batchSize: number, maxMessageBytes: number): number {
  return Math.max(1, Math.min(batchSize, Math.floor(BATCH_BYTES / maxMessageBytes)));
}

/** Reads entries that were just handed out, as JSON texts with their leases. */
export class DeliveryReader {
  readonly #format: LeaseFormat;
  readonly #consumer: string;

  constructor(format: LeaseFormat, consumer: string) {
    this.#format = format;
    this.#consumer = consumer;
  }

  /** Entries that were new. */
  first(entries: readonly Entry[]): string[] {
    return entries.map(({ id, fields }) => this.#write(id, fields, 1));
  }

  /** Entries that had each been handed out as often as `earlier` says. */
  again(entries: Reply | undefined, earlier: Reply | undefined): string[] {
    const counts = asArray(earlier).map(asNumber);
    return asArray(entries)
      .map(decodeEntry)
      .map(({ id, fields }, i) => this.#write(id, fields, (counts[i] ?? 0) + 1));
  }

  /** Messages of the side store: `[side id, id, deliveries so far, fields]` each. */
  fromSideStore(rows: Reply | undefined): string[] {
    return asArray(rows).map((row) => {
      const [side, id, earlier, fields] = asArray(row);
      return this.#write(asText(id), asArray(fields), asNumber(earlier) + 1, asText(side));
    });
  }

  #write(id: string, fields: readonly Reply[], deliveries: number, side?: string): string {
    const lease = this.#format.write({ id, deliveries, consumer: this.#consumer, side });
    return messageJson(id, fields, { deliveries, lease });
  }
}
