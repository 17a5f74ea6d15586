import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeMessage, type NewMessage } from "../../shared/message.ts";
import { produce } from "../../shared/stream/produce.ts";
import { BOTH_TRANSPORTS, nativeClient } from "../support/redis.ts";
import { makeStream } from "../support/streams.ts";

// Short texts of all messages go to Redis as one argument, cut up there by their bytes; long ones each by itself.

const piece = fc.string({ unit: "binary" }).filter((text) => text.isWellFormed());
/** On both sides of the length from which a text is long, in characters of one to four bytes. */
const text = fc
  .tuple(piece, fc.constantFrom("", "x", "é", "€", "😀"), fc.constantFrom(0, 1, 511, 512, 1_023, 1_024, 1_025, 3_000))
  .map(([start, repeated, times]) => start + repeated.repeat(times));
const name = fc
  .string({ unit: fc.constantFrom("a", "b", "é", "€", "😀"), minLength: 1, maxLength: 20 })
  .map((letters) => `a-${letters}`);
const message = fc.record<NewMessage>(
  { type: text, key: text, data: text, attributes: fc.dictionary(name, text, { maxKeys: 5 }) },
  { requiredKeys: [] },
);

describe.each(BOTH_TRANSPORTS)("messages produced over %s", (transport) => {
  test("lie in Redis text for text, however short and long ones are mixed, and a repeat is known again", async () => {
    const stream = await makeStream([], { transport, settings: { maxMessageBytes: 4 * 1024 * 1024 } });
    const native = nativeClient();
    let key = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 20 }), async (messages) => {
        key += 1;
        const { ids } = await produce(stream, messages, `key-${key}`);
        const entries = await native.xrange(stream.keys.stream, ids[0] ?? "-", "+");
        expect(entries).toEqual(messages.map((one, i) => [ids[i], encodeMessage(one)]));
        expect(await produce(stream, messages, `key-${key}`)).toEqual({ ids, repeated: true });
      }),
      { numRuns: 60 },
    );
  });

  test("are other content when the same characters are cut up otherwise", async () => {
    const stream = await makeStream([], { transport });
    await produce(stream, [{ data: "1", attributes: { a: "bc" } }], "once");
    const other = produce(stream, [{ data: "1", attributes: { ab: "c" } }], "once");
    await expect(other).rejects.toMatchObject({ code: "idempotency-mismatch" });
  });
});
