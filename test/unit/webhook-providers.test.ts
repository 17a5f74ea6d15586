import { Buffer } from "node:buffer";
import { EventWebhook } from "@sendgrid/eventwebhook";
import { verifyKey } from "discord-interactions";
import twilio from "twilio";
import { beforeAll, describe, expect, test } from "vitest";
import { identityOf, type Mapping, storedRequest, toMessage, verifyStored } from "../../functions/webhooks/mapping.ts";
import { PROVIDERS, type ProviderName } from "../../functions/webhooks/providers.ts";
import { hasPart, signedHeaders, signsUrl } from "../../functions/webhooks/scheme.ts";
import { type Verified, verify } from "../../functions/webhooks/verify.ts";
import type { WebhookRequest } from "../../functions/webhooks/webhook-request.ts";
import { encodeMessage, fieldMap, type NewMessage } from "../../shared/message.ts";
import { mappingOf, requestOf } from "../support/webhook-requests.ts";
import { newSecret, PROVIDER_NAMES, sampleOf, type WebhookSample } from "../support/webhook-samples.ts";

const nowMs = 1_790_000_000_000;
const toleranceMs = 300_000;
const time = { nowMs, toleranceMs };
const url = "https://weir.example/hooks/s1";
/** These send the secret itself, and sign nothing. */
const SHARED: readonly ProviderName[] = ["gitlab", "microsoft-graph"];

const fieldsOf = (message: NewMessage) => fieldMap(encodeMessage(message));

async function verified({ scheme }: Mapping, request: WebhookRequest, secret: string): Promise<Verified> {
  const verdict = await verify(scheme, request, { current: secret }, time);
  if (!verdict.isVerified) throw new Error(verdict.detail);
  return verdict;
}

/** The same request with another header; the text's character at that place is another one of its kind. */
function changed(text: string, at: number): string {
  const was = text.charAt(at);
  const other = /[0-9]/.test(was) ? (was === "1" ? "2" : "1") : was === "a" ? "b" : "a";
  return text.slice(0, at) + other + text.slice(at + 1);
}

function withHeader(request: WebhookRequest, name: string, value: string | undefined): WebhookRequest {
  const headers = new Headers(request.headers);
  if (value === undefined) headers.delete(name);
  else headers.set(name, value);
  return { ...request, headers };
}

