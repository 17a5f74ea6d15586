import { readFileSync } from "node:fs";
import { glob } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { describe, expect, test } from "vitest";

interface Import {
  /** A path from the top of the repository, or a package's name as it is written. */
  readonly from: string;
  readonly isLocal: boolean;
  readonly isTypeOnly: boolean;
}

const FOLDERS = ["functions", "scheduled", "shared", "client", "console", "local", "bench", "test"];
const files = await Array.fromAsync(
  glob(`{${FOLDERS.join(",")}}/**/*.{ts,tsx}`, { exclude: (name) => /(^|\/)(node_modules|dist)$/.test(name) }),
);
const sources = new Map(files.sort().map((file) => [file, importsOf(file)]));

/** What a file imports, by `import ... from`, `export ... from`, `import "..."` and `import(...)`. */
function importsOf(file: string): Import[] {
  const text = readFileSync(file, "utf8");
  const statements = text.matchAll(/^(?:import|export)\s(?:([^"';]*?)\sfrom\s+)?"([^"]+)"(?: with \{[^}]*\})?;?$/gm);
  const dynamic = text.matchAll(/\bimport\(\s*"([^"]+)"\s*\)/g);
  return [
    ...[...statements].map(([, names = "", from = ""]) => toImport(file, from, isTypesOnly(names))),
    ...[...dynamic].map(([, from = ""]) => toImport(file, from, false)),
  ];
}

/** `type { A }`, or `{ type A, type B }`: nothing of it is there when the program runs. */
function isTypesOnly(names: string): boolean {
  if (/^type\s/.test(names)) return true;
  const list = /^\{([^}]*)\}$/.exec(names.trim())?.[1];
  return list?.split(",").every((name) => name.trim() === "" || /^type\s/.test(name.trim())) ?? false;
}

function toImport(file: string, from: string, isTypeOnly: boolean): Import {
  const isLocal = from.startsWith(".");
  return { from: isLocal ? normalize(join(dirname(file), from)) : from, isLocal, isTypeOnly };
}

/** Every import of files below `folder` that `isWrong`, as "file -> import". */
function violations(folder: string, isWrong: (one: Import, file: string) => boolean): string[] {
  return [...sources]
    .filter(([file]) => file.startsWith(folder))
    .flatMap(([file, imports]) => imports.filter((one) => isWrong(one, file)).map(({ from }) => `${file} -> ${from}`));
}

const goesTo =
  (...folders: string[]) =>
  ({ from, isLocal }: Import) =>
    isLocal && folders.some((folder) => from.startsWith(folder));

const leaves =
  (...folders: string[]) =>
  (one: Import) =>
    one.isLocal && !goesTo(...folders)(one);

const isHonoOrWorkers = ({ from }: Import) => /^(hono|@hono\/|cloudflare:|@cloudflare\/|wrangler|workerd)/.test(from);

describe("imports go one way", () => {
  test("and this test reads them all", () => {
    expect(sources.size).toBeGreaterThan(50);
    expect(importsOf("functions/reap.ts").map(({ from }) => from)).toContain("scheduled/reaper.ts");
    expect(importsOf("shared/redis/tcp.ts")).toContainEqual({ from: "ioredis", isLocal: false, isTypeOnly: true });
    expect(importsOf("shared/redis/tcp.ts")).toContainEqual({ from: "ioredis", isLocal: false, isTypeOnly: false });
    for (const [file, imports] of sources) {
      // A line that imports and that the pattern above does not know would be a hole.
      const lines = readFileSync(file, "utf8").match(/^(?:import\s|\} from |export .* from )/gm) ?? [];
      expect(imports.length, file).toBeGreaterThanOrEqual(lines.filter((line) => !line.startsWith("}")).length);
    }
  });

  test("every local import names a file that is there", () => {
    const isMissing = ({ from, isLocal }: Import) => isLocal && from.endsWith(".ts") && !sources.has(from);
    expect(violations("", isMissing)).toEqual([]);
  });

  test("shared imports nothing but shared, and nothing of Hono or Workers", () => {
    expect(violations("shared/", leaves("shared/"))).toEqual([]);
    expect(violations("shared/", isHonoOrWorkers)).toEqual([]);
  });

  test("shared says nothing of HTTP: no route, no status", () => {
    const texts = [...sources.keys()]
      .filter((file) => file.startsWith("shared/"))
      .map((file) => readFileSync(file, "utf8"));
    for (const text of texts) expect(text).not.toMatch(/\/v1\/|\/hooks\/|\bstatus: [1-5]\d\d\b|HTTP status/);
  });

  test("the transport knows nothing above it", () => {
    expect(
      violations("shared/redis/", goesTo("shared/stream/", "shared/scripts/", "shared/push/", "shared/reaper/")),
    ).toEqual([]);
  });

  test("scripts know nothing of streams, and their parts nothing but parts", () => {
    expect(violations("shared/scripts/", goesTo("shared/stream/", "shared/push/", "shared/reaper/"))).toEqual([]);
    expect(violations("shared/scripts/parts/", leaves("shared/scripts/parts/", "shared/redis/script.ts"))).toEqual([]);
  });

  test("the stream module knows nothing of push and reaper, which stand on it", () => {
    expect(violations("shared/stream/", goesTo("shared/push/", "shared/reaper/"))).toEqual([]);
    expect(violations("shared/push/", goesTo("shared/reaper/"))).toEqual([]);
    expect(violations("shared/reaper/", goesTo("shared/push/"))).toEqual([]);
  });

  test("only the transport's adapters import a Redis client", () => {
    const isClient = ({ from }: Import) => from === "ioredis" || from.startsWith("@upstash/redis");
    const adapters = ["shared/redis/tcp.ts", "shared/redis/upstash.ts", "shared/redis/cluster.ts"];
    for (const folder of ["functions/", "scheduled/", "shared/"]) {
      expect(violations(folder, (one, file) => isClient(one) && !adapters.includes(file))).toEqual([]);
    }
  });

  test("what every route uses knows no route, and no page", () => {
    expect(
      violations(
        "functions/http/",
        leaves("functions/http/", "functions/context.ts", "functions/log.ts", "shared/", "client/wire.ts"),
      ),
    ).toEqual([]);
  });

  test("rooms of functions do not know each other: routes, webhooks, server", () => {
    const rooms = ["functions/routes/", "functions/webhooks/", "functions/server/"];
    for (const room of rooms) {
      const others = rooms.filter((other) => other !== room);
      expect(violations(room, goesTo(...others))).toEqual([]);
      // One file a resource: what two of them share has its place in http/.
      if (room === "functions/routes/") expect(violations(room, goesTo(room))).toEqual([]);
    }
    expect(violations("functions/docs/", goesTo(...rooms))).toEqual([]);
  });

  test("only one file of functions knows scheduled jobs, and they know nothing of functions", () => {
    const knowsJobs = goesTo("scheduled/");
    expect(violations("functions/", (one, file) => knowsJobs(one) && file !== "functions/reap.ts")).toEqual([]);
    expect(violations("scheduled/", leaves("scheduled/", "shared/"))).toEqual([]);
    expect(violations("scheduled/", isHonoOrWorkers)).toEqual([]);
  });

  test("the server's code imports nothing of the local stack, the client, the console, benchmarks or tests", () => {
    const isOutside = goesTo("local/", "client/", "console/", "bench/", "test/");
    for (const folder of ["functions/", "scheduled/", "shared/"]) {
      // The types of the wire are the client's; the server's schemas are checked against them.
      const isOwn = ({ from, isTypeOnly }: Import) => isTypeOnly && from === "client/wire.ts";
      expect(violations(folder, (one) => isOutside(one) && !isOwn(one))).toEqual([]);
    }
  });

  test("the client imports nothing of the server, not even a type, and the console nothing but the client", () => {
    expect(violations("client/", leaves("client/"))).toEqual([]);
    const isTypesOfSchemas = ({ from, isTypeOnly }: Import) => isTypeOnly && from === "@standard-schema/spec";
    expect(violations("client/", (one) => !one.isLocal && !isTypesOfSchemas(one))).toEqual([]);
    expect(violations("console/", leaves("console/", "client/"))).toEqual([]);
  });
});

test("no file imports itself by way of others", () => {
  const cycles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, trail: readonly string[]): void => {
    const start = trail.indexOf(file);
    if (start !== -1) cycles.push([...trail.slice(start), file].join(" -> "));
    if (start !== -1 || done.has(file)) return;
    for (const { from, isLocal, isTypeOnly } of sources.get(file) ?? []) {
      if (isLocal && !isTypeOnly) visit(from, [...trail, file]);
    }
    done.add(file);
  };
  for (const file of sources.keys()) visit(file, []);
  expect(cycles).toEqual([]);
});
