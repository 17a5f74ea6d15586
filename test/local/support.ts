// What the tests of the local stack share.
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A folder of its own and how to remove it. */
export async function temporaryDir(): Promise<{ dir: string; remove: () => Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), "weir-test-"));
  return { dir, remove: () => rm(dir, { recursive: true, force: true }) };
}

/** What a probe answers as long as there is nothing yet. */
type Missing = undefined | false;

/** Waits until `probe` answers something other than undefined or false; fails after `timeoutMs`. */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | Missing> | T | Missing,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  while (true) {
    const found = await probe();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    await sleep(20);
  }
}

/** What the endpoint answered: the status, the headers and the parsed body. */
export type Answer = { status: number; headers: Headers; body: unknown };

/** Sends to an endpoint as Upstash's client does. */
export async function post(
  endpoint: { url: string; token: string },
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const authorization = `Bearer ${endpoint.token}`;
  const response = await fetch(endpoint.url + path, {
    method: "POST",
    body: text,
    headers: { authorization, ...headers },
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

/** Whether a process runs; one that has ended and waits to be reaped does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false;
    throw error;
  }
  return !existsSync(`/proc/${pid}/stat`) || !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
}
