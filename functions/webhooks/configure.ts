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
import { forgetDeliveries } from "./forget.ts";

/**
 * Makes a source, or changes its settings.
 * @param allow throws unless the caller may administer that stream
 * @throws {WeirError} `invalid-request` when something is missing or does not fit, `unknown-stream`, `conflict`
 */
export async function configure(
  context: RequestContext,
  name: string,
  patch: WebhookPatch,
  allow: (stream: string) => void,
): Promise<{ created: boolean; source: WebhookSource }> {
  const { redis, config, webhooks } = context;
  if (patch.stream !== undefined) allow(patch.stream);
  const { created, before, source } = await configureSource(redis, config.keyPrefix, name, async (known) => {
    if (known !== undefined) allow(known.stream);
    const next = changed(name, known, patch);
    await requireStream(openStream(redis, config.keyPrefix, next.stream));
    return next;
  });
  webhooks.forget(name);
  const isElsewhere = before?.stream !== source.stream || before.dedupeWindowMs !== source.dedupeWindowMs;
  if (before !== undefined && isElsewhere) await forgetDeliveries(context, before);
  return { created, source };
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

/** Deletes a source, with all that is remembered of it. */
export async function remove(context: RequestContext, source: WebhookSource): Promise<void> {
  const { redis, config, webhooks } = context;
  await deleteSource(redis, config.keyPrefix, source.name);
  webhooks.forget(source.name);
  await forgetDeliveries(context, source);
}
