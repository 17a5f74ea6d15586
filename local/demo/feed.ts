// The producer: GitHub, as far as Weir can tell. Each payload is posted by itself, signed, under a delivery id of its own.

import { sign } from "@octokit/webhooks-methods";
import type { Progress } from "../progress.ts";
import type { StreamApi } from "./api.ts";
import { Problem } from "./http.ts";
import { deliveryOf, type Tally } from "./tally.ts";
import type { Webhook, WebhookApi } from "./webhook-api.ts";

/** GitHub does not wait for one answer before it posts the next webhook. */
const AT_ONCE = 16;

/**
 * Posts all webhooks, then one that was tampered with on its way, and one a second time.
 *
 * @throws Error when the tampered one was taken, or the repeated one was appended again
 */
export async function feed(
  hooks: WebhookApi,
  api: StreamApi,
  webhooks: readonly Webhook[],
  tally: Tally,
  progress: Progress,
): Promise<void> {
  const counted = hooks.countedBy(tally.producing);
  for (let from = 0; from < webhooks.length; from += AT_ONCE) {
    await Promise.all(
      webhooks.slice(from, from + AT_ONCE).map(async (one) => counted.post(one, await signature(hooks, one))),
    );
  }
  const [first] = webhooks;
  if (first !== undefined) {
    await tamper(hooks, first, progress);
    await repeat(hooks, api, first, progress);
  }
  const messages = await api.messages();
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
      if (error instanceof Problem) return error.code;
      throw error;
    },
  );
  if (refused !== "bad-signature") throw new Error(`a webhook that was tampered with was ${refused}`);
  progress.say("tampered with one on its way: refused, bad-signature");
}

/** As GitHub does when it never saw the answer, or when somebody clicks "Redeliver". */
async function repeat(hooks: WebhookApi, api: StreamApi, webhook: Webhook, progress: Progress): Promise<void> {
  const before = await api.length();
  await hooks.post(webhook, await signature(hooks, webhook));
  if ((await api.length()) !== before) throw new Error("a webhook that came again was appended again");
  progress.say("posted one again: the same answer, nothing appended");
}
