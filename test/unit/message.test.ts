import { Buffer } from "node:buffer";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decodeEntry,
  encodeMessage,
  encodeMessages,
  isBase64,
  isJsonType,
  METADATA_PREFIX,
  messageJson,
  type NewMessage,
  RESERVED_FIELDS,
} from "../../shared/message.ts";
import type { Reply } from "../../shared/redis/connection.ts";

const ID = "1690000000000-3";

/** What a client gets of fields that lie in Redis, by way of JSON.parse: it throws on anything that is not JSON. */
function read(flat: readonly Reply[], delivery?: { deliveries: number; lease: string }): unknown {
  return JSON.parse(messageJson(ID, flat, delivery));
}

/** What a client gets of a message that Weir stored. */
const readBack = (message: NewMessage) => read(encodeMessage(message));

const wellFormed = fc.string({ unit: "binary" }).filter((text) => text.isWellFormed());
const attributeName = fc
  .oneof(wellFormed, fc.constantFrom("constructor", "toString", "1", "id", "lease", "attributes", "weir", "Data"))
  .filter((name) => name !== "" && name !== "__proto__")
  .filter((name) => !RESERVED_FIELDS.includes(name) && !name.startsWith(METADATA_PREFIX));

describe("a message that was stored", () => {
  const optional = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined });
  const message = fc.record({
    type: optional(wellFormed),
    key: optional(wellFormed),
    attributes: optional(fc.dictionary(attributeName, wellFormed, { maxKeys: 64 })),
  });

  test("comes back with its type, key and attributes, and its data as the text that it was", () => {
    fc.assert(
      fc.property(message, optional(fc.json()), (rest, data) => {
        const text = messageJson(ID, encodeMessage({ ...rest, data }));
        expect(JSON.parse(text)).toEqual({
          id: ID,
          type: rest.type ?? null,
          key: rest.key ?? null,
          attributes: { ...rest.attributes },
          producedAt: 1_690_000_000_000,
          ...(data === undefined ? {} : { data: JSON.parse(data) }),
        });
        if (data !== undefined) expect(text).toContain(`"data":${data},"attributes"`);
      }),
    );
  });

  test("comes back as the text it was where it is not JSON, however much it looks like JSON", () => {
    for (const data of ["", "null", "{", '{"a":1}', "OK", '"', "\u2028\u0000", "😀"]) {
      expect(readBack({ datacontenttype: "text/plain", data })).toMatchObject({ datacontenttype: "text/plain", data });
    }
  });

  test("comes back as base64 where it was binary, also when it is empty or looks like a number", () => {
    for (const data of ["", "AAAA", "1234", "/+8=", "null"]) {
      const answer = readBack({ datacontenttype: "image/png", data, isBase64: true });
      expect(answer).toMatchObject({ datacontenttype: "image/png", dataBase64: data });
      expect(answer).not.toHaveProperty("data");
    }
  });

  test("without anything in it is an entry all the same, and comes back empty", () => {
    expect(encodeMessage({}).length).toBeGreaterThan(0);
    expect(readBack({})).toEqual({ id: ID, type: null, key: null, attributes: {}, producedAt: 1_690_000_000_000 });
    expect(readBack({ attributes: {} })).not.toHaveProperty("data");
    expect(readBack({ data: "null" })).toHaveProperty("data", null);
  });

  test("is measured in bytes of UTF-8, names and values", () => {
    const { lengths, short, long, sizes } = encodeMessages([
      { type: "é", data: '"😀"' },
      {},
      { data: "é".repeat(1_024), key: "k" },
      { data: "" },
    ]);
    expect(lengths).toEqual([
      [4, 2, 4, 6],
      [13, 4],
      [3, 1, 4, -1],
      [4, 0],
    ]);
    expect(short).toBe('typeédata"😀"weir-encodingnonekeykdatadata');
    expect(long).toEqual(["é".repeat(1_024)]);
    expect(sizes).toEqual([16, 17, 2_056, 4]);
  });
});

