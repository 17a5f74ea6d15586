import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { glob, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../local/ports.ts";
import { type Stack, startStack } from "../../local/stack.ts";
import { eventually } from "../support/wait.ts";

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
    vars: {
      WEBHOOK_SECRET_GITHUB: "hush",
      WEBHOOK_SECRET_STRIPE: "whsec_test",
      WEBHOOK_SECRET_SLACK: "8f742231b10e8888abcd99yyyzzz85a5",
    },
  };
  stack = await startStack({ dir, port, ...options });
});

afterAll(async () => {
  await stack?.stop();
  await rm(dir, { recursive: true, force: true });
});

const MARK = "are run by a test):";

/** The pages that say so. */
const pages: string[] = [];
for await (const page of glob("{*.md,docs/*.md}")) {
  if ((await readFile(page, "utf8")).includes(MARK)) pages.push(page);
}

/** The console blocks behind that sentence: each command with the answer that follows it. */
async function transcriptIn(page: string): Promise<{ command: string; answer: string }[]> {
  const [, run = ""] = (await readFile(page, "utf8")).split(MARK);
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

test("the README, getting started, consuming, CloudEvents and webhooks have transcripts", () => {
  expect(pages.sort()).toEqual([
    "README.md",
    "docs/cloudevents.md",
    "docs/consuming.md",
    "docs/getting-started.md",
    "docs/webhooks.md",
  ]);
});

test.each(pages)("the transcript of %s answers as it says", async (page) => {
  const steps = await transcriptIn(page);
  expect(steps.length).toBeGreaterThan(5);
  const mark = "--- next ---";
  // Aliases are off in scripts; one shell for all, since a later line uses a variable of an earlier one.
  const script = ["shopt -s expand_aliases", ...steps.flatMap(({ command }) => [command, `echo; echo '${mark}'`])].join(
    "\n",
  );
  const [told, here] = ["http://127.0.0.1:8787", stack?.url ?? ""];
  const local = script.replaceAll(told, here);
  const { stdout } = await promisify(execFile)("bash", ["-c", local], { cwd: dir });
  const answers = stdout
    .replaceAll(here, told)
    .split(mark)
    .map((text) => text.trim());
  for (const [i, { command, answer }] of steps.entries()) {
    // "…" stands for what differs from run to run.
    const pattern = answer
      .split("…")
      .map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"))
      .join(".+");
    expect(answers[i], command).toMatch(new RegExp(`^${pattern}$`));
  }
});

/** Consumers of the stream `parcels`, in the pages that show them. */
const consumers = [
  { program: "consumer.ts", command: process.execPath, pages: ["docs/getting-started.md", "client/README.md"] },
  { program: "plain-consumer.ts", command: process.execPath, pages: ["docs/consuming.md"] },
  { program: "consumer.py", command: "python3", pages: ["docs/consuming.md"] },
];
const pathOf = (program: string) => `test/local/fixtures/${program}`;

const call = async (method: string, path: string, body?: unknown) => {
  const headers = { authorization: "Bearer weir-local", "content-type": "application/json" };
  const url = `${stack?.url}/v1/streams/parcels${path}`;
  return (await fetch(url, { method, headers, body: JSON.stringify(body) })).text();
};

test.each(consumers)("$pages show the $program that is run here", async ({ program, pages }) => {
  const text = (await readFile(pathOf(program), "utf8")).trimEnd();
  const shown = text.replace('"../../../client/index.ts"', '"weir-client"');
  for (const page of pages) expect(await readFile(page, "utf8")).toContain(`\n${shown}\n\`\`\`\n`);
});

// Not every machine has a Python; Node is always there.
const runnable = consumers.filter(({ command }) => spawnSync(command, ["--version"]).status === 0);

test.each(runnable)("$program handles and acknowledges what is there", async ({ program, command }) => {
  await call("PUT", "");
  await call("PUT", "/groups/label");
  await call("POST", "/messages", { messages: [{ data: { parcel: 3 } }, { data: { parcel: 4 } }] });

  const env = { ...process.env, WEIR_URL: stack?.url ?? "" };
  const consumer = spawn(command, [pathOf(program)], { env, stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(consumer, "close");
  let printed = "";
  consumer.stdout.on("data", (chunk) => {
    printed += chunk;
  });
  try {
    await eventually("both are acknowledged", async () => {
      const group = await call("GET", "/groups/label");
      return /"lag":0,"lagIs":"exact","pending":0,"delayed":0,/.test(group);
    });
    expect(printed).toMatch(/{"parcel": ?3}, delivery 1\n.*{"parcel": ?4}, delivery 1\n/);
  } finally {
    consumer.kill();
    await ended;
  }
});
