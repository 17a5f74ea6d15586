import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

export interface TemporaryFolder {
  readonly dir: string;
  remove(): Promise<void>;
}

/** A folder for a whole file or `describe`. */
export async function temporaryFolder(): Promise<TemporaryFolder> {
  const dir = await mkdtemp(join(tmpdir(), "weir-test-"));
  return { dir, remove: () => rm(dir, { recursive: true, force: true }) };
}

/** A folder that is gone with the test. */
export async function temporaryDir(): Promise<string> {
  const { dir, remove } = await temporaryFolder();
  onTestFinished(remove);
  return dir;
}
