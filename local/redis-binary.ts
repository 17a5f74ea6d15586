// Where a redis-server comes from when nobody has installed one: PATH, else a copy in this project's cache, else
// Debian's own packages unpacked into that cache. No npm package carries a maintained Redis binary.
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { access, cp, mkdir, readdir, rename, rm, symlink } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** A Redis server program, and the folder of its shared libraries when they are not installed in the system. */
export interface RedisBinary {
  path: string;
  libraryPath?: string;
}

const CACHE_DIR = join(dirname(import.meta.dirname), ".cache");

/** Weir reads XAUTOCLAIM's third element and XINFO's `lag`, which Redis has since 7.0. */
const MIN_MAJOR = 7;

/** The server itself is in redis-tools: redis-check-rdb is the same program, told apart by the name it is called by. */
const BASE_PACKAGES = ["redis-tools", "libjemalloc2", "liblzf1", "libatomic1"];

/** Libraries that most Debians have but a bare one may not. */
const PACKAGE_OF_LIBRARY: ReadonlyArray<[prefix: string, name: string]> = [
  ["libssl.", "libssl3"],
  ["libcrypto.", "libssl3"],
  ["libsystemd.", "libsystemd0"],
  ["libcap.", "libcap2"],
  ["libgcrypt.", "libgcrypt20"],
  ["libgpg-error.", "libgpg-error0"],
  ["liblzma.", "liblzma5"],
  ["libzstd.", "libzstd1"],
  ["liblz4.", "liblz4-1"],
  ["libstdc++.", "libstdc++6"],
  ["libgcc_s.", "libgcc-s1"],
];

/**
 * Finds a Redis (or Valkey) server of version 7.0 or newer: on the PATH, in `.cache/redis`, or by unpacking Debian's
 * packages there, which needs apt-get but neither root nor an installation.
 *
 * @returns the program, with `libraryPath` for `LD_LIBRARY_PATH` when it is the unpacked copy
 * @throws Error that says how to install Redis on this platform
 */
export async function findRedisServer(): Promise<RedisBinary> {
  const installed = await onPath(["redis-server", "valkey-server"]);
  if (installed) return installed;
  const cached = copyIn(join(CACHE_DIR, "redis"));
  if (await isExecutable(cached.path)) return cached;
  if (process.platform !== "linux" || !(await onPath(["apt-get"], false))) throw new Error(howToInstall());
  try {
    return await unpackDebianPackages();
  } catch (error) {
    throw new Error(`${howToInstall()}\n(Unpacking Debian's packages was tried: ${firstLines(error)})`, {
      cause: error,
    });
  }
}

function copyIn(dir: string): { path: string; libraryPath: string } {
  return { path: join(dir, "bin", "redis-server"), libraryPath: join(dir, "lib") };
}