describe.each(PROVIDER_NAMES)("a webhook of %s", (name) => {
  let sample: WebhookSample;
  let request: WebhookRequest;
  let mapping: Mapping;
  const isSigned = !SHARED.includes(name);

  beforeAll(async () => {
    sample = await sampleOf(name, { nowMs, url });
    request = requestOf(sample);
    mapping = mappingOf(name, sample);
  });

  test("is verified", async () => {
    const verdict = await verify(mapping.scheme, request, { current: sample.secret }, time);
    expect(verdict).toMatchObject({ isVerified: true, secret: "current" });
  });

  test("is verified with the previous secret while it is changed", async () => {
    const secrets = { current: newSecret(name), previous: sample.secret };
    expect(await verify(mapping.scheme, request, secrets, time)).toMatchObject({
      isVerified: true,
      secret: "previous",
    });
    const both = { current: sample.secret, previous: newSecret(name) };
    expect(await verify(mapping.scheme, request, both, time)).toMatchObject({ isVerified: true, secret: "current" });
  });

  test("is not verified with another secret, an empty one, or one of no known form", async () => {
    for (const current of [newSecret(name), "", "x", `${sample.secret}0`, "whsec_!", sample.secret.slice(1)]) {
      const verdict = await verify(mapping.scheme, request, { current, previous: newSecret(name) }, time);
      expect(verdict, current).toMatchObject({ isVerified: false, code: "bad-signature" });
    }
  });

  // Who sends the secret itself signs nothing.
  const testSigned = (name: string, check: () => Promise<void>) => (isSigned ? test(name, check) : undefined);

  testSigned("is not verified when a byte of its body was changed, added or left out", async () => {
    for (let at = 0; at < request.body.byteLength; at += 7) {
      const body = request.body.slice();
      body[at] = (body[at] ?? 0) ^ 1;
      const verdict = await verify(mapping.scheme, { ...request, body }, { current: sample.secret }, time);
      // Nothing of the request may be in it.
      if (verdict.isVerified) expect(`${at} of ${sample.body}`).toBe("refused");
    }
    for (const body of [
      request.body.slice(1),
      request.body.slice(0, -1),
      Buffer.concat([request.body, Buffer.of(65)]),
    ]) {
      const verdict = await verify(mapping.scheme, { ...request, body }, { current: sample.secret }, time);
      expect(verdict).toMatchObject({ isVerified: false, code: "bad-signature" });
    }
  });

  test("is not verified when a character of a header that counts was changed, or it is missing", async () => {
    const { scheme } = mapping;
    const names = scheme.algorithm === "shared-secret" ? ["x-gitlab-token"] : signedHeaders(scheme);
    for (const header of names) {
      const value = request.headers.get(header);
      if (value === null) continue;
      for (let at = 0; at < value.length; at++) {
        const other = withHeader(request, header, changed(value, at));
        const verdict = await verify(scheme, other, { current: sample.secret }, time);
        expect(verdict.isVerified, `${header}, ${at}`).toBe(false);
      }
      for (const other of [
        undefined,
        "",
        " ",
        value.slice(1),
        value.slice(0, -1),
        `${value}A`,
        "é",
        "v".repeat(5_000),
      ]) {
        const verdict = await verify(scheme, withHeader(request, header, other), { current: sample.secret }, time);
        expect(verdict, header).toMatchObject({ isVerified: false, code: "bad-signature" });
      }
    }
  });

  test("is not verified at another URL, or with another method, where those are signed", async () => {
    const { scheme } = mapping;
    const elsewhere = await verify(scheme, { ...request, url: `${url}2` }, { current: sample.secret }, time);
    expect(elsewhere.isVerified).toBe(!signsUrl(scheme));
    const put = await verify(scheme, { ...request, method: "PUT" }, { current: sample.secret }, time);
    expect(put.isVerified).toBe(!hasPart(scheme, "method"));
  });

  test("is stale outside the tolerance, in the past and in the future, and only if it is signed", async () => {
    const { scheme } = mapping;
    const { signedAtMs } = await verified(mapping, request, sample.secret);
    const isTimed = scheme.algorithm !== "shared-secret" && scheme.time !== undefined;
    expect(signedAtMs).toBe(isTimed ? nowMs : null);
    for (const offMs of [-toleranceMs - 1, toleranceMs + 1]) {
      const late = { nowMs: nowMs + offMs, toleranceMs };
      const verdict = await verify(scheme, request, { current: sample.secret }, late);
      expect(verdict).toMatchObject(isTimed ? { isVerified: false, code: "stale-webhook" } : { isVerified: true });
      expect(await verify(scheme, request, { current: newSecret(name) }, late)).toMatchObject({
        code: "bad-signature",
      });
    }
    for (const offMs of [-toleranceMs, toleranceMs]) {
      const inTime = { nowMs: nowMs + offMs, toleranceMs };
      expect(await verify(scheme, request, { current: sample.secret }, inTime)).toMatchObject({ isVerified: true });
    }
    expect(await verify(scheme, request, { current: sample.secret }, null)).toMatchObject({ isVerified: true });
  });

  test("becomes a message of its type, with the delivery's id, and no secret in it", async () => {
    const { expected, secret } = sample;
    const message = await toMessage(mapping, request, await verified(mapping, request, secret), { current: secret });
    expect(message.type ?? null).toBe(expected.type);
    expect(message.attributes?.["webhook-id"] ?? null).toBe(expected.deliveryId);
    expect(message.attributes?.["webhook-source"]).toBe("s1");
    expect(JSON.stringify(message)).not.toContain(secret);
    const prefixed = { ...mapping, typePrefix: "in." };
    const other = await toMessage(prefixed, request, await verified(mapping, request, secret), { current: secret });
    expect(other.type).toBe(`in.${expected.type}`);
  });

  test("is stored with the bytes that came", async () => {
    const { secret } = sample;
    const message = await toMessage(mapping, request, await verified(mapping, request, secret), { current: secret });
    const stored = storedRequest(mapping, fieldsOf(message));
    const came = Buffer.from(request.body).toString();
    expect(Buffer.from(stored.body).toString()).toBe(name === "microsoft-graph" ? came.replace(secret, "") : came);
  });

  test("is verified again as it is stored, years later, with either secret and no other", async () => {
    const { secret } = sample;
    const message = await toMessage(mapping, request, await verified(mapping, request, secret), { current: secret });
    const fields = fieldsOf(message);
    const other = newSecret(name);
    expect(await verifyStored(mapping, fields, { current: secret })).toMatchObject({
      isVerified: true,
      secret: "current",
    });
    const rotated = await verifyStored(mapping, fields, { current: other, previous: secret });
    expect(rotated).toMatchObject({ isVerified: true, secret: "previous" });
    expect(await verifyStored(mapping, fields, { current: other })).toMatchObject({ isVerified: false });
  });

  test("is not verified again when anything that counts was changed in Redis", async () => {
    const { secret } = sample;
    const message = await toMessage(mapping, request, await verified(mapping, request, secret), { current: secret });
    const fields = fieldsOf(message);
    const { scheme } = mapping;
    const proof = scheme.algorithm === "shared-secret" ? ["webhook-seal"] : signedHeaders(scheme);
    const urls = signsUrl(scheme) ? ["webhook-url"] : [];
    for (const field of ["data", ...proof, ...urls]) {
      const text = String(fields.get(field));
      for (const value of [changed(text, text.length - 3), "", Buffer.from([0xff, 0xfe]), "é\n"]) {
        const verdict = await verifyStored(mapping, new Map(fields).set(field, value), { current: secret });
        expect(verdict, field).toMatchObject({ isVerified: false, code: "bad-signature" });
      }
    }
    expect(await verifyStored(mapping, new Map(), { current: secret })).toMatchObject({ isVerified: false });
  });

  test("is known again by its id, or else by its signed time and body, or else not at all", async () => {
    const { secret, expected } = sample;
    const identity = await identityOf(mapping, request, await verified(mapping, request, secret));
    if (expected.deliveryId !== null) return expect(identity).toBe(`id:${expected.deliveryId}`);
    const isTimed = mapping.scheme.algorithm !== "shared-secret" && mapping.scheme.time !== undefined;
    if (!isTimed) return expect(identity).toBeUndefined();
    expect(identity).toMatch(new RegExp(`^at:${nowMs}:[0-9a-f]{64}$`));
    const later = await sampleOf(name, { nowMs: nowMs + 1_000, url });
    expect(await identityOf(mapping, requestOf(later), await verified(mapping, requestOf(later), secret))).not.toBe(
      identity,
    );
    const again = await sampleOf(name, { nowMs, url });
    expect(await identityOf(mapping, requestOf(again), await verified(mapping, requestOf(again), secret))).toBe(
      identity,
    );
  });

  test("is answered as the provider expects", () => {
    const { answer } = PROVIDERS[name];
    const expected = { discord: 204, "microsoft-graph": 202 };
    expect(answer.status).toBe(Reflect.get(expected, name) ?? 200);
    expect(answer.body).toBe(name === "twilio" ? "<Response/>" : undefined);
    expect(answer.mediaType).toBe(name === "twilio" ? "text/xml" : undefined);
  });
});

