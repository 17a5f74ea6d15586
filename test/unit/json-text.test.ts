import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { findExcess, memberText, TooDeep, textsInList } from "../../functions/http/json-text.ts";

/** JSON as text together with what must be cut out of it, so that the scanner is checked against more than itself. */
interface ObjectText {
  readonly text: string;
  readonly members: readonly { readonly name: string; readonly value: string }[];
}

const space = fc.oneof({ weight: 3, arbitrary: fc.constant("") }, fc.stringMatching(/^[ \t\r\n]{0,3}$/));
const around = (text: fc.Arbitrary<string>) => fc.tuple(space, text, space).map((parts) => parts.join(""));

const PIECES = ["a", "é", "😀", "\u2028", "{", "}", "[", "]", ",", ":", " ", "/", "\u007f", "data", "true", "-1"];
const ESCAPES = ['\\"', "\\\\", "\\/", "\\n", "\\u0022", "\\u005C", "\\u0000", "\\ud83d\\ude00", "\\ud800", "\\uDC00"];
const string = fc
  .array(fc.constantFrom(...PIECES, ...ESCAPES), { maxLength: 8 })
  .map((pieces) => `"${pieces.join("")}"`);
const number = fc.oneof(
  fc.constantFrom("0", "-0", "1.0", "-1.50", "1e5", "1E+5", "1e-7", "1e400", "-1e-400", "12345678901234567890", "0.1"),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
);
const literal = fc.constantFrom("true", "false", "null", "[]", "{}", "[ ]", "{\n}");
const name = fc.oneof(
  fc.constantFrom('"data"', '"\\u0064ata"', '"d\\u0061t\\u0061"', '"messages"', '"message\\u0073"'),
  fc.constantFrom('"__proto__"', '"constructor"', '""', '"10"', '"9"', '"Data"', '"dat"', '"data "', '"\\\\u0064ata"'),
  string,
);

function listOf(value: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.tuple(space, fc.array(around(value), { maxLength: 4 })).map(([empty, items]) => {
    return items.length === 0 ? `[${empty}]` : `[${items.join(",")}]`;
  });
}

function objectOf(value: fc.Arbitrary<string>): fc.Arbitrary<ObjectText> {
  const member = fc.record({ name, value, spaces: fc.tuple(space, space, space, space) });
  return fc.tuple(space, fc.array(member, { maxLength: 5 })).map(([empty, members]) => {
    const texts = members.map(({ name, value, spaces: [a, b, c, d] }) => `${a}${name}${b}:${c}${value}${d}`);
    return { text: `{${texts.length === 0 ? empty : texts.join(",")}}`, members };
  });
}

const { value } = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    literal,
    string,
    number,
    listOf(tie("value")),
    objectOf(tie("value")).map(({ text }) => text),
  ),
}));

/** The text of the last member that JSON.parse would call so. */
function lastNamed({ members }: ObjectText, wanted: string): string | undefined {
  return members.findLast(({ name }) => JSON.parse(name) === wanted)?.value;
}

const RUNS = { numRuns: 3_000 };

