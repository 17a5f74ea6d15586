import { glob, readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import * as client from "../../client/index.ts";
import { ERROR_CODES, isProblemCode } from "../../functions/http/errors.ts";

const readme = await readFile("client/README.md", "utf8");
const sources = (
  await Promise.all((await Array.fromAsync(glob("client/{*,consumer/*}.ts"))).map((path) => readFile(path, "utf8")))
).join("\n");

/** The rows of each table below a heading, their cells. */
function tablesBelow(heading: string): string[][][] {
  const section = readme.split(/^#+ /m).find((text) => text.startsWith(`${heading}\n`)) ?? "";
  const tables = [...section.matchAll(/(?:^\|.*\|\n)+/gm)].map(([table]) => table.trim().split("\n").slice(2));
  return tables.map((rows) => rows.map((row) => row.split("|").slice(1, -1)));
}

/** What a cell has as code. */
function namesIn(cell: string | undefined): string[] {
  return [...(cell ?? "").matchAll(/`([\w-]+)`/g)].map(([, name = ""]) => name);
}

/** The members of an interface, or of a type of object literals; without those that it has from others. */
function membersOf(name: string): string[] {
  const [declaration = ""] =
    new RegExp(`^(?:export )?(?:interface|type) ${name}\\b[\\s\\S]*?\\n(?:\\};?| {2}\\);)$`, "m").exec(sources) ?? [];
  return [...declaration.matchAll(/^\s+(?:readonly )?(\w+)\??:/gm)].map(([, member = ""]) => member);
}

describe("client/README.md", () => {
  test.each([
    ["WeirClient", 0, ["ClientOptions"]],
    ["A single request", 0, ["CallOptions"]],
    ["produce", 0, ["ProduceOptions"]],
    ["Producer", 0, ["ProducerOptions"]],
    ["Consumer", 0, ["ConsumerOptions", "CommonOptions", "IntakeOptions"]],
    ["consumeOnce", 0, ["ConsumeOnceOptions"]],
    ["messages()", 0, ["MessagesOptions", "IntakeOptions"]],
    ["Events and counters", 0, ["ConsumerEvents"]],
    ["Events and counters", 1, ["ConsumerCounters"]],
  ])("%s: table %i has what there is, and nothing else", (heading, number, types) => {
    const members = types.map(membersOf);
    for (const [i, found] of members.entries()) expect(found.length, types[i]).toBeGreaterThan(0);
    const told = (tablesBelow(heading)[number] ?? []).flatMap(([first]) => namesIn(first));
    expect(told.sort()).toEqual([...new Set(members.flat())].sort());
  });

  test("the table of errors has each class, and each code under the class that is thrown for it", () => {
    const classes = Object.entries(client).filter(
      ([, value]) =>
        typeof value === "function" && (value === client.WeirError || value.prototype instanceof client.WeirError),
    );
    const rows = tablesBelow("Errors")[0] ?? [];
    expect(rows.flatMap(([name]) => namesIn(name)).sort()).toEqual(classes.map(([name]) => name).sort());
    const own = ["no-answer", "unexpected-answer", "lease-lost", "processing-timeout", "stopped", "closed"];
    const codes = rows.flatMap(([, cell]) => namesIn(cell));
    expect(codes.sort()).toEqual([...Object.keys(ERROR_CODES), ...own].sort());
    for (const code of own) expect(sources).toContain(`| "${code}"`);
    for (const [name, cell] of rows) {
      for (const code of namesIn(cell).filter(isProblemCode)) {
        const problem = { type: "", title: "", detail: "", code, status: ERROR_CODES[code].status };
        expect(client.errorOf(problem, "", undefined).constructor.name, code).toBe(namesIn(name)[0]);
      }
    }
  });

  test("it stays short: at most 900 words beside its tables", () => {
    const words = readme
      .replaceAll(/^\|.*$/gm, "")
      .split(/\s+/)
      .filter(Boolean).length;
    expect(words).toBeGreaterThan(300);
    expect(words).toBeLessThanOrEqual(900);
  });
});