describe("what the providers' own libraries say of the samples", () => {
  test("Discord's finds them signed", async () => {
    const { headers, body, secret } = await sampleOf("discord", { nowMs, url });
    const signature = headers["x-signature-ed25519"] ?? "";
    expect(await verifyKey(body, signature, headers["x-signature-timestamp"] ?? "", secret)).toBe(true);
  });

  test("SendGrid's finds them signed", async () => {
    const { headers, body, secret } = await sampleOf("sendgrid", { nowMs, url });
    const library = new EventWebhook();
    const signature = headers[EventWebhookHeaders.signature] ?? "";
    const key = library.convertPublicKeyToECDSA(secret);
    expect(library.verifySignature(key, body, signature, headers[EventWebhookHeaders.timestamp] ?? "")).toBe(true);
  });

  test("Twilio's finds them signed", async () => {
    const { headers, body, secret } = await sampleOf("twilio", { nowMs, url });
    const form = Object.fromEntries(new URLSearchParams(body));
    expect(twilio.validateRequest(secret, headers["x-twilio-signature"] ?? "", url, form)).toBe(true);
  });
});

const EventWebhookHeaders = {
  signature: "x-twilio-email-event-webhook-signature",
  timestamp: "x-twilio-email-event-webhook-timestamp",
};

