import { describe, expect, test } from "vitest";
import { PROVIDERS, type ProviderName } from "../../functions/webhooks/providers.ts";
import { verify } from "../../functions/webhooks/verify.ts";
import type { WebhookRequest } from "../../functions/webhooks/webhook-request.ts";
import { newSecret, PROVIDER_NAMES, sampleOf } from "../support/webhook-samples.ts";

const nowMs = 1_790_000_000_000;
const url = "https://weir.example/hooks/s1";
const time = { nowMs, toleranceMs: 300_000 };
describe.each(PROVIDER_NAMES)("%s", (name) => {
  test("verified", async () => {
    const s = await sampleOf(name, { nowMs, url });
    const scheme = s.scheme ?? PROVIDERS[name].scheme;
    if (scheme === null) throw new Error("no scheme");
    const request: WebhookRequest = {
      method: s.method,
      url: s.url,
      headers: new Headers(s.headers),
      body: new TextEncoder().encode(s.body),
    };
    expect(await verify(scheme, request, { current: s.secret }, time)).toMatchObject({
      isVerified: true,
      secret: "current",
    });
    expect(await verify(scheme, request, { current: newSecret(name), previous: s.secret }, time)).toMatchObject({
      isVerified: true,
      secret: "previous",
    });
  });
});
