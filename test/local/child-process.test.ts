import { expect, test } from "vitest";
import { exitText, startProgram } from "../../local/child-process.ts";
import { isAlive } from "../support/processes.ts";
import { eventually } from "../support/wait.ts";

const shell = (script: string, more: { hasChildren?: boolean; stopTimeoutMs?: number } = {}) =>
  startProgram("/bin/sh", { args: ["-c", script], stopTimeoutMs: 5_000, ...more });

test("a program's end is told in words, with the last lines that it said", async () => {
  const program = shell("for i in $(seq 100); do echo line $i; done; echo last words >&2; exit 3");
  expect(exitText(await program.exited)).toBe("exit code 3");
  await eventually("the last line", () => program.lastOutput().includes("last words"));
  expect(program.lastOutput().split("\n")).toHaveLength(40);
  expect(program.exit).toEqual({ code: 3, signal: null });
});

test("one that cannot be started has ended, and says why", async () => {
  const program = startProgram("/no/such/program", { args: [], stopTimeoutMs: 100 });
  expect(exitText(await program.exited)).toBe("exit code unknown");
  expect(program.lastOutput()).toContain("ENOENT");
  await program.stop();
});

test("one that does not end when asked is killed", async () => {
  const program = shell("trap '' TERM; echo ready; while :; do sleep 0.1; done", { stopTimeoutMs: 100 });
  await eventually("it runs", () => program.lastOutput().includes("ready"));
  await program.stop();
  expect(exitText(await program.exited)).toBe("signal SIGKILL");
});

test("what it started is ended with it", async () => {
  const program = shell("sleep 60 & echo $!; wait", { hasChildren: true });
  const child = await eventually("its child", () => Number(program.lastOutput()) || undefined);
  expect(isAlive(child)).toBe(true);
  await program.stop();
  await eventually("its child is gone", () => !isAlive(child));
});
