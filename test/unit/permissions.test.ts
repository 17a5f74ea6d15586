import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { mayAccess, SCOPE } from "../../functions/http/permissions.ts";
import { NAME } from "../../shared/keys.ts";

/** Every valid name of up to three of these characters. */
const LETTERS = ["a", ".", ":"];
const NAMES = [1, 2, 3]
  .flatMap((length) => Array(length).fill(LETTERS).reduce<string[]>(prolong, [""]))
  .filter((name) => NAME.test(name));

function prolong(texts: string[], letters: string[]): string[] {
  return texts.flatMap((text) => letters.map((letter) => text + letter));
}

const PERMISSIONS = ["produce", "consume", "read", "admin", "metrics"] as const;

/** Whether it lets anybody do anything to any stream or group there may be, or to what concerns all. */
function permitsSomething(scope: string): boolean {
  const resources = [{}, ...NAMES.flatMap((stream) => NAMES.map((group) => ({ stream, group })))];
  const granted = PERMISSIONS.find((permission) => scope.startsWith(permission));
  return granted !== undefined && resources.some((resource) => mayAccess([scope], granted, resource));
}

describe("a scope", () => {
  // Names of two characters at most, so that those of three show whatever begins so.
  const part = fc.array(fc.constantFrom(...LETTERS), { maxLength: 2 }).map((letters) => letters.join(""));
  const star = fc.constantFrom("", "", "*");
  const pattern = fc
    .tuple(part, star, fc.constantFrom("", "/", "//"), part, star)
    .map((parts) => parts.join(""))
    .filter((text) => text.split("/").every((one) => one.replaceAll("*", "").length <= 2));
  const permission = fc.constantFrom("produce:", "consume:", "read:", "admin:");

  test("is taken when there is something that it permits, and refused when there is nothing", () => {
    let taken = 0;
    fc.assert(
      fc.property(permission, pattern, (granted, rest) => {
        const scope = granted + rest;
        const isTaken = SCOPE.test(scope);
        if (isTaken) taken++;
        expect({ scope, isTaken }).toEqual({ scope, isTaken: permitsSomething(scope) });
      }),
      { numRuns: 2_000 },
    );
    expect(taken).toBeGreaterThan(100);
  });

  test.each([
    "metrics",
    "produce:orders",
    "admin:*",
    "read:eu-*",
    `produce:${"a".repeat(128)}`,
    `read:${"a".repeat(128)}*`,
    "consume:orders/mail",
    "consume:orders/*",
    "consume:orders*",
    "consume:*",
    `consume:${"a".repeat(128)}/${"b".repeat(128)}*`,
  ])("%s is taken", (scope) => expect(scope).toMatch(SCOPE));

  test.each([
    "",
    "*",
    "root",
    "metrics:",
    "metrics:x",
    "metrics\n",
    "write:orders",
    "produce",
    "produce:",
    "produce:a*b",
    "produce:**",
    "produce:a/b",
    "produce:.",
    "read:..",
    "admin:@held",
    `admin:${"a".repeat(129)}`,
    `admin:${"a".repeat(129)}*`,
    "consume:orders",
    "consume:orders/",
    "consume:/mail",
    "consume:a*/b",
    "consume:a*/b*",
    "consume:./b",
    "consume:a/..",
    "consume:a/b/c",
    "consume:a/b/*",
    "produce:orders ",
  ])("%j is refused", (scope) => expect(scope).not.toMatch(SCOPE));
});