describe("an entry of another client", () => {
  const bytes = (...values: number[]) => new Uint8Array(values);
  const anyName = fc.oneof(
    wellFormed,
    fc.string({ unit: "binary" }),
    fc.uint8Array({ maxLength: 6 }),
    fc.constantFrom(
      ...RESERVED_FIELDS,
      "weir-encoding",
      "weir-id",
      "weir-fields",
      "__proto__",
      "constructor",
      "",
      "id",
      "lease",
      '"',
      "\\",
      "\n",
      "a b",
      "{}",
      "\u2028",
    ),
  );
  const anyValue = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.uint8Array({ maxLength: 6 }),
    fc.json(),
    fc.constantFrom("", "{", "base64", "text/plain", "application/json", "a/b+json", "NaN", "'a'", "[1,]", "\u0000"),
  );

  test("always makes valid JSON, with the id, the lease and the count that are Weir's to say", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(anyName, anyValue), { maxLength: 12 }), (pairs) => {
        expect(read(pairs.flat(), { deliveries: 2, lease: "the-lease" })).toMatchObject({
          id: ID,
          producedAt: 1_690_000_000_000,
          deliveries: 2,
          lease: "the-lease",
        });
      }),
      { numRuns: 3_000 },
    );
  });

  test.each([
    "{",
    "'a'",
    "[1,]",
    "NaN",
    "undefined",
    "",
    " ",
    "01",
    "1.",
    '"\\x"',
    "hello",
    "\ufeff1",
    '{"a":1}}',
    "1,2",
  ])("whose data is %j, which is no JSON, comes as text that says so", (data) => {
    expect(read(["data", data])).toMatchObject({ data, datacontenttype: "text/plain" });
    expect(read(["data", data, "datacontenttype", "application/json"])).toMatchObject({
      data,
      datacontenttype: "text/plain",
    });
  });

  test("whose data would close the message and open another stays one message", () => {
    const data = '1},{"id":"0-0"';
    expect(read(["data", data])).toMatchObject({ id: ID, data });
  });

  test("whose data is bytes comes as base64, of the type that it states or none known", () => {
    expect(read(["data", bytes(0xff, 0x00)])).toMatchObject({
      dataBase64: "/wA=",
      datacontenttype: "application/octet-stream",
    });
    expect(read(["data", bytes(0xff), "datacontenttype", "image/png"])).toMatchObject({
      dataBase64: "/w==",
      datacontenttype: "image/png",
    });
  });

  test("with values or type or key in bytes gives them in full beside the text", () => {
    expect(read(["a", bytes(0xff), "type", bytes(0xc3), "key", bytes(0xfe), "b", "text"])).toMatchObject({
      type: null,
      key: null,
      attributes: { b: "text" },
      attributesBase64: { a: "/w==", type: "ww==", key: "/g==" },
    });
  });

  test("with a field name in bytes is delivered, U+FFFD standing for what is no text", () => {
    expect(read([bytes(0x61, 0xff), "x"])).toMatchObject({ attributes: { "a\ufffd": "x" } });
  });

  test("that repeats a field has its last value", () => {
    expect(read(["data", "1", "a", "x", "data", "2", "a", "y"])).toMatchObject({ data: 2, attributes: { a: "y" } });
    expect(read(["a", bytes(0xff), "a", "text"])).not.toHaveProperty("attributesBase64");
  });

  test("with a field named __proto__ gives it as one, and reaches no prototype", () => {
    const text = messageJson(ID, ["__proto__", "x", "constructor", "y"]);
    expect(text).toContain('"attributes":{"__proto__":"x","constructor":"y"}');
    expect(Object.hasOwn(Object.prototype, "x")).toBe(false);
  });

  test("that says base64 where there is none comes as the text that is there", () => {
    expect(read(["data", "not base64!", "weir-encoding", "base64"])).toMatchObject({
      data: "not base64!",
      datacontenttype: "text/plain",
    });
    expect(read(["data", "{}", "weir-encoding", "rot13"])).toMatchObject({ data: {} });
  });

  test("with 10,000 fields comes whole", () => {
    const flat = Array.from({ length: 10_000 }, (_, i) => [`f${i}`, String(i)]).flat();
    expect(read(flat)).toHaveProperty("attributes.f9999", "9999");
  });

  test("with data nested 100,000 deep comes as it is", () => {
    const data = "[".repeat(100_000) + "]".repeat(100_000);
    expect(messageJson(ID, ["data", data])).toContain(`"data":${data},`);
  });

  test("with a media type of a megabyte is told in no time, whatever it is made of", () => {
    for (const part of ["/", "a/", "+json", " ", "a", "a/b+json", ";"]) {
      const started = performance.now();
      isJsonType(part.repeat(1_000_000 / part.length));
      expect(performance.now() - started, part).toBeLessThan(500);
    }
  });

  test.each([null, 1, "text", [], ["1-0"], ["1-0", null], [1, []], [null, ["a", "b"]]])(
    "that Redis cannot have answered, %j, is refused and not made into a message",
    (reply: Reply) => expect(() => decodeEntry(reply)).toThrow(TypeError),
  );

  test("whose value is no text is refused", () => {
    expect(() => messageJson(ID, ["a", 1])).toThrow(TypeError);
    expect(() => messageJson(ID, ["a", null])).toThrow(TypeError);
  });
});

describe("what counts as JSON and as base64", () => {
  test.each([
    "application/json",
    "text/json",
    "a/b+json",
    "Application/JSON",
    " application/json ; charset=utf-8",
    "application/cloudevents+json;x=y",
  ])("%j is JSON", (type) => expect(isJsonType(type)).toBe(true));

  test.each([
    "",
    "json",
    "application/jsonl",
    "application/x-ndjson",
    "text/plain; a=b+json",
    "+json",
    "/+json",
    "a/+json",
    "text/plain;application/json",
    "xapplication/json",
    "a b/c+json",
  ])("%j is not", (type) => expect(isJsonType(type)).toBe(false));

  test("base64 is taken with its padding only", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const text = Buffer.from(bytes).toString("base64");
        expect(isBase64(text)).toBe(true);
        if (text.endsWith("=")) expect(isBase64(text.replace(/=+$/, ""))).toBe(false);
      }),
    );
    for (const text of ["A", "AA", "AAA", "====", "A===", "AA=A", "A-_A", "AAA\n", " AAA", "AAAA\n", "ÀAAA"]) {
      expect(isBase64(text), text).toBe(false);
    }
    expect(isBase64("A".repeat(8 * 1024 * 1024))).toBe(true);
  });
});