describe("the text of a member", () => {
  test("is cut out as it was written, whatever the names, values and spaces around it", () => {
    fc.assert(
      fc.property(objectOf(value), space, space, (object, before, after) => {
        const body = before + object.text + after;
        const cut = memberText(body, "data");
        expect(cut).toBe(lastNamed(object, "data"));
        const parsed: unknown = JSON.parse(body);
        if (cut !== undefined && typeof parsed === "object" && parsed !== null && "data" in parsed) {
          expect(isDeepStrictEqual(JSON.parse(cut), parsed.data)).toBe(true);
        }
      }),
      RUNS,
    );
  });

  test("agrees with JSON.parse for what JSON.stringify writes, at any indentation", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), fc.nat(4), (json, indent) => {
        const data: unknown = JSON.parse(json);
        const body = JSON.stringify({ before: data, data, after: data }, null, indent);
        expect(JSON.parse(memberText(body, "data") ?? "nothing")).toStrictEqual(data);
      }),
      RUNS,
    );
  });

  test.each([
    ['{"\\u0064ata":1}', "1"],
    ['{"data":1,"data":2.0}', "2.0"],
    ['{"\\u0064ata":1,"data":2,"d\\u0061ta":-0}', "-0"],
    ['{"a":{"data":1}}', undefined],
    ['{"a":"\\"data\\":1"}', undefined],
    ['{"a":["data",1],"\\\\u0064ata":1}', undefined],
    ['{"data":"}]\\"\\\\"}', '"}]\\"\\\\"'],
    ['{"__proto__":{"data":1}}', undefined],
    ['{"__proto__":1,"data":{"__proto__":{"a":1}}}', '{"__proto__":{"a":1}}'],
    ['{"data":null}', "null"],
    ['\t{ "data"\r\n:\t12345678901234567890 , "b": 1 }\n', "12345678901234567890"],
    ['{"data":1e400}', "1e400"],
    ["{}", undefined],
  ])("in %s is %s", (json, expected) => {
    expect(JSON.parse(json)).toBeTypeOf("object");
    expect(memberText(json, "data")).toBe(expected);
  });
});

describe("the texts of a list's members", () => {
  const list = fc.array(fc.oneof({ weight: 4, arbitrary: objectOf(value) }, value), { maxLength: 5 });

  test("come in order, one for each item, as they were written", () => {
    fc.assert(
      fc.property(list, fc.array(space, { minLength: 5, maxLength: 5 }), value, (items, spaces, other) => {
        const texts = items.map((item, i) => (spaces[i] ?? "") + (typeof item === "string" ? item : item.text));
        const body = `{"a":${other},"messages":[${texts.join(",")}],"data":${other}}`;
        const expected = items.map((item) => (typeof item === "string" ? dataOf(item) : lastNamed(item, "data")));
        expect(textsInList(body, "messages", "data")).toEqual(expected);
      }),
      RUNS,
    );
  });

  /** For items that are objects only by chance: what JSON.parse sees, as text, which an item without spaces has. */
  function dataOf(text: string): string | undefined {
    return text.startsWith("{") ? memberText(text, "data") : undefined;
  }

  test("are parts of the body that parse to what JSON.parse has there", () => {
    fc.assert(
      fc.property(objectOf(fc.oneof(listOf(objectOf(value).map(({ text }) => text)), value)), (object) => {
        const parsed: unknown = JSON.parse(object.text);
        const named = typeof parsed === "object" && parsed !== null && "messages" in parsed ? parsed.messages : [];
        const items: unknown[] = Array.isArray(named) ? named : [];
        const texts = textsInList(object.text, "messages", "data");
        expect(texts).toHaveLength(items.length);
        texts.forEach((text, i) => {
          const item = items[i];
          const isObject = typeof item === "object" && item !== null && !Array.isArray(item);
          const data = isObject && Object.hasOwn(item, "data") && "data" in item ? { is: item.data } : undefined;
          expect(text === undefined).toBe(data === undefined);
          if (text === undefined || data === undefined) return;
          expect(object.text).toContain(text);
          expect(isDeepStrictEqual(JSON.parse(text), data.is)).toBe(true);
        });
      }),
      RUNS,
    );
  });

  test("are those of the last list where the list itself is repeated", () => {
    const body = '{"messages":[{"data":1},{"data":2}],"message\\u0073":[{"data":3.0}]}';
    expect(textsInList(body, "messages", "data")).toEqual(["3.0"]);
  });

  test.each(['{"messages":[]}', '{"messages":[ \n]}', "{}", '{"messages":{"data":1}}', '{"messages":"[1]"}'])(
    "are none in %s",
    (body) => expect(textsInList(body, "messages", "data")).toEqual([]),
  );
});

