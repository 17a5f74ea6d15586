import type { Mapping } from "../../functions/webhooks/mapping.ts";
import { PROVIDERS, type ProviderName } from "../../functions/webhooks/providers.ts";
import type { WebhookRequest } from "../../functions/webhooks/webhook-request.ts";
import type { WebhookSample } from "./webhook-samples.ts";

/** Samples as the code that reads webhooks takes them. */

export function requestOf(sample: WebhookSample): WebhookRequest {
  const { method, url, headers, body } = sample;
  return { method, url, headers: new Headers(headers), body: new TextEncoder().encode(body) };
}

export function mappingOf(provider: ProviderName, sample: WebhookSample, changes: Partial<Mapping> = {}): Mapping {
  const scheme = sample.scheme ?? PROVIDERS[provider].scheme;
  if (scheme === null) throw new Error(`the sample of ${provider} has no scheme`);
  return { source: "s1", provider: PROVIDERS[provider], scheme, typePrefix: "", key: null, ...changes };
}
