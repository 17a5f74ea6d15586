import { requireStream } from "../../shared/stream/missing.ts";
import { openStream } from "../../shared/stream/stream.ts";
import {
  configureSource,
  deleteSource,
  patched,
  type WebhookPatch,
  type WebhookSource,
} from "../../shared/stream/webhook-sources.ts";
import type { RequestContext } from "../context.ts";
import { invalidRequest } from "../http/validate.ts";

/**
 * Makes a source, or changes its settings.
 * @param allow throws unless the caller may administer that stream; undefined: all streams
 * @throws {WeirError} `invalid-request` when something is missing or does not fit, `unknown-stream`, `conflict`
 */
export async function configure(
  { redis, config, webhooks }: RequestContext,
  name: string,
  patch: WebhookPatch,
  allow: (stream: string | undefined) => void,
): Promise<{ created: boolean; source: WebhookSource }> {
  if (patch.stream !== undefined) allow(patch.stream);
  const configured = await configureSource(redis, config.keyPrefix, name, async (stored) => {
    // Whose it is that cannot be read, nobody knows.
    if (stored !== undefined) allow(stored.source?.stream);
    const next = changed(name, stored?.source, patch);
    await requireStream(openStream(redis, config.keyPrefix, next.stream));
    return next;
  });
  webhooks.forget(name);
  return configured;
}

function changed(name: string, before: WebhookSource | undefined, patch: WebhookPatch): WebhookSource {
  const stream = patch.stream ?? before?.stream;
  const provider = patch.provider ?? before?.provider;
  if (stream === undefined || provider === undefined) {
    const missing = Object.entries({ stream, provider }).filter(([, value]) => value === undefined);
    throw invalidRequest(
      missing.map(([path]) => ({ path, message: "expected it, since there is no such source yet" })),
    );
  }
  // Another provider needs another scheme, or none.
  const known = before?.provider === provider ? before : before && { ...before, scheme: null };
  const source = patched(known, { ...patch, stream, provider }, name);
  if ((provider === "generic") === (source.scheme !== null)) return source;
  const message =
    provider === "generic"
      ? "expected one, since the provider is generic"
      : "expected none, since the provider has its own";
  throw invalidRequest([{ path: "scheme", message }]);
}

/** Deletes a source: what it remembers ends by itself. */
export async function remove({ redis, config, webhooks }: RequestContext, source: WebhookSource): Promise<void> {
  webhooks.forget(source.name);
  await deleteSource(redis, config.keyPrefix, source);
}