/** Requests and signatures as the providers' documents and libraries have them. */
const VECTORS: readonly { provider: ProviderName; from: string; secret: string; request: WebhookRequest }[] = [
  {
    provider: "github",
    from: "docs.github.com, Validating webhook deliveries",
    secret: "It's a Secret to Everybody",
    request: requestWith("Hello, World!", {
      "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    }),
  },
  {
    provider: "slack",
    from: "docs.slack.dev, Verifying requests from Slack",
    secret: "8f742231b10e8888abcd99yyyzzz85a5",
    request: requestWith(
      "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V" +
        "&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=" +
        "&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN" +
        "&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
      {
        "content-type": "application/x-www-form-urlencoded",
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
      },
    ),
  },
  {
    provider: "standard-webhooks",
    from: "the specification's libraries",
    secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    request: requestWith('{"test": 2432232314}', {
      "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
      "webhook-timestamp": "1614265330",
      "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }),
  },
  {
    provider: "twilio",
    from: "the libraries' tests",
    secret: "12345",
    request: requestWith(
      "Digits=1234&CallSid=CA1234567890ABCDE&To=%2B18005551212&Caller=%2B14158675309&From=%2B14158675309",
      {
        "content-type": "application/x-www-form-urlencoded",
        "x-twilio-signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
      },
      "https://mycompany.com/myapp.php?foo=1&bar=2",
    ),
  },
  {
    provider: "square",
    from: "developer.squareup.com, Verify and validate an event notification",
    secret: "asdf1234",
    request: requestWith(
      '{"hello":"world"}',
      { "x-square-hmacsha256-signature": "2kRE5qRU2tR+tBGlDwMEw2avJ7QM4ikPYD/PJ3bd9Og=" },
      "https://example.com/webhook",
    ),
  },
  {
    provider: "sendgrid",
    from: "the library's tests",
    secret:
      "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==",
    request: requestWith(
      '[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",' +
        '"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",' +
        '"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n',
      {
        [EventWebhookHeaders.timestamp]: "1600112502",
        [EventWebhookHeaders.signature]:
          "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=",
      },
    ),
  },
];

function requestWith(body: string, headers: Record<string, string>, at = url): WebhookRequest {
  const all = new Headers({ "content-type": "application/json", ...headers });
  return { method: "POST", url: at, headers: all, body: new TextEncoder().encode(body) };
}

test.each(VECTORS)("$provider's published example is verified ($from)", async ({ provider, secret, request }) => {
  const { scheme } = PROVIDERS[provider];
  if (scheme === null) throw new Error("no scheme");
  expect(await verify(scheme, request, { current: secret }, null)).toMatchObject({ isVerified: true });
});
