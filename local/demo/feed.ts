// The producer: GitHub, as far as Weir can tell. Each payload is posted by itself, signed, under a delivery id of its own.

import { sign } from "@octokit/webhooks-methods";
import type { StreamClient } from "../../client/index.ts";
import type { Progress } from "../progress.ts";
import { deliveryOf, type Tally } from "./tally.ts";
import { Refused, type Webhook, type WebhookApi } from "./webhook-api.ts";

/** GitHub does not wait for one answer before it posts the next webhook. */
const AT_ONCE = 16;

/**
 * Posts all webhooks, then one that was tampered with on its way, and one a second time.
 *
 * @throws Error when the tampered one was taken, or the repeated one was appended again
 */
export async function feed(
  hooks: WebhookApi,
  stream: StreamClient,
  webhooks: readonly Webhook[],
  tally: Tally,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  for (let from = 0; from < webhooks.length; from += AT_ONCE) {
    await Promise.all(
      webhooks
        .slice(from, from + AT_ONCE)
        .map(async (one) => hooks.post(one, await signature(hooks, one), tally.producing)),
    );
  }
  const [first] = webhooks;
  if (first !== undefined) {
    await tamper(hooks, first, progress);
    await repeat(hooks, stream, first, progress, signal);
  }
  const messages = await stream.messages({}, { signal }).toArray();
  if (messages.length !== webhooks.length) {
    throw new Error(`posted ${webhooks.length} webhooks, the stream holds ${messages.length} messages`);
  }
  tally.produced(new Map(messages.map((message) => [deliveryOf(message), message.id])), webhooks);
  progress.say(`posted ${webhooks.length} signed webhooks; the stream holds ${messages.length} messages`);
}

function signature({ secret }: WebhookApi, { body }: Webhook): Promise<string> {
  return sign(secret, body);
}

/** Somebody adds a space to what GitHub has signed. */
async function tamper(hooks: WebhookApi, webhook: Webhook, progress: Progress): Promise<void> {
  const other = { ...webhook, body: `${webhook.body} `, delivery: `${webhook.delivery}-tampered` };
  const refused = await hooks.post(other, await signature(hooks, webhook)).then(
    () => "taken",
    (error: unknown) => {
      if (error instanceof Refused) return error.code;
      throw error;
    },
  );
  if (refused !== "bad-signature") throw new Error(`a webhook that was tampered with was ${refused}`);
  progress.say("tampered with one on its way: refused, bad-signature");
}

/** As GitHub does when it never saw the answer, or when somebody clicks "Redeliver". */
async function repeat(
  hooks: WebhookApi,
  stream: StreamClient,
  webhook: Webhook,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const before = await stream.get({ signal });
  await hooks.post(webhook, await signature(hooks, webhook));
  const after = await stream.get({ signal });
  if (after.length !== before.length) throw new Error("a webhook that came again was appended again");
  progress.say("posted one again: the same answer, nothing appended");
}
