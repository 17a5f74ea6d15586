import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../local/ports.ts";
import { type Stack, startStack } from "../../local/stack.ts";

let dir = "";
let stack: Stack | undefined;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "weir-readme-"));
  const port = await freePort();
  const options = {
    reaperIntervalMs: 60_000,
    rootToken: "weir-local",
    transport: "rest" as const,
    log: () => undefined,
  };
  stack = await startStack({ dir, port, ...options });
});

afterAll(async () => {
  await stack?.stop();
  await rm(dir, { recursive: true, force: true });
});

/** The console blocks behind the sentence that says they are run: each command with the answer that follows it. */
async function transcriptIn(page: string): Promise<{ command: string; answer: string }[]> {
  const [, run = ""] = (await readFile(page, "utf8")).split("are run by a test):");
  const blocks = [...run.matchAll(/^```console\n([\s\S]*?)^```/gm)].map(([, block = ""]) => block);
  return blocks
    .join("")
    .split(/^\$ /m)
    .slice(1)
    .map((part) => {
      const [command = "", ...answer] = part.trimEnd().split("\n");
      return { command, answer: answer.join("\n") };
    });
}

test.each(["README.md", "docs/getting-started.md"])("the transcript of %s answers as it says", async (page) => {
  const steps = await transcriptIn(page);
  expect(steps.length).toBeGreaterThan(5);
  const mark = "--- next ---";
  // Aliases are off in scripts; one shell for all, since a later line uses a variable of an earlier one.
  const script = ["shopt -s expand_aliases", ...steps.flatMap(({ command }) => [command, `echo; echo '${mark}'`])].join(
    "\n",
  );
  const local = script.replaceAll("http://127.0.0.1:8787", stack?.url ?? "");
  const { stdout } = await promisify(execFile)("bash", ["-c", local], { cwd: dir });
  const answers = stdout.split(mark).map((text) => text.trim());
  for (const [i, { command, answer }] of steps.entries()) {
    // "…" stands for what differs from run to run.
    const pattern = answer
      .split("…")
      .map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"))
      .join(".+");
    expect(answers[i], command).toMatch(new RegExp(`^${pattern}$`));
  }
});
