import { createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { answerHandshake, type HandshakeSettings } from "../../functions/webhooks/handshakes.ts";
import { PROVIDERS, type ProviderName } from "../../functions/webhooks/providers.ts";
import { verify } from "../../functions/webhooks/verify.ts";
import type { WebhookRequest } from "../../functions/webhooks/webhook-request.ts";
import { mappingOf, requestOf } from "../support/webhook-requests.ts";
import { newSecret, PROVIDER_NAMES, sampleOf } from "../support/webhook-samples.ts";

const nowMs = 1_790_000_000_000;
const toleranceMs = 300_000;
const url = "https://weir.example/hooks/s1";

function settings(secret: string | undefined, more: Partial<HandshakeSettings> = {}): HandshakeSettings {
  const secrets = secret === undefined ? undefined : { current: secret };
  return { secrets, verifyToken: undefined, nowMs, toleranceMs, ...more };
}

function asking(method: string, query: Record<string, string>, headers: Record<string, string> = {}): WebhookRequest {
  const search = new URLSearchParams(query).toString();
  return {
    method,
    url: search === "" ? url : `${url}?${search}`,
    headers: new Headers(headers),
    body: new Uint8Array(),
  };
}

async function signed(provider: ProviderName, body: string, secret = newSecret(provider)) {
  return { secret, request: requestOf(await sampleOf(provider, { nowMs, url, secret, body })) };
}

const answer = (provider: ProviderName, request: WebhookRequest, how: HandshakeSettings) =>
  answerHandshake(PROVIDERS[provider], request, how);

const NO_SNIFF = { "x-content-type-options": "nosniff" };
const PLAIN = { "content-type": "text/plain; charset=utf-8", ...NO_SNIFF };
const JSON_TYPE = { "content-type": "application/json", ...NO_SNIFF };

test.each(PROVIDER_NAMES)("a webhook of %s is no handshake, signed or not", async (name) => {
  const sample = await sampleOf(name, { nowMs, url });
  const request = requestOf(sample);
  expect(await answer(name, request, settings(sample.secret, { verifyToken: "t" }))).toBeUndefined();
  expect(await answer(name, { ...request, body: new Uint8Array() }, settings(undefined))).toBeUndefined();
  expect(await answer(name, asking("PUT", { "hub.mode": "subscribe", crc_token: "x" }), settings("x"))).toBeUndefined();
});

describe("Slack's url_verification", () => {
  const body = JSON.stringify({
    token: "Jhj5dZrVaK7ZwHHjRyZWjbDl",
    challenge: "3eZbrw1aBm2rZgRNFdxV2595",
    type: "url_verification",
  });

  test("is verified, and its challenge comes back", async () => {
    const { request, secret } = await signed("slack", body);
    const expected = { status: 200, headers: PLAIN, body: "3eZbrw1aBm2rZgRNFdxV2595" };
    expect(await answer("slack", request, settings(secret))).toEqual(expected);
    const rotating = { secrets: { current: newSecret("slack"), previous: secret } };
    expect(await answer("slack", request, settings(secret, rotating))).toEqual(expected);
  });

  test("is refused with another signature, without a secret, too late, and with a challenge that is none", async () => {
    const { request, secret } = await signed("slack", body);
    expect(await answer("slack", request, settings(newSecret("slack")))).toBe("refused");
    expect(await answer("slack", request, settings(undefined))).toBe("refused");
    expect(await answer("slack", request, settings(secret, { nowMs: nowMs + toleranceMs + 1_000 }))).toBe("refused");
    for (const challenge of ["<script>", "", "x".repeat(1_025), "a\nb", 7, null, {}]) {
      const spoilt = await signed("slack", JSON.stringify({ type: "url_verification", challenge }), secret);
      const told = await answer("slack", spoilt.request, settings(secret));
      expect(typeof told === "object" ? told.body : told).toBe(challenge === 7 ? "7" : "refused");
    }
  });
});

describe("Discord's pings", () => {
  test("of webhook events are verified and answered 204, of interactions with a pong", async () => {
    const event = await signed("discord", '{"version":1,"application_id":"1234560123453231555","type":0}');
    const nothing = { status: 204, headers: NO_SNIFF, body: null };
    expect(await answer("discord", event.request, settings(event.secret))).toEqual(nothing);
    const interaction = await signed("discord", '{"id":"1","token":"t","type":1,"version":1}');
    const pong = { status: 200, headers: JSON_TYPE, body: '{"type":1}' };
    expect(await answer("discord", interaction.request, settings(interaction.secret))).toEqual(pong);
  });

  test("are refused with a wrong signature, with which Discord tries every address", async () => {
    for (const body of ['{"type":0}', '{"type":1}']) {
      const { request } = await signed("discord", body);
      expect(await answer("discord", request, settings(newSecret("discord")))).toBe("refused");
    }
  });
});

describe("X's challenge-response check", () => {
  test("is answered with its HMAC by the current secret", async () => {
    const response_token = `sha256=${createHmac("sha256", "s3cret").update("Y2hhbGxlbmdl").digest("base64")}`;
    const told = await answer("x", asking("GET", { crc_token: "Y2hhbGxlbmdl", nonce: "n" }), settings("s3cret"));
    expect(told).toEqual({ status: 200, headers: JSON_TYPE, body: JSON.stringify({ response_token }) });
  });

  test("is refused without a secret, and for tokens of another form", async () => {
    expect(await answer("x", asking("GET", { crc_token: "abc" }), settings(undefined))).toBe("refused");
    expect(await answer("x", asking("GET", { crc_token: "abc" }), settings(""))).toBe("refused");
    for (const token of ["", '{"a":1}', "a b", "a:b", "x".repeat(513), "é", "a\n"]) {
      expect(await answer("x", asking("GET", { crc_token: token }), settings("s3cret")), token).toBe("refused");
    }
  });

  test("signs nothing that would pass as a webhook", async () => {
    const { scheme } = mappingOf("x", await sampleOf("x", { nowMs, url }));
    for (const token of ["abc", "123", "null", "true", "Y2hhbGxlbmdl=="]) {
      const told = await answer("x", asking("GET", { crc_token: token }), settings("s3cret"));
      const parsed: unknown = JSON.parse(typeof told === "object" ? (told.body ?? "") : "");
      const headers = new Headers({ "x-twitter-webhooks-signature": Object(parsed).response_token });
      const request = { method: "POST", url, headers, body: new TextEncoder().encode(token) };
      expect(await verify(scheme, request, { current: "s3cret" }, null)).toMatchObject({ isVerified: false });
    }
  });
});

describe("Meta's verification", () => {
  const query = { "hub.mode": "subscribe", "hub.verify_token": "agreed", "hub.challenge": "1158201444" };
  const agreed = settings(undefined, { verifyToken: "agreed" });

  test("gives the challenge back when the token is the one that was agreed on", async () => {
    const expected = { status: 200, headers: PLAIN, body: "1158201444" };
    expect(await answer("meta", asking("GET", query), agreed)).toEqual(expected);
  });

  test("is refused with another token, without one, and for challenges of another form", async () => {
    for (const token of ["agreed2", "agree", "", "AGREED", "ägreed"]) {
      expect(await answer("meta", asking("GET", { ...query, "hub.verify_token": token }), agreed)).toBe("refused");
    }
    expect(await answer("meta", asking("GET", query), settings("agreed"))).toBe("no-verify-token");
    const empty = settings(undefined, { verifyToken: "" });
    expect(await answer("meta", asking("GET", { ...query, "hub.verify_token": "" }), empty)).toBe("refused");
    expect(await answer("meta", asking("GET", { "hub.mode": "subscribe" }), agreed)).toBe("refused");
    for (const challenge of ["<b>", "", "x".repeat(513), "1 2"]) {
      expect(await answer("meta", asking("GET", { ...query, "hub.challenge": challenge }), agreed)).toBe("refused");
    }
  });

  test("is none with another mode", async () => {
    expect(await answer("meta", asking("GET", { ...query, "hub.mode": "unsubscribe" }), agreed)).toBeUndefined();
    expect(await answer("meta", asking("GET", {}), agreed)).toBeUndefined();
  });
});

describe("Microsoft Graph's validation", () => {
  const token = "Validation: Testing client application reachability for subscription Request-Id: 25460c3b-a9f4";

  test("gives the token back as plain text that no browser takes for a page", async () => {
    const told = await answer("microsoft-graph", asking("POST", { validationToken: token }), settings(undefined));
    expect(told).toEqual({ status: 200, headers: PLAIN, body: token });
    const page = "<script>alert(1)</script>";
    const asked = await answer("microsoft-graph", asking("POST", { validationToken: page }), settings("s"));
    expect(asked).toEqual({ status: 200, headers: PLAIN, body: page });
  });

  test("is refused for tokens that are too long or hold control characters", async () => {
    for (const validationToken of ["", "x".repeat(2_049), "a\r\nb", "\u0000"]) {
      expect(await answer("microsoft-graph", asking("POST", { validationToken }), settings("s"))).toBe("refused");
    }
    expect(await answer("microsoft-graph", asking("GET", { validationToken: token }), settings("s"))).toBeUndefined();
  });
});

describe("Zoom's url_validation", () => {
  const body = JSON.stringify({
    payload: { plainToken: "qgg8vlvZRS6UYooatFL8Aw" },
    event_ts: nowMs,
    event: "endpoint.url_validation",
  });

  test("is verified, and answered with the token and its HMAC", async () => {
    const { request, secret } = await signed("zoom", body);
    const encryptedToken = createHmac("sha256", secret).update("qgg8vlvZRS6UYooatFL8Aw").digest("hex");
    const expected = JSON.stringify({ plainToken: "qgg8vlvZRS6UYooatFL8Aw", encryptedToken });
    expect(await answer("zoom", request, settings(secret))).toEqual({
      status: 200,
      headers: JSON_TYPE,
      body: expected,
    });
  });

  test("is refused unsigned, and signs nothing that looks like a webhook", async () => {
    const { request, secret } = await signed("zoom", body);
    expect(await answer("zoom", request, settings(newSecret("zoom")))).toBe("refused");
    expect(await answer("zoom", { ...request, headers: new Headers() }, settings(secret))).toBe("refused");
    const forged = { event: "endpoint.url_validation", payload: { plainToken: 'v0:1790000000:{"event":"x"}' } };
    const asked = await signed("zoom", JSON.stringify(forged), secret);
    expect(await answer("zoom", asked.request, settings(secret))).toBe("refused");
  });
});

test("Intercom's HEAD is answered", async () => {
  const told = await answer("intercom", asking("HEAD", {}), settings(undefined));
  expect(told).toEqual({ status: 200, headers: NO_SNIFF, body: null });
});

describe("CloudEvents' question who may send", () => {
  test.each(["generic", "standard-webhooks"] as const)("is answered for %s", async (name) => {
    const request = asking("OPTIONS", {}, { "WebHook-Request-Origin": "eventemitter.example.com" });
    const headers = {
      allow: "POST",
      "webhook-allowed-origin": "eventemitter.example.com",
      "webhook-allowed-rate": "*",
    };
    expect(await answer(name, request, settings(undefined))).toEqual({ status: 200, headers, body: null });
  });

  test("is refused for what is no name of a host, and is none without one", async () => {
    for (const origin of ["a b", "x".repeat(254), "<b>", "a,b"]) {
      const request = asking("OPTIONS", {}, { "webhook-request-origin": origin });
      expect(await answer("generic", request, settings(undefined))).toBe("refused");
    }
    expect(await answer("generic", asking("OPTIONS", {}), settings(undefined))).toBeUndefined();
  });
});

test("a large body is no handshake, whatever it says", async () => {
  const { request, secret } = await signed("slack", `{"type":"url_verification","challenge":"c"}${" ".repeat(17_000)}`);
  expect(await answer("slack", request, settings(secret))).toBeUndefined();
});
