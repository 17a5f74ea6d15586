import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { leaseFormat } from "../../shared/lease.ts";

const U64_MAX = 18446744073709551615n;
const name = fc.stringMatching(/^[A-Za-z0-9._:-]{1,128}$/);
const id = fc.tuple(fc.bigInt(0n, U64_MAX), fc.bigInt(0n, U64_MAX)).map((halves) => halves.join("-"));
const lease = fc.record(
  { id, consumer: name, deliveries: fc.integer({ min: 1, max: 9_999_999_999 }), side: id },
  { requiredKeys: ["id", "consumer", "deliveries"] },
);

const format = leaseFormat("orders", "mail");
const sample = { id: "1690000000000-3", consumer: "worker:1", deliveries: 2 };
const text = format.write(sample);

/** Any character that may stand in a lease, some that may not, and one of each kind that could confuse. */
const CHARACTERS = [...'0123456789abcxyzABCXYZ._:-~ /"\\\n\u0000é😀'];

describe("a lease", () => {
  test("comes back as it was written, for every name and id", () => {
    fc.assert(
      fc.property(name, name, lease, (stream, group, written) => {
        const leases = leaseFormat(stream, group);
        expect(leases.read(leases.write(written))).toEqual(written);
      }),
    );
  });

  test("passes through a URL, a header and JSON without escaping", () => {
    expect(encodeURIComponent(text)).toBe(text.replaceAll(":", "%3A"));
    expect(text).toMatch(/^[!-~]+$/);
    expect(JSON.stringify(text)).toBe(`"${text}"`);
  });

  test("cut at any position is malformed", () => {
    for (let end = 0; end < text.length; end++)
      expect(format.read(text.slice(0, end)), text.slice(0, end)).toBe("malformed");
    for (let start = 1; start <= text.length; start++) expect(format.read(text.slice(start))).toBe("malformed");
  });

  test("with any one character changed, left out, doubled or put in is malformed", () => {
    for (let at = 0; at <= text.length; at++) {
      const [head, tail] = [text.slice(0, at), text.slice(at + 1)];
      const mangled = CHARACTERS.flatMap((c) => [head + c + tail, head + c + text.slice(at)]);
      for (const wrong of [...mangled, head + tail]) {
        // The last position can only be added to; and a changed character may be the one that was there.
        if (wrong !== text) expect(format.read(wrong), wrong).toBe("malformed");
      }
    }
  });

  test("of another stream or group is foreign, also where the names joined would be the same", () => {
    expect(leaseFormat("orders", "billing").read(text)).toBe("foreign");
    expect(leaseFormat("order", "mail").read(text)).toBe("foreign");
    expect(leaseFormat("mail", "orders").read(text)).toBe("foreign");
    expect(leaseFormat("ord", "ersmail").read(leaseFormat("orders", "mail").write(sample))).toBe("foreign");
    expect(leaseFormat("a", "b:c").read(leaseFormat("a:b", "c").write(sample))).toBe("foreign");
  });

  test("of a later version is malformed, and not taken for this one", () => {
    const [, ...rest] = text.split("~");
    for (const version of ["2", "10", "01", "", " 1", "1.0", "a"]) {
      expect(format.read([version, ...rest].join("~"))).toBe("malformed");
    }
  });

  test("that a later release has appended fields to is read by this one", () => {
    const [version, ...rest] = text.split("~").slice(0, -1);
    for (const appended of [["x"], [""], ["again", "1690000000001-0"], ["", "", ""]]) {
      // An empty side id or incarnation is none: so fields can be appended to a lease that has none.
      const body = [...rest, "", "", ...appended].join("~");
      expect(format.read([version, body, checkOf(body)].join("~"))).toEqual(sample);
    }
  });

  test("whose check is right but whose fields are not is malformed", () => {
    const [version, scope] = text.split("~");
    const bodies = [
      [scope],
      [scope, "a"],
      [scope, "a", "1"],
      [scope, "a", "1", ""],
      [scope, "a", "1", "1"],
      [scope, "a", "1", "18446744073709551616-0"],
      [scope, "a", "0", "1-0"],
      [scope, "a", "-1", "1-0"],
      [scope, "a", "1.5", "1-0"],
      [scope, "a", "1e3", "1-0"],
      [scope, "a", "01", "1-0"],
      [scope, "a", "99999999999", "1-0"],
      [scope, "a", "", "1-0"],
    ];
    for (const fields of bodies) {
      const body = fields.join("~");
      // Also right after one that began in the same way.
      for (const before of ["", format.write({ id: "1-0", consumer: "a", deliveries: 1 })]) {
        format.read(before);
        expect(format.read([version, body, checkOf(body)].join("~")), body).toBe("malformed");
      }
    }
  });

  test("comes back as it was written among leases of other deliveries, consumers, groups and none", () => {
    const others = fc.array(fc.oneof(lease, lease, fc.constantFrom("", "1~x", text.slice(1), text.slice(0, -1))));
    fc.assert(
      fc.property(others, (mixed) => {
        const [leases, foreign] = [leaseFormat("orders", "mail"), leaseFormat("orders", "billing")];
        for (const each of mixed) {
          if (typeof each === "string") expect(leases.read(each)).toBe("malformed");
          else {
            expect(leases.read(foreign.write(each))).toBe("foreign");
            expect(leases.read(leaseFormat("orders", "mail").write(each))).toEqual(each);
            expect(leases.read(leases.write(each))).toEqual(each);
          }
        }
      }),
    );
  });

  test("never throws and never names another entry, whatever the text is", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ unit: "binary" }), fc.string({ unit: fc.constantFrom(...CHARACTERS) })),
        (any) => {
          expect(format.read(any)).toBe("malformed");
        },
      ),
    );
    for (const huge of ["~".repeat(1_000_000), "1~".repeat(500_000), text.repeat(20_000), "1".repeat(8_000_000)]) {
      expect(format.read(huge)).toBe("malformed");
    }
  });
});

/** FNV-1a's low 30 bits, written anew, so that a change of the format shows: leases outlive a deployment. */
function checkOf(body: string): string {
  let hash = 2_166_136_261;
  for (const c of body) hash = Math.imul(hash ^ (c.codePointAt(0) ?? 0), 16_777_619) >>> 0;
  return String(hash % 2 ** 30);
}
