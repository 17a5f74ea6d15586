// `npm run demo`: real webhooks through Weir, with consumers that crash, and a count of what arrived.
import { randomUUID } from "node:crypto";
import { AccessError, NoAnswerError, UnexpectedAnswerError } from "../client/index.ts";
import { connect } from "./demo/connect.ts";
import { githubWebhooks, maxMessageBytesFor } from "./demo/payloads.ts";
import { play, type Result } from "./demo/scenario.ts";
import { table } from "./demo/table.ts";
import { nothingMissing } from "./demo/tally.ts";
import { openTarget, type Target } from "./demo/target.ts";
import { unlessNotFound, WebhookApi } from "./demo/webhook-api.ts";
import { Progress } from "./progress.ts";
import { INTERRUPTED, Interrupted, interruptible } from "./signals.ts";

const CLEAN_UP_TIMEOUT_MS = 10_000;

/** Why all of it is called off. */
const stopping = interruptible();

process.exitCode = await main();
// Done: what a library still holds open must not keep the terminal waiting.
process.exit();

async function main(): Promise<number> {
  const progress = new Progress(process.stdout);
  try {
    const target = await openTarget(process.env, progress, stopping.signal);
    void target.failed.then((what) => stopping.abort(new Error(what)));
    return await run(target, progress)
      .catch((error: unknown) => {
        throw explained(error, target);
      })
      .finally(() => target.close());
  } catch (error) {
    progress.end();
    const cause: unknown = stopping.signal.aborted ? stopping.signal.reason : error;
    console.error(cause instanceof Error ? cause.message : String(cause));
    return cause instanceof Interrupted ? INTERRUPTED : 1;
  }
}

async function run(target: Target, progress: Progress): Promise<number> {
  // A name of its own, so that it can run again and again beside whatever else is there.
  const name = `demo-webhooks-${randomUUID().slice(0, 8)}`;
  const webhooks = await githubWebhooks();
  const { signal } = stopping;
  const stream = connect(target).stream(name);
  const hooks = new WebhookApi(target, target.webhookSecret, signal);
  progress.say(`${webhooks.length} real webhooks into ${name} at ${target.url}`);
  // The first request: whether a Weir is there is to be told at once.
  await stream.put({ maxMessageBytes: maxMessageBytesFor(webhooks) }, { signal, retry: 0 });
  let isDeleted = false;
  let isComplete = false;
  let hasSource = false;
  try {
    await hooks.create(name);
    hasSource = true;
    const result = await play({ endpoint: target, stream, hooks, webhooks, progress, signal });
    isComplete = report(result, progress);
  } finally {
    isDeleted = await cleanUp(target, name, hasSource);
  }
  return isComplete && isDeleted ? 0 : 1;
}

/** Never throws, so that the first fault is the one reported. */
async function cleanUp(target: Target, name: string, hasSource: boolean): Promise<boolean> {
  try {
    // Also when all is called off: so not by that signal.
    const signal = AbortSignal.timeout(CLEAN_UP_TIMEOUT_MS);
    if (hasSource) await new WebhookApi(target, target.webhookSecret, signal).delete();
    await unlessNotFound(connect(target).stream(name).delete({ signal }));
    return true;
  } catch (error) {
    console.error(`stream ${name} was not deleted: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  }
}

/** @returns whether all is well */
function report(result: Result, progress: Progress): boolean {
  const { outcomes } = result;
  progress.end();
  console.log(`\n${table(result).join("\n")}\n`);
  const lost = [...outcomes].flatMap(([group, outcome]) => outcome.lost.map((id) => `${id} lost in ${group}`));
  for (const line of lost.slice(0, 20)) console.log(progress.colour("red", line));
  const complete = nothingMissing(outcomes.values());
  const verdict = complete ? "Every message arrived in every group." : "NOT every message arrived in every group.";
  console.log(progress.colour(complete ? "green" : "red", verdict));
  return complete;
}

/** With what to do about it. */
function explained(error: unknown, { url }: Target): unknown {
  const { message } = error instanceof Error ? error : { message: "" };
  if (error instanceof NoAnswerError) return new Error(`${message}. Is Weir running there? "npm start" starts one.`);
  if (error instanceof UnexpectedAnswerError) return new Error(`${message}. Is it Weir that runs at ${url}?`);
  if (error instanceof AccessError) return new Error(`${message}. Set ROOT_TOKEN to the root token of ${url}.`);
  return error;
}
