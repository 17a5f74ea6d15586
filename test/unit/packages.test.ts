import { readFileSync } from "node:fs";
import { glob } from "node:fs/promises";
import { expect, test } from "vitest";

const manifest: { dependencies: Record<string, string>; devDependencies: Record<string, string> } = JSON.parse(
  readFileSync("package.json", "utf8"),
);

const files = await Array.fromAsync(glob("{functions,scheduled,shared}/**/*.ts"));

/** The packages that a file imports while it runs. */
function packagesOf(file: string): string[] {
  const text = readFileSync(file, "utf8");
  const imported = text.matchAll(
    /^(?:import|export)\s(?!type\s)[^"']*?from "([^".][^"]*)"|\bimport\("([^".][^"]*)"\)/gm,
  );
  return [...imported]
    .map(([, from = "", dynamic = from]) => dynamic)
    .filter((from) => !from.startsWith("node:"))
    .map((from) => from.split("/", from.startsWith("@") ? 2 : 1).join("/"));
}

test("what runs in production is installed without development packages, and nothing else is", () => {
  const used = new Set(files.flatMap(packagesOf));
  expect([...used].sort()).toEqual(Object.keys(manifest.dependencies).sort());
});

test("every package is pinned to one version", () => {
  const { dependencies, devDependencies } = manifest;
  // Types of Node: any of the major version that is pinned.
  const { "@types/node": _, ...pinned } = { ...dependencies, ...devDependencies };
  for (const [name, version] of Object.entries(pinned)) expect(version, name).toMatch(/^\d+\.\d+\.\d+$/);
});
