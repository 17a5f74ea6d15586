import { access, glob, readFile } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { describe, expect, test } from "vitest";
import { SETTINGS } from "../../shared/config.ts";

const paths = await Array.fromAsync(glob("{*.md,client/*.md,docs/**/*.md}"));
const pages = new Map(
  await Promise.all(paths.sort().map(async (path) => [path, await readFile(path, "utf8")] as const)),
);

const { scripts } = JSON.parse(await readFile("package.json", "utf8"));

/** Paths that a command makes. */
const MADE = new Set(["bench/results/"]);

/** As GitHub makes a heading's anchor. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
}

function anchorsIn(page: string): string[] {
  return [...(pages.get(page) ?? "").matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) => anchorOf(heading));
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

describe("documentation", () => {
  test.each([...pages.keys()])("every link in %s leads somewhere", async (page) => {
    const text = (pages.get(page) ?? "").replaceAll(/^ *```[\s\S]*?^ *```/gm, "");
    const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = ""]) => link);
    const broken: string[] = [];
    for (const link of links.filter((link) => !/^https?:/.test(link))) {
      const [path = "", anchor] = link.split("#");
      const target = path === "" ? page : normalize(join(dirname(page), path));
      if (!(await isThere(target)) || (anchor !== undefined && !anchorsIn(target).includes(anchor))) broken.push(link);
    }
    expect(broken).toEqual([]);
  });

  test("the index names every page", () => {
    const index = pages.get("docs/README.md") ?? "";
    const others = [...pages.keys()].filter((page) => /^docs\/.*\.md$/.test(page) && page !== "docs/README.md");
    expect(others.length).toBeGreaterThan(9);
    expect(others.filter((page) => !index.includes(`(${page.replace("docs/", "")})`))).toEqual([]);
  });

  test("README.md stays a front page of at most 1,000 words", () => {
    expect((pages.get("README.md") ?? "").split(/\s+/).filter(Boolean).length).toBeLessThanOrEqual(1_000);
  });

  test.each([
    ["docs/production.md", "test/worker/fixtures/shop.ts"],
    ["docs/consuming.md", "test/client/fixtures/order-service.ts"],
    ["docs/consuming.md", "test/client/fixtures/cron.ts"],
  ])("%s shows %s, which is tested", async (page, path) => {
    const program = (await readFile(path, "utf8")).trimEnd().replace('"../../../client/index.ts"', '"weir-client"');
    expect(pages.get(page)).toContain(`\`\`\`ts\n${program}\n\`\`\`\n`);
  });

  test.each([...pages.keys()])("every npm script in %s is there", (page) => {
    const named = [...(pages.get(page) ?? "").matchAll(/\bnpm run ([\w:]+)/g)].map(([, name = ""]) => name);
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
  });

  test.each([...pages.keys()])("every path of the repository in %s is there", async (page) => {
    const paths = [
      ...(pages.get(page) ?? "").matchAll(/`((?:functions|scheduled|shared|client|local|test|bench|docs)\/[\w./-]*)`/g),
    ];
    const missing: string[] = [];
    for (const [, path = ""] of paths) if (!MADE.has(path) && !(await isThere(path))) missing.push(path);
    expect(missing).toEqual([]);
  });

  test("the table of settings is the one that is parsed", () => {
    for (const [name, { default: fallback, about }] of Object.entries(SETTINGS)) {
      const shown = fallback.startsWith("(") ? fallback.slice(1, -1) : `\`${fallback}\``;
      expect(pages.get("docs/configuration.md")).toContain(`| \`${name}\` | ${shown} | ${about} |`);
    }
  });
});
