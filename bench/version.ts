// A version of Weir to be measured: the folder of its sources, and its bundle.
import { execFile } from "node:child_process";
import { mkdir, readFile, stat, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

const run = promisify(execFile);

export const PROJECT = dirname(import.meta.dirname);

export interface Version {
  /** "" for the one that this checkout holds, "@<ref>" for another. */
  label: string;
  commit: string;
  root: string;
  bundle: string;
  bundleBytes: number;
  bundleGzipBytes: number;
}

export async function currentVersion(dir: string): Promise<Version> {
  const { stdout } = await run("git", ["status", "--porcelain", "--", "functions", "scheduled", "shared"], {
    cwd: PROJECT,
  });
  const commit = await commitOf("HEAD");
  return build(PROJECT, join(dir, "bundle"), "", stdout === "" ? commit : `${commit} and uncommitted changes`);
}

/**
 * Checks a ref out into a worktree of its own, with this checkout's packages.
 * @returns the version, and what takes the worktree away again
 * @throws Error when there is no such ref, or it cannot be built
 */
export async function otherVersion(ref: string, dir: string): Promise<{ version: Version; remove(): Promise<void> }> {
  const root = join(dir, "against");
  const commit = await commitOf(ref);
  await run("git", ["worktree", "add", "--detach", root, commit], { cwd: PROJECT });
  const remove = async () => {
    await run("git", ["worktree", "remove", "--force", root], { cwd: PROJECT });
  };
  try {
    await symlink(join(PROJECT, "node_modules"), join(root, "node_modules"));
    return {
      version: await build(root, join(dir, "against-bundle"), `@${/^[0-9a-f]{12,}$/.test(ref) ? commit : ref}`, commit),
      remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function commitOf(ref: string): Promise<string> {
  const { stdout } = await run("git", ["rev-parse", "--short", `${ref}^{commit}`], { cwd: PROJECT });
  return stdout.trim();
}

/**
 * The bundle of this checkout as a profile can be read from it.
 * @returns its path; each module's text follows a line `// <the module's path>`
 */
export async function readableBundle(dir: string): Promise<string> {
  return bundleInto(join(dir, "readable-bundle"), PROJECT, ["--no-minify"]);
}

async function build(root: string, outDir: string, label: string, commit: string): Promise<Version> {
  const bundle = await bundleInto(outDir, root);
  const { size } = await stat(bundle);
  const bundleGzipBytes = gzipSync(await readFile(bundle)).length;
  return { label, commit, root, bundle, bundleBytes: size, bundleGzipBytes };
}

async function bundleInto(outDir: string, root: string, options: readonly string[] = []): Promise<string> {
  await mkdir(outDir, { recursive: true });
  const wrangler = join(PROJECT, "node_modules", "wrangler", "wrangler-dist", "cli.js");
  const quiet = { WRANGLER_SEND_METRICS: "false", WRANGLER_HIDE_BANNER: "true" };
  const config = join(root, "wrangler.toml");
  const args = [wrangler, "deploy", "--dry-run", "--config", config, "--outdir", outDir, ...options];
  await run(process.execPath, args, { cwd: root, env: { ...process.env, ...quiet } });
  return join(outDir, "index.js");
}
