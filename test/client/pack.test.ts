import { execFile } from "node:child_process";
import { cp, glob, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestHarness, type TestHarness } from "wrangler";
import { type TemporaryFolder, temporaryFolder } from "../support/folder.ts";
import { uniquePrefix } from "../support/redis.ts";
import { ROOT_TOKEN, workerVars } from "../support/worker.ts";

/** What users get: packed, installed into a folder outside of the repository, and used from there. */

const run = promisify(execFile);
let folder: TemporaryFolder;
let app = "";
let installed = "";
let harness: TestHarness | undefined;
let weirUrl = "";

beforeAll(async () => {
  folder = await temporaryFolder();
  app = join(folder.dir, "app");
  installed = join(app, "node_modules/weir-client");
  await installPack();
  // As its users do: compiled once, and what comes out runs everywhere.
  await compile(["round-trip.ts"], { lib: ["es2022"], types: ["node"], module: "nodenext", noEmit: false });
  harness = createTestHarness({
    workers: [
      { configPath: "wrangler.toml", vars: { ...workerVars("rest"), ROOT_TOKEN, KEY_PREFIX: uniquePrefix() } },
      { configPath: join(app, "wrangler.toml"), vars: { WEIR_TOKEN: ROOT_TOKEN } },
    ],
  });
  weirUrl = (await harness.listen()).url.href;
});
afterAll(() => harness?.close());
afterAll(() => folder.remove());

/**
 * By npm, from tarballs alone: its dependency is packed from what is installed here. So nothing is asked of a registry, and
 * nothing has to be in npm's cache, which a machine that was handed its node_modules lacks.
 */
async function installPack(): Promise<void> {
  const npm = (...args: string[]) =>
    run("npm", [...args, "--offline", "--no-audit", "--no-fund", "--cache", join(folder.dir, "cache")]);
  await npm("pack", "--workspace", "weir-client", "--pack-destination", folder.dir);
  await npm("pack", "./node_modules/@standard-schema/spec", "--pack-destination", folder.dir);
  const packs = (await readdir(folder.dir)).filter((file) => file.endsWith(".tgz"));
  await cp("test/client/fixtures/pack", app, { recursive: true });
  await writeFile(join(app, "package.json"), '{ "private": true, "type": "module" }');
  await npm("install", "--prefix", app, ...packs.map((file) => join(folder.dir, file)));
  // Types of the runtimes, which users have beside it.
  await mkdir(join(app, "node_modules/@types"), { recursive: true });
  await symlink(resolve("node_modules/@types/node"), join(app, "node_modules/@types/node"));
  await symlink(resolve("node_modules/@cloudflare"), join(app, "node_modules/@cloudflare"));
}

interface Settings {
  readonly lib: readonly string[];
  readonly types: readonly string[];
  readonly module: string;
  readonly moduleResolution?: string;
  readonly noEmit?: boolean;
}

/** @throws {Error} with what the compiler says, when it finds anything wrong, in the package's types too */
async function compile(files: readonly string[], settings: Settings): Promise<void> {
  const config = join(app, "tsconfig.json");
  const compilerOptions = { target: "es2022", strict: true, skipLibCheck: false, noEmit: true, ...settings };
  await writeFile(config, JSON.stringify({ compilerOptions, files }));
  await run(process.execPath, ["node_modules/typescript/bin/tsc", "-p", config]).catch(({ stdout }) => {
    throw new Error(stdout);
  });
}

test("the package holds what was built of each source, a README and the license, and nothing else", async () => {
  const sources = await Array.fromAsync(glob("{*,consumer/*}.ts", { cwd: "client" }));
  const built = sources.flatMap((file) => [".js", ".d.ts"].map((end) => `dist/${file.replace(/\.ts$/, end)}`));
  const files = await Array.fromAsync(glob("**/*.*", { cwd: installed }));
  expect([...files, "LICENSE"].sort()).toEqual(["LICENSE", "README.md", "package.json", ...built].sort());
  expect(await readFile(join(installed, "LICENSE"), "utf8")).toBe(await readFile("LICENSE", "utf8"));
});

test("it brings types of @standard-schema/spec along, and no other package", async () => {
  expect((await readdir(join(app, "node_modules"))).filter((name) => !name.startsWith(".")).sort()).toEqual([
    "@cloudflare",
    "@standard-schema",
    "@types",
    "weir-client",
  ]);
  expect(await readdir(join(app, "node_modules/@standard-schema"))).toEqual(["spec"]);
});

test("its modules import each other, and nothing of Node or of any package", async () => {
  const modules = await Array.fromAsync(glob("dist/**/*.js", { cwd: installed }), async (file) => ({
    file,
    text: await readFile(join(installed, file), "utf8"),
  }));
  // As tsc writes them: a line each.
  const imported = modules.flatMap(({ text }) => [...text.matchAll(/^(?:im|ex)port (?:.* from )?"(.*)";$/gm)]);
  expect(imported.length).toBeGreaterThan(modules.length);
  for (const [statement, from] of imported) expect(from, statement).toMatch(/^\.{1,2}\/(?:consumer\/)?[a-z-]+\.js$/);
  for (const { file, text } of modules) expect(text, file).not.toMatch(/\b(?:import|require)\(/);
});

const ORDERS = [{ total: 12.5 }, { total: 7 }, { total: 1 }];
const FINISHED = [0, 0, 0, 0];

/** Checks what test/client/fixtures/pack/round-trip.ts answers. */
function checkRoundTrip({ produced, listed, ...answer }: Record<string, unknown>): void {
  expect(answer).toEqual({
    code: "unknown-stream",
    byHand: [3, ...ORDERS],
    byConsumer: [0, ...ORDERS],
    byLoop: ORDERS,
    once: [3, true, ...ORDERS],
    left: [FINISHED, FINISHED, FINISHED, FINISHED],
  });
  expect(listed).toHaveLength(ORDERS.length);
  expect(listed).toEqual(produced);
}

test.each([
  [24, process.execPath],
  [20, "client/node_modules/.bin/node"],
])("it runs in Node %i", async (major, node) => {
  const { stdout } = await run(node, [join(app, "node.js"), weirUrl, ROOT_TOKEN, `node-${major}`]);
  const { version, ...answer } = JSON.parse(stdout);
  expect(version).toMatch(new RegExp(`^v${major}\\.`));
  checkRoundTrip(answer);
});

test("it runs in a Worker without nodejs_compat, and reaches Weir through a service binding", async () => {
  const answer = await harness?.getWorker("packed").fetch("http://packed/from-a-worker");
  expect(answer?.status).toBe(200);
  checkRoundTrip(JSON.parse((await answer?.text()) ?? ""));
});

const RESOLUTIONS = [
  { module: "esnext", moduleResolution: "bundler" },
  { module: "node16", moduleResolution: "node16" },
  { module: "nodenext", moduleResolution: "nodenext" },
];

const RUNTIMES = [
  { runtime: "browsers", lib: ["es2022", "dom"], types: [], files: [] },
  { runtime: "Node", lib: ["es2022"], types: ["node"], files: [] },
  { runtime: "Workers", lib: ["es2022"], types: ["@cloudflare/workers-types"], files: ["binding.ts"] },
];

test.each(RESOLUTIONS.flatMap((one) => RUNTIMES.map((other) => ({ ...one, ...other }))))(
  "its types hold, and bite, for $runtime by $moduleResolution",
  ({ module, moduleResolution, lib, types, files }) =>
    compile(["round-trip.ts", "types.ts", ...files], { module, moduleResolution, lib, types }),
);
