import { describe, expect, test } from "vitest";
import { nothingMissing, reckon } from "../../local/demo/tally.ts";

const produced = new Map([
  ["1-0", '{"a":1}'],
  ["2-0", '{"b":2}'],
  ["3-0", "null"],
]);
const done = { lag: 0, pending: 0, delayed: 0 };

function handled(...ids: string[]): Map<string, string> {
  return new Map(ids.map((id) => [id, produced.get(id) ?? "?"]));
}

describe("the demo's reckoning", () => {
  test("everything handled or in the dead letters is complete", () => {
    const outcome = reckon(produced, handled("1-0", "3-0"), [{ id: "2-0", data: { b: 2 } }], done, "2-0");
    expect(outcome).toEqual({
      handled: ["1-0", "3-0"],
      deadLettered: ["2-0"],
      innocent: [],
      lost: [],
      leftOver: 0,
    });
    expect(nothingMissing([outcome])).toBe(true);
  });

  test("a message that nobody handled and that is no dead letter is lost", () => {
    const outcome = reckon(produced, handled("1-0", "2-0"), [], done, undefined);
    expect(outcome.lost).toEqual(["3-0"]);
    expect(nothingMissing([outcome])).toBe(false);
  });

  test("one group's loss is not made up for by another group", () => {
    const whole = reckon(produced, handled("1-0", "2-0", "3-0"), [], done, undefined);
    const lossy = reckon(produced, handled("1-0", "2-0"), [], done, undefined);
    expect(nothingMissing([whole, lossy])).toBe(false);
  });

  test.each([
    ["other content", { b: 3 }],
    ["no content", undefined],
  ])("a dead letter with %s is lost, also when it was handled late", (_, data) => {
    const outcome = reckon(produced, handled("1-0", "2-0", "3-0"), [{ id: "2-0", data }], done, "2-0");
    expect(outcome.lost).toEqual(["2-0"]);
    expect(nothingMissing([outcome])).toBe(false);
  });

  test("a message that was handed out with other content is lost", () => {
    const altered = handled("1-0", "2-0", "3-0").set("1-0", '{"a":"1"}');
    expect(reckon(produced, altered, [], done, undefined).lost).toEqual(["1-0"]);
  });

  test("a dead letter that was not to be expected is told, but it is not lost", () => {
    const outcome = reckon(produced, handled("1-0", "2-0"), [{ id: "3-0", data: null }], done, "2-0");
    expect(outcome).toMatchObject({ innocent: ["3-0"], lost: [] });
  });

  test.each([
    { lag: 1, pending: 0, delayed: 0 },
    { lag: 0, pending: 1, delayed: 0 },
    { lag: 0, pending: 0, delayed: 1 },
    { lag: null, pending: 0, delayed: 0 },
  ])("what is left over is not complete: %o", (state) => {
    const outcome = reckon(produced, handled("1-0", "2-0", "3-0"), [], state, undefined);
    expect(outcome).toMatchObject({ lost: [], leftOver: 1 });
    expect(nothingMissing([outcome])).toBe(false);
  });
});