describe("what an attacker would send", () => {
  test.each([
    ["lists", "[", "]"],
    ["objects", '{"data":', "}"],
  ])("more than 64 nested %s are noticed before they are cut out, however many they are", (_, open, close) => {
    const deep = (levels: number) => `${open.repeat(levels)}${open === "[" ? "" : 1}${close.repeat(levels)}`;
    expect(textsInList(`{"messages":[{"data":${deep(64)}},{"data":2}]}`, "messages", "data")).toEqual([deep(64), "2"]);
    expect(memberText(`{"before":${deep(64)},"data":${deep(64)}}`, "data")).toBe(deep(64));
    for (const levels of [65, 100_000]) {
      expect(() => textsInList(`{"messages":[{},{"data":${deep(levels)}}]}`, "messages", "data")).toThrow(TooDeep);
      expect(() => memberText(`{"data":${deep(levels)}}`, "data")).toThrow(TooDeep);
    }
  });

  test("long runs of backslashes and quotes cost time in proportion to their length", () => {
    const body = (size: number) => `{"data":"${"\\\\".repeat(size)}${'\\"'.repeat(size)}"}`;
    const milliseconds = (json: string) => {
      const started = performance.now();
      memberText(json, "data");
      return performance.now() - started;
    };
    milliseconds(body(1_000));
    // 4 MiB; a scanner that looks back over the whole run at each quote would take minutes.
    expect(milliseconds(body(1_000_000))).toBeLessThan(2_000);
  });
});

describe("too much in a text", () => {
  const NO_LIMIT = { maxLevels: Number.POSITIVE_INFINITY, maxParts: Number.POSITIVE_INFINITY, pathLength: 0 };

  /** How many arrays and objects lie one inside the other, and how many of them and of members there are. */
  function measure(value: unknown): { levels: number; parts: number } {
    if (typeof value !== "object" || value === null) return { levels: 0, parts: 0 };
    const inner = Object.values(value).map(measure);
    return {
      levels: 1 + Math.max(0, ...inner.map(({ levels }) => levels)),
      parts: 1 + (Array.isArray(value) ? 0 : inner.length) + inner.reduce((sum, { parts }) => sum + parts, 0),
    };
  }

  test("is found at one level or part more than there may be, and not before, whatever stands in strings", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 5, stringUnit: fc.constantFrom(...'[]{}:,"\\a') }), fc.nat(3), (text, indent) => {
        const value: unknown = JSON.parse(text);
        const json = JSON.stringify(value, null, indent);
        const { levels, parts } = measure(value);
        expect(findExcess(json, { ...NO_LIMIT, maxLevels: levels, maxParts: parts })).toBeUndefined();
        if (levels === 0) return;
        expect(findExcess(json, { ...NO_LIMIT, maxLevels: levels - 1 })).toMatchObject({ of: "levels" });
        expect(findExcess(json, { ...NO_LIMIT, maxParts: parts - 1 })).toMatchObject({ of: "parts" });
      }),
      RUNS,
    );
  });

  test("is told with its place, as far as that was asked for", () => {
    const limits = { ...NO_LIMIT, maxLevels: 4, pathLength: 3 };
    const json = '{"a":[1,[2,3]],"messages":[{"x":["y",1]},{"z":"u","data" : [ [] ] }]}';
    expect(findExcess(json, limits)?.path).toEqual(["messages", 1, "data"]);
    expect(findExcess(json, { ...limits, pathLength: 0 })?.path).toEqual([]);
  });

  test("is looked for in any text, and in a text that ends too early until it ends", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'[]{}:,"\\a1 ') }), (text) => {
        findExcess(text, { maxLevels: 3, maxParts: 5, pathLength: 2 });
      }),
      RUNS,
    );
    expect(findExcess('[[["a', { ...NO_LIMIT, maxLevels: 2 })).toMatchObject({ of: "levels" });
    expect(findExcess('["[[[', { ...NO_LIMIT, maxLevels: 2 })).toBeUndefined();
  });
});
