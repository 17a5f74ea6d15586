// The real input: example payloads of GitHub's webhooks, as the package @octokit/webhooks-examples has collected them.
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { NewMessage } from "./api.ts";
import { asList, asObject, asText } from "./json.ts";

/**
 * Every payload of the package as a message, in the package's order.
 *
 * @throws Error when the package is not installed
 */
export async function webhookMessages(): Promise<NewMessage[]> {
  const file = fileURLToPath(import.meta.resolve("@octokit/webhooks-examples"));
  const events = asList(JSON.parse(await readFile(file, "utf8")), "the package's content");
  return events.flatMap((value) => {
    const event = asObject(value, "an event");
    const name = asText(event.name, "an event's name");
    return asList(event.examples, `the examples of ${name}`).map((payload) => toMessage(name, payload));
  });
}

/** As a receiver of webhooks would: GitHub sends event and delivery id as headers, the rest in the payload. */
function toMessage(event: string, data: unknown): NewMessage {
  const { action, repository } = asObject(data, `a payload of ${event}`);
  const key = repositoryName(repository);
  return {
    type: typeof action === "string" ? `${event}.${action}` : event,
    ...(key === undefined ? {} : { key }),
    attributes: { delivery: randomUUID() },
    data,
  };
}

function repositoryName(repository: unknown): string | undefined {
  if (typeof repository !== "object" || repository === null || !("full_name" in repository)) return undefined;
  return typeof repository.full_name === "string" && repository.full_name !== "" ? repository.full_name : undefined;
}

const LEAST_MAX_MESSAGE_BYTES = 64 * 1024;

/** A `maxMessageBytes` that lets all of them in: Weir's default, or more when the largest needs it. */
export function maxMessageBytesFor(messages: readonly NewMessage[]): number {
  const largest = Math.max(...messages.map((message) => Buffer.byteLength(JSON.stringify(message))));
  return Math.max(LEAST_MAX_MESSAGE_BYTES, largest);
}