async function onPath(names: string[], checkVersion = true): Promise<RedisBinary | undefined> {
  const dirs = (process.env.PATH ?? "").split(delimiter).filter((dir) => dir !== "");
  for (const name of names) {
    for (const dir of dirs) {
      const path = join(dir, name);
      if (!(await isExecutable(path))) continue;
      if (!checkVersion || (await majorVersion({ path })) >= MIN_MAJOR) return { path };
    }
  }
  return undefined;
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** 0 when the program does not say, so that something unusable counts as too old. */
async function majorVersion(binary: RedisBinary): Promise<number> {
  const said = await run(binary.path, ["--version"], { env: environmentFor(binary) }).catch(() => ({ stdout: "" }));
  return Number(/\bv=(\d+)\./.exec(said.stdout)?.[1] ?? 0);
}

/**
 * The environment to run `binary` in: this process' own, with the copy's libraries first.
 *
 * @param binary as `findRedisServer` returns it
 */
export function environmentFor(binary: RedisBinary): NodeJS.ProcessEnv {
  if (binary.libraryPath === undefined) return process.env;
  const inherited = process.env.LD_LIBRARY_PATH;
  const path = inherited ? `${binary.libraryPath}${delimiter}${inherited}` : binary.libraryPath;
  return { ...process.env, LD_LIBRARY_PATH: path };
}

/** Builds in a folder of its own and renames it into place: two processes may do this at once, the later one yields. */
async function unpackDebianPackages(): Promise<RedisBinary> {
  const building = join(CACHE_DIR, `redis-${process.pid}-${randomUUID()}`);
  await mkdir(join(building, "debs"), { recursive: true });
  try {
    const apt = new AptDownloads(building);
    await apt.unpack(BASE_PACKAGES);
    await assemble(building);
    await apt.unpack(await missingPackages(copyIn(building)));
    await assemble(building);
    if ((await majorVersion(copyIn(building))) < MIN_MAJOR) throw new Error("the unpacked server does not run");
    return await moveIntoPlace(building);
  } finally {
    await rm(building, { recursive: true, force: true });
  }
}

/** Everything apt writes stays below `dir`: the system's package state is neither needed nor touched. */
class AptDownloads {
  #options: string[] = [];
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  async unpack(packages: string[]): Promise<void> {
    if (packages.length === 0) return;
    const debs = join(this.#dir, "debs");
    await this.#download(packages, debs);
    for (const deb of await readdir(debs)) await run("dpkg-deb", ["-x", join(debs, deb), join(this.#dir, "root")]);
  }

  /** A container image often ships without package lists; then they are fetched, into `dir`. */
  async #download(packages: string[], into: string): Promise<void> {
    const args = ["download", ...packages];
    try {
      await run("apt-get", [...this.#options, ...args], { cwd: into });
    } catch (error) {
      if (this.#options.length > 0) throw error;
      await this.#updateLists();
      await run("apt-get", [...this.#options, ...args], { cwd: into });
    }
  }

  async #updateLists(): Promise<void> {
    const lists = join(this.#dir, "lists");
    const cache = join(this.#dir, "cache");
    await mkdir(join(lists, "partial"), { recursive: true });
    await mkdir(join(cache, "archives", "partial"), { recursive: true });
    this.#options = ["-o", `Dir::State::lists=${lists}`, "-o", `Dir::Cache=${cache}`];
    // As root apt drops to the user _apt, who may not write here.
    if (process.getuid?.() === 0) this.#options.push("-o", "APT::Sandbox::User=root");
    await run("apt-get", [...this.#options, "update"]);
  }
}

/** Makes bin/ and lib/ out of what dpkg unpacked into root/, whose library folder is named after the architecture. */
async function assemble(dir: string): Promise<void> {
  const { libraryPath } = copyIn(dir);
  await mkdir(join(dir, "bin"), { recursive: true });
  await cp(join(dir, "root", "usr", "bin", "redis-check-rdb"), join(dir, "bin", "redis-check-rdb"));
  await symlink("redis-check-rdb", join(dir, "bin", "redis-server")).catch(unlessItExists);
  for (const lib of [join(dir, "root", "usr", "lib"), join(dir, "root", "lib")]) {
    for (const entry of await readdir(lib).catch(() => [])) {
      if (entry.includes("-linux-gnu")) {
        await cp(join(lib, entry), libraryPath, { recursive: true, verbatimSymlinks: true });
      }
    }
  }
}

async function missingPackages(binary: RedisBinary): Promise<string[]> {
  const { stdout } = await run("ldd", [binary.path], { env: environmentFor(binary) });
  const missing = [...stdout.matchAll(/^\s*(\S+) => not found/gm)].map((match) => match[1] ?? "");
  const packages = missing.flatMap((lib) => PACKAGE_OF_LIBRARY.filter(([prefix]) => lib.startsWith(prefix)));
  return [...new Set(packages.map(([, name]) => name))];
}

async function moveIntoPlace(building: string): Promise<RedisBinary> {
  const target = join(CACHE_DIR, "redis");
  for (const leftover of ["debs", "root", "lists", "cache"]) {
    await rm(join(building, leftover), { recursive: true, force: true });
  }
  try {
    await rename(building, target);
  } catch (error) {
    // A folder that is not empty is not replaced: another process was first, and its copy is as good.
    if (!(await isExecutable(copyIn(target).path))) throw error;
  }
  return copyIn(target);
}

function unlessItExists(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}

function firstLines(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).trim().split("\n").slice(0, 4).join(" | ");
}

function howToInstall(): string {
  const wanted = `Weir needs a redis-server (or valkey-server) of version ${MIN_MAJOR}.0 or newer, and found none.`;
  const ways =
    process.platform === "darwin"
      ? ["brew install redis"]
      : ["Debian, Ubuntu: sudo apt-get install redis-server", "Fedora: sudo dnf install valkey"];
  const anywhere = "any system with Docker: docker run -d -p 127.0.0.1:6379:6379 redis:8, then set REDIS_URL";
  return [wanted, ...ways, anywhere, "or set REDIS_URL to a Redis that is there, redis://127.0.0.1:6379"].join("\n  ");
}
