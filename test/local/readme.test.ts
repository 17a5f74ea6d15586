import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../local/ports.ts";
import { type Stack, startStack } from "../../local/stack.ts";
import { SETTINGS } from "../../shared/config.ts";

const readme = await readFile("README.md", "utf8");
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

/** The console block after the sentence that says it is run: each command with the answer that follows it. */
function transcript(): { command: string; answer: string }[] {
  const block = /are run by a test\):\n\n```console\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
  return block
    .split(/^\$ /m)
    .slice(1)
    .map((part) => {
      const [command = "", ...answer] = part.trimEnd().split("\n");
      return { command, answer: answer.join("\n") };
    });
}

test("the README's transcript answers as it says", async () => {
  const steps = transcript();
  expect(steps.length).toBeGreaterThan(5);
  const mark = "--- next ---";
  // Aliases are off in scripts; one shell for all, since a later line uses a variable of an earlier one.
  const script = ["shopt -s expand_aliases", ...steps.flatMap(({ command }) => [command, `echo; echo '${mark}'`])].join(
    "\n",
  );
  const local = script.replaceAll("http://127.0.0.1:8787", stack?.url ?? "");
  const { stdout } = await promisify(execFile)("bash", ["-c", local], { cwd: dir });
  const answers = stdout.split(mark).map((text) => text.trim());
  for (const [i, { answer }] of steps.entries()) {
    // "…" stands for what differs from run to run.
    const pattern = answer
      .split("…")
      .map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"))
      .join(".+");
    expect(answers[i]).toMatch(new RegExp(`^${pattern}$`));
  }
});

test("the README's table of settings is the one that is parsed", () => {
  for (const [name, { default: fallback, about }] of Object.entries(SETTINGS)) {
    const shown = fallback.startsWith("(") ? fallback.slice(1, -1) : `\`${fallback}\``;
    expect(readme).toContain(`| \`${name}\` | ${shown} | ${about} |`);
  }
});
