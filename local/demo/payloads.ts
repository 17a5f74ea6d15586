// The real input: example payloads of GitHub's webhooks, as the package @octokit/webhooks-examples has collected them.
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import * as z from "zod";
import type { Webhook } from "./webhook-api.ts";

/** What the package holds. */
const Events = z.array(z.object({ name: z.string(), examples: z.array(z.unknown()) }));

/**
 * Every payload of the package as GitHub would post it, in the package's order.
 *
 * @throws Error when the package is not installed
 */
export async function githubWebhooks(): Promise<Webhook[]> {
  const file = fileURLToPath(import.meta.resolve("@octokit/webhooks-examples"));
  const events = Events.parse(JSON.parse(await readFile(file, "utf8")));
  return events.flatMap(({ name: event, examples }) =>
    examples.map((payload) => ({ event, delivery: randomUUID(), body: JSON.stringify(payload) })),
  );
}

const LEAST_MAX_MESSAGE_BYTES = 64 * 1024;
/** What the headers, the type and the key of a message may take. */
const SPARE_BYTES = 4 * 1024;

/** A `maxMessageBytes` that lets all of them in: Weir's default, or more when the largest needs it. */
export function maxMessageBytesFor(webhooks: readonly Webhook[]): number {
  const largest = Math.max(...webhooks.map(({ body }) => Buffer.byteLength(body)));
  return Math.max(LEAST_MAX_MESSAGE_BYTES, largest + SPARE_BYTES);
}
