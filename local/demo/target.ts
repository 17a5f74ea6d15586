// The Weir that the demo runs against: one that is there, or a stack of its own.
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../ports.ts";
import type { Progress } from "../progress.ts";
import { startStack } from "../stack.ts";
import type { Endpoint } from "./connect.ts";
import { SECRET_NAME } from "./webhook-api.ts";

/** `failed` settles, with what happened, only when an own stack ends too early. */
export interface Target extends Endpoint {
  /** What its webhooks are signed with. */
  readonly webhookSecret: string;
  close(): Promise<void>;
  readonly failed: Promise<string>;
}

/** How often the reaper of an own stack runs: a few times during the demo. */
const REAPER_INTERVAL_MS = 2_000;

/**
 * Finds the target: `WEIR_URL` with `ROOT_TOKEN` and `WEBHOOK_SECRET_DEMO` names a running one, else one is started in a
 * temporary folder.
 *
 * @param env usually process.env
 * @throws Error when WEIR_URL is no URL, or the stack does not start; the signal's reason
 */
export async function openTarget(env: NodeJS.ProcessEnv, progress: Progress, signal: AbortSignal): Promise<Target> {
  const log = (line: string) => progress.say(line);
  if (!env.WEIR_URL) {
    progress.say("starting Redis and a Weir in a temporary folder");
    return ownStack(log, signal);
  }
  if (!/^https?:\/\/[^/]/.test(env.WEIR_URL) || !URL.canParse(env.WEIR_URL)) {
    throw new Error("WEIR_URL must be an http:// or https:// URL");
  }
  const url = env.WEIR_URL.replace(/\/+$/, "");
  // What `npm start` takes by default.
  const token = env.ROOT_TOKEN || "weir-local";
  const webhookSecret = env[SECRET_NAME];
  if (!webhookSecret)
    throw new Error(`set ${SECRET_NAME} here and for the Weir at ${url}: the demo signs webhooks with it`);
  return { url, token, webhookSecret, log, close: async () => undefined, failed: new Promise(() => undefined) };
}

async function ownStack(log: (line: string) => void, signal: AbortSignal): Promise<Target> {
  const dir = await mkdtemp(join(tmpdir(), "weir-demo-"));
  const remove = () => rm(dir, { recursive: true, force: true });
  const [token, webhookSecret] = [randomUUID(), randomUUID()];
  try {
    const stack = await startStack({
      dir,
      port: await freePort(),
      rootToken: token,
      reaperIntervalMs: REAPER_INTERVAL_MS,
      transport: "rest",
      vars: { [SECRET_NAME]: webhookSecret },
      log,
      signal,
    });
    return { url: stack.url, token, webhookSecret, log, failed: stack.failed, close: () => stack.stop().then(remove) };
  } catch (error) {
    await remove();
    throw error;
  }
}
