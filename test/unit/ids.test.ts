import fc from "fast-check";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { compareIds, idBefore, parseEntryId, timeOfId } from "../../shared/ids.ts";
import { parsePosition, parseTimeNotBefore } from "../../shared/stream/position.ts";

const U64_MAX = "18446744073709551615";
const half = fc.bigInt({ min: 0n, max: BigInt(U64_MAX) });
const id = fc.tuple(half, half).map(([ms, sequence]) => `${ms}-${sequence}`);

describe("an entry id", () => {
  test.each(["0-0", `${U64_MAX}-${U64_MAX}`, "1690000000000-0"])("%s is taken as it is", (text) => {
    expect(parseEntryId(text)).toBe(text);
  });

  test("is brought into Redis' own spelling, so that one message has one id", () => {
    expect(parseEntryId("0001-007")).toBe("1-7");
    expect(parseEntryId(`${"0".repeat(20)}-0`)).toBe("0-0");
  });

  test.each([
    "18446744073709551616-0",
    "0-18446744073709551616",
    "99999999999999999999-0",
    `${"0".repeat(21)}-0`,
    "",
    "-",
    "1",
    "1-",
    "-1",
    "1-1-1",
    "+1-0",
    "1--1",
    " 1-0",
    "1-0\n",
    "1.0-0",
    "1e3-0",
    "0x1-0",
    "1-*",
    "$",
    "*",
    ">",
    "(1-0",
    "١-٠",
  ])("%j is none", (text) => {
    expect(parseEntryId(text)).toBeUndefined();
  });

  test("that is any other text is refused or read back to itself, never thrown at", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."0123456789-. +e"), maxLength: 45 }), (text) => {
        const parsed = parseEntryId(text);
        if (parsed !== undefined) expect(parseEntryId(parsed)).toBe(parsed);
      }),
    );
  });
});

describe("the order of ids", () => {
  const sign = (n: number) => (n < 0 ? -1 : n > 0 ? 1 : 0);

  test("is that of their two 64-bit numbers", () => {
    fc.assert(
      fc.property(half, half, half, half, (a, b, c, d) => {
        const expected = a === c ? (b < d ? -1 : b > d ? 1 : 0) : a < c ? -1 : 1;
        expect(sign(compareIds(`${a}-${b}`, `${c}-${d}`))).toBe(expected);
      }),
    );
  });

  test("tells apart what a number cannot", () => {
    expect(compareIds("9007199254740992-0", "9007199254740993-0")).toBeLessThan(0);
    expect(compareIds(`1-${U64_MAX}`, "1-18446744073709551614")).toBeGreaterThan(0);
    expect(compareIds("1-9", "1-10")).toBeLessThan(0);
    expect(compareIds("5-0", "5-0")).toBe(0);
  });

  test("sorts any list the same way from either end", () => {
    fc.assert(
      fc.property(fc.array(id), (ids) => {
        expect([...ids].sort(compareIds)).toEqual([...ids].reverse().sort(compareIds));
      }),
    );
  });
});

describe("a position", () => {
  test.each([
    ["0", 0],
    ["1690000000000", 1_690_000_000_000],
    ["999999999999999", 999_999_999_999_999],
    ["20240101", 20_240_101],
    ["1970-01-01", 0],
    ["2024-02-29", Date.UTC(2024, 1, 29)],
    ["2000-02-29", Date.UTC(2000, 1, 29)],
    ["2024-12-31T23:59:59.999Z", Date.UTC(2024, 11, 31, 23, 59, 59, 999)],
    ["2024-01-01T10:00", Date.UTC(2024, 0, 1, 10)],
    ["2024-01-01T10:00:30", Date.UTC(2024, 0, 1, 10, 0, 30)],
    ["2024-01-01T10:00Z", Date.UTC(2024, 0, 1, 10)],
    ["2024-01-01T10:00+02:00", Date.UTC(2024, 0, 1, 8)],
    ["2024-03-01T00:30+01:00", Date.UTC(2024, 1, 29, 23, 30)],
    ["2024-01-01T10:00:00.5-03:30", Date.UTC(2024, 0, 1, 13, 30, 0, 500)],
    ["2024-01-01T10:00:00.123456789Z", Date.UTC(2024, 0, 1, 10, 0, 0, 123)],
  ])("%s is a time", (text, ms) => {
    expect(parsePosition(text)).toEqual({ kind: "time", ms });
  });

  test.each([
    ["2026-01-01T00:00:00.0009Z", 1],
    ["2026-01-01T00:00:00.123000001Z", 124],
    ["2026-01-01T00:00:00.999999999Z", 1_000],
    ["2026-01-01T00:00:00.123000Z", 123],
    ["2026-01-01T00:00:00.12Z", 120],
    [String(Date.UTC(2026, 0, 1)), 0],
  ])("that something must not come before is rounded up: %s", (text, ms) => {
    expect(parseTimeNotBefore(text)).toBe(Date.UTC(2026, 0, 1) + ms);
  });

  test("with a sequence is an id", () => {
    expect(parsePosition("1690000000000-01")).toEqual({ kind: "id", id: "1690000000000-1" });
  });

  test.each([
    "2024-02-30",
    "2023-02-29",
    "1900-02-29",
    "2024-04-31T00:00Z",
    "2024-02-30T00:00+01:00",
    "2024-13-01",
    "2024-00-10",
    "2024-01-00",
    "2024-01-32",
    "2024-01-01T25:00Z",
    "2024-01-01T10:60Z",
    "2024-01-01T10:00:60Z",
    "2024-01-01T10:00+25:00",
    "2024-01-01T10:00+99:99",
    "2024-01-01T10Z",
    "2024-01-01 10:00",
    "2024-01-01T10:00z",
    "2024-1-1",
    "2024-W01-1",
    "1969-12-31",
    "0000-01-01",
    "+012024-01-01",
    "-1",
    "1.5",
    "1e3",
    "1000000000000000000",
    "now",
    "Jan 1 2024",
    "",
    " ",
  ])("%j is refused, not guessed at", (text) => {
    expect(parsePosition(text)).toBeUndefined();
  });

  test("means the same on every machine", () => {
    const zones = ["UTC", "America/New_York", "Asia/Kolkata"];
    onTestFinished(() => void vi.unstubAllEnvs());
    const read = zones.map((zone) => {
      vi.stubEnv("TZ", zone);
      return parsePosition("2024-06-01T12:00");
    });
    expect(read).toEqual(zones.map(() => ({ kind: "time", ms: Date.UTC(2024, 5, 1, 12) })));
  });

  test("written by toISOString comes back to the millisecond", () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date(0), max: new Date("9999-12-31T23:59:59.999Z"), noInvalidDate: true }),
        (date) => {
          expect(parsePosition(date.toISOString())).toEqual({ kind: "time", ms: date.getTime() });
        },
      ),
    );
  });
});

describe("the id before a millisecond", () => {
  test("is the last one that can be before it", () => {
    expect(idBefore(0)).toBe("0-0");
    expect(idBefore(1)).toBe(`0-${U64_MAX}`);
    expect(compareIds(idBefore(5), "5-0")).toBeLessThan(0);
    expect(compareIds(idBefore(5), "4-18446744073709551615")).toBe(0);
    expect(parseEntryId(idBefore(999_999_999_999_999))).toBe(`999999999999998-${U64_MAX}`);
  });

  test("and the time of an id are each other's inverse", () => {
    expect(timeOfId("1690000000000-5")).toBe(1_690_000_000_000);
  });
});
