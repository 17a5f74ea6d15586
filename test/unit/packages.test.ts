import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { glob } from "node:fs/promises";
import { expect, test } from "vitest";

interface Manifest {
  readonly dependencies: Record<string, string>;
  readonly devDependencies: Record<string, string>;
}

const manifestOf = (folder: string): Manifest => JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));

const manifest = manifestOf(".");
const client = manifestOf("client");

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
  // Types of Node: any of the major version that is pinned.
  const { "@types/node": _, ...development } = manifest.devDependencies;
  const all = [manifest.dependencies, development, client.dependencies, client.devDependencies];
  for (const [name, version] of all.flatMap(Object.entries)) expect(version, name).toMatch(/^\d+\.\d+\.\d+$/);
});

test("the client brings nothing along but types", () => {
  expect(Object.keys(client.dependencies)).toEqual(["@standard-schema/spec"]);
});

test.each([
  ["scripts run on the pinned Node", "node_modules", manifest],
  ["the client's own Node is the oldest that it supports", "client/node_modules", client],
])("%s: neither shadows the other", (_, folder, { devDependencies }) => {
  const version = execFileSync(`${folder}/.bin/node`, ["--version"], { encoding: "utf8" });
  expect(version.trim()).toBe(`v${devDependencies.node}`);
});
