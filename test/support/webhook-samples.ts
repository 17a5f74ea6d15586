import { Buffer } from "node:buffer";
import { createHmac, generateKeyPairSync, type KeyObject, randomBytes, sign as signWithKey } from "node:crypto";
import { sign as signForGithub } from "@octokit/webhooks-methods";
import { Webhook as StandardWebhook } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as SvixWebhook } from "svix";
import twilio from "twilio";
import type { ProviderName } from "../../functions/webhooks/providers.ts";
import { PROVIDER_NAMES } from "../../functions/webhooks/providers.ts";
import type { Scheme } from "../../functions/webhooks/scheme.ts";

export { PROVIDER_NAMES };

/**
 * Webhooks as the providers send them: signed by the providers' own libraries where there are any that sign, otherwise by
 * node:crypto, with no code of what is tested.
 */

/** A request, and what a message of it should say. */
export interface WebhookSample {
  /** What the deployment has to be told: a secret or a public key. */
  readonly secret: string;
  /** Of a `generic` source. */
  readonly scheme?: Scheme;
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body: string;
  /** Of the body that a sample has by itself. */
  readonly expected: { readonly type: string | null; readonly deliveryId: string | null };
}

export interface SampleOptions {
  /** When the provider signs it. */
  readonly nowMs: number;
  /** As the provider knows it: the public one. */
  readonly url: string;
  /** One that `newSecret()` made. Absent: always the same. */
  readonly secret?: string;
  readonly body?: string;
}

interface Signing {
  readonly nowMs: number;
  readonly url: string;
  readonly secret: string;
  readonly body: string;
}

interface SampleMaker {
  /** Some providers write the time or the secret into the body. */
  readonly body: (nowMs: number, secret: string) => string;
  readonly contentType?: string;
  readonly scheme?: Scheme;
  readonly headers: (signing: Signing) => Record<string, string> | Promise<Record<string, string>>;
  readonly expected: WebhookSample["expected"];
}

const FORM = "application/x-www-form-urlencoded";

export async function sampleOf(provider: ProviderName, options: SampleOptions): Promise<WebhookSample> {
  const maker = MAKERS[provider];
  const secret = options.secret ?? usualSecret(provider);
  const body = options.body ?? maker.body(options.nowMs, secret);
  const headers = await maker.headers({ ...options, secret, body });
  return {
    secret,
    ...(maker.scheme === undefined ? {} : { scheme: maker.scheme }),
    method: "POST",
    url: options.url,
    headers: { "content-type": maker.contentType ?? "application/json", ...headers },
    body,
    expected: maker.expected,
  };
}

/** Private keys by the public ones that were handed out. */
const privateKeys = new Map<string, KeyObject>();

/** @returns a secret as the provider makes them, or the public one of two keys */
export function newSecret(provider: ProviderName): string {
  if (provider === "discord") {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const hex = publicKey.export({ type: "spki", format: "der" }).subarray(-32).toString("hex");
    privateKeys.set(hex, privateKey);
    return hex;
  }
  if (provider === "sendgrid") {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const base64 = publicKey.export({ type: "spki", format: "der" }).toString("base64");
    privateKeys.set(base64, privateKey);
    return base64;
  }
  const isPrefixed = ["standard-webhooks", "svix", "stripe"].includes(provider);
  return isPrefixed ? `whsec_${randomBytes(24).toString("base64")}` : randomBytes(20).toString("hex");
}

const usualSecrets = new Map<ProviderName, string>();

function usualSecret(provider: ProviderName): string {
  const known = usualSecrets.get(provider) ?? newSecret(provider);
  usualSecrets.set(provider, known);
  return known;
}

function privateKeyOf(publicKey: string): KeyObject {
  const key = privateKeys.get(publicKey);
  if (key === undefined) throw new Error("expected a key that newSecret() made");
  return key;
}

function hmac(algorithm: "sha1" | "sha256", secret: string, text: string, encoding: "hex" | "base64"): string {
  return createHmac(algorithm, secret).update(text, "utf8").digest(encoding);
}

const seconds = (nowMs: number) => String(Math.floor(nowMs / 1_000));

const MAKERS: Readonly<Record<ProviderName, SampleMaker>> = {
  bitbucket: {
    body: () =>
      JSON.stringify({
        push: { changes: [{ created: false, forced: false, new: { name: "main", type: "branch" } }] },
        actor: { display_name: "Ann Örnek", uuid: "{29b4c4ae-8bba-4d84-9f4b-1f0e8a1f3f0c}" },
        repository: { full_name: "weir/samples", uuid: "{673a6070-3421-46c9-9d48-90745f7bfe8e}" },
      }),
    headers: ({ secret, body }) => ({
      "x-event-key": "repo:push",
      "x-hook-uuid": "91e2a5e1-d608-4a66-bda6-db4e1590b209",
      "x-request-uuid": "831ba044-6864-4085-bf4c-ae829079e224",
      "x-attempt-number": "1",
      "x-hub-signature": `sha256=${hmac("sha256", secret, body, "hex")}`,
    }),
    expected: { type: "repo:push", deliveryId: "831ba044-6864-4085-bf4c-ae829079e224" },
  },
  calendly: {
    body: () =>
      JSON.stringify({
        created_at: "2026-03-14T09:26:53.000000Z",
        created_by: "https://api.calendly.com/users/AAAAAAAAAAAAAAAA",
        event: "invitee.created",
        payload: { email: "ann@example.com", name: "Ann Örnek", status: "active", timezone: "Europe/Berlin" },
      }),
    headers: ({ secret, body, nowMs }) => ({
      "calendly-webhook-signature": `t=${seconds(nowMs)},v1=${hmac("sha256", secret, `${seconds(nowMs)}.${body}`, "hex")}`,
    }),
    expected: { type: "invitee.created", deliveryId: null },
  },
  discord: {
    body: () =>
      JSON.stringify({
        version: 1,
        application_id: "1234560123453231555",
        type: 1,
        event: {
          type: "APPLICATION_AUTHORIZED",
          timestamp: "2026-10-18T14:42:53.064834",
          data: { integration_type: 1, scopes: ["applications.commands"], user: { id: "937734231728300039" } },
        },
      }),
    headers: ({ secret, body, nowMs }) => ({
      "x-signature-timestamp": seconds(nowMs),
      "x-signature-ed25519": signWithKey(null, Buffer.from(seconds(nowMs) + body), privateKeyOf(secret)).toString(
        "hex",
      ),
    }),
    expected: { type: "APPLICATION_AUTHORIZED", deliveryId: null },
  },
  generic: {
    scheme: {
      algorithm: "hmac-sha256",
      secretForm: "text",
      signature: { header: "X-Acme-Signature", prefix: "sha256=", encoding: "base64" },
      signed: ["timestamp", { text: "|" }, "id", { text: "|" }, { header: "X-Acme-Tenant" }, { text: "|" }, "body"],
      time: { header: "X-Acme-Time", unit: "iso" },
      id: { pointer: "/delivery/id" },
    },
    body: () => JSON.stringify({ type: "door.opened", delivery: { id: "d-0001" }, door: "north" }),
    headers: ({ secret, body, nowMs }) => {
      const time = new Date(nowMs).toISOString();
      const parsed: unknown = JSON.parse(body);
      const { id } = Object(Object(parsed).delivery);
      return {
        "x-acme-time": time,
        "x-acme-tenant": "t1",
        "x-acme-signature": `sha256=${hmac("sha256", secret, `${time}|${id}|t1|${body}`, "base64")}`,
      };
    },
    expected: { type: "door.opened", deliveryId: "d-0001" },
  },
  github: {
    body: () =>
      JSON.stringify({
        action: "opened",
        issue: { id: 5068260474, number: 1347, title: "Found a bug 🐛", state: "open", user: { login: "octocat" } },
        repository: { id: 592181315, name: "simple-app", full_name: "weir/simple-app", private: false },
        sender: { login: "octocat", id: 583231 },
      }),
    headers: async ({ secret, body }) => ({
      "user-agent": "GitHub-Hookshot/1440bf9",
      "x-github-event": "issues",
      "x-github-delivery": "cba785d0-bba9-11ed-80a5-07b75c3248c8",
      "x-github-hook-id": "403738602",
      "x-hub-signature-256": await signForGithub(secret, body),
    }),
    expected: { type: "issues", deliveryId: "cba785d0-bba9-11ed-80a5-07b75c3248c8" },
  },
  gitlab: {
    body: () =>
      JSON.stringify({
        object_kind: "push",
        event_name: "push",
        ref: "refs/heads/manage",
        checkout_sha: "6752dd8e9b70a034e36b495d26626dafef42c53c",
        user_username: "weirwrite",
        project: { id: 42958108, path_with_namespace: "weir/samples" },
        commits: [{ id: "6752dd8e9b70a034e36b495d26626dafef42c53c", message: "Änderung", added: ["a.md"] }],
      }),
    headers: ({ secret }) => ({
      "x-gitlab-event": "Push Hook",
      "x-gitlab-instance": "https://gitlab.com",
      "x-gitlab-event-uuid": "5866755a-6a7d-430f-b7c3-bd29ec77e3f3",
      "x-gitlab-token": secret,
      "idempotency-key": "f5e57122-f1ba-4f38-8c2b-21a8e3a5b3f1",
    }),
    expected: { type: "Push Hook", deliveryId: "f5e57122-f1ba-4f38-8c2b-21a8e3a5b3f1" },
  },
  hubspot: {
    body: () =>
      JSON.stringify(
        [100, 101].map((eventId) => ({
          eventId,
          subscriptionId: 12345,
          portalId: 62515,
          occurredAt: 1564113600000,
          subscriptionType: "contact.creation",
          attemptNumber: 0,
          objectId: eventId + 23,
          changeSource: "CRM",
          changeFlag: "NEW",
          appId: 54321,
        })),
      ),
    headers: ({ secret, body, nowMs, url }) => ({
      "x-hubspot-request-timestamp": String(nowMs),
      "x-hubspot-signature-version": "v3",
      "x-hubspot-signature-v3": hmac("sha256", secret, `POST${url}${body}${nowMs}`, "base64"),
    }),
    expected: { type: "contact.creation", deliveryId: null },
  },
  intercom: {
    body: () =>
      JSON.stringify({
        type: "notification_event",
        app_id: "a86dr8yl",
        data: { type: "notification_event_data", item: { type: "conversation", id: "215468203915" } },
        id: "notif_78c122d0-23ba-11e4-9464-79b01267cc2e",
        topic: "conversation.user.created",
        delivery_attempts: 1,
        created_at: 1775000000,
      }),
    headers: ({ secret, body }) => ({ "x-hub-signature": `sha1=${hmac("sha1", secret, body, "hex")}` }),
    expected: { type: "conversation.user.created", deliveryId: "notif_78c122d0-23ba-11e4-9464-79b01267cc2e" },
  },
  linear: {
    body: (nowMs) =>
      JSON.stringify({
        action: "update",
        type: "Issue",
        createdAt: "2026-01-23T12:53:18.084Z",
        data: { id: "539068e2-ae88-4d09-bd75-22eb4a59612f", title: "Fix the weir", priority: 2 },
        updatedFrom: { priority: 0 },
        organizationId: "b6f1a3a0-0c55-4b0c-b43b-1f1a5e9d8d20",
        webhookTimestamp: nowMs,
        webhookId: "000042e3-d123-4980-b49f-8e140eef9329",
      }),
    headers: ({ secret, body }) => ({
      "linear-delivery": "234d1a4e-b617-4388-90fe-adc3633d6b72",
      "linear-event": "Issue",
      "linear-signature": hmac("sha256", secret, body, "hex"),
    }),
    expected: { type: "Issue", deliveryId: "234d1a4e-b617-4388-90fe-adc3633d6b72" },
  },
  meta: {
    body: () =>
      // Meta escapes what is not ASCII, and signs it so.
      `{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"field":"messages",` +
      `"value":{"messages":[{"from":"16505551234","id":"wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQUE","type":"text",` +
      `"text":{"body":"Gr\\u00fc\\u00dfe \\ud83d\\ude00"}}]}}]}]}`,
    headers: ({ secret, body }) => ({ "x-hub-signature-256": `sha256=${hmac("sha256", secret, body, "hex")}` }),
    expected: { type: "whatsapp_business_account", deliveryId: null },
  },
  "microsoft-graph": {
    body: (_nowMs, secret) => graphBody(secret),
    contentType: "application/json; charset=utf-8",
    headers: () => ({}),
    expected: { type: "updated", deliveryId: "lsgTZMr9KwAAA" },
  },
  paddle: {
    body: () =>
      JSON.stringify({
        event_id: "evt_01hkjw5g6mh3zvtnm5bn0q0tsy",
        event_type: "subscription.created",
        occurred_at: "2026-01-08T00:51:04.342451Z",
        notification_id: "ntf_01hkjw5gexc7h9a6wqt7y2b9hw",
        data: { id: "sub_01hkjw5bm7rc6hyzbh2zqk6dbm", status: "active", currency_code: "EUR" },
      }),
    headers: ({ secret, body, nowMs }) => ({
      "paddle-signature": `ts=${seconds(nowMs)};h1=${hmac("sha256", secret, `${seconds(nowMs)}:${body}`, "hex")}`,
    }),
    expected: { type: "subscription.created", deliveryId: "ntf_01hkjw5gexc7h9a6wqt7y2b9hw" },
  },
  sendgrid: {
    body: () =>
      `${JSON.stringify([
        { email: "ann@example.com", event: "delivered", sg_event_id: "ZGVsaXZlcmVkLTA", timestamp: 1775000000 },
        { email: "bob@example.com", event: "delivered", sg_event_id: "ZGVsaXZlcmVkLTE", timestamp: 1775000001 },
      ])}\r\n`,
    headers: ({ secret, body, nowMs }) => ({
      "x-twilio-email-event-webhook-timestamp": seconds(nowMs),
      "x-twilio-email-event-webhook-signature": signWithKey(
        "sha256",
        Buffer.from(seconds(nowMs) + body),
        privateKeyOf(secret),
      ).toString("base64"),
    }),
    expected: { type: "delivered", deliveryId: null },
  },
  shopify: {
    body: () =>
      // Text: its numbers are larger than JavaScript's.
      `{"id":820982911946154508,"email":"jon@example.com","total_price":"403.00","currency":"EUR","line_items":` +
      `[{"id":866550311766439020,"title":"IPod Nano – 8GB","quantity":1,"price":199.00}]}`,
    headers: ({ secret, body }) => ({
      "x-shopify-topic": "orders/create",
      "x-shopify-shop-domain": "weir-samples.myshopify.com",
      "x-shopify-api-version": "2026-10",
      "x-shopify-webhook-id": "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
      "x-shopify-event-id": "98880550-7158-44d4-b7cd-2c97c8a091b5",
      "x-shopify-hmac-sha256": hmac("sha256", secret, body, "base64"),
    }),
    expected: { type: "orders/create", deliveryId: "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043" },
  },
  slack: {
    body: () =>
      JSON.stringify({
        token: "XXYYZZ",
        team_id: "T061EG9R6",
        api_app_id: "A0MDYCDME",
        event: { type: "app_mention", user: "U061F7AUR", text: "<@U0LAN0Z89> is it everything a river should be?" },
        type: "event_callback",
        event_id: "Ev0LAN670R",
        event_time: 1775000000,
      }),
    headers: ({ secret, body, nowMs }) => ({
      "x-slack-request-timestamp": seconds(nowMs),
      "x-slack-signature": `v0=${hmac("sha256", secret, `v0:${seconds(nowMs)}:${body}`, "hex")}`,
    }),
    expected: { type: "app_mention", deliveryId: "Ev0LAN670R" },
  },
  square: {
    body: () =>
      JSON.stringify({
        merchant_id: "MLEFBHHSJGVHD",
        type: "payment.created",
        event_id: "13b867cf-db3d-4b1c-90b6-2f32a9d78124",
        created_at: "2026-02-06T21:27:34.308Z",
        data: { type: "payment", id: "hYy9pRFVxpDsO1FB05SunFWUe9JZY", object: { payment: { status: "APPROVED" } } },
      }),
    headers: ({ secret, body, url }) => ({
      "x-square-hmacsha256-signature": hmac("sha256", secret, url + body, "base64"),
    }),
    expected: { type: "payment.created", deliveryId: "13b867cf-db3d-4b1c-90b6-2f32a9d78124" },
  },
  "standard-webhooks": {
    body: () => JSON.stringify({ type: "user.created", timestamp: "2026-11-03T20:26:10.344522Z", data: { id: "u_1" } }),
    headers: ({ secret, body, nowMs }) => ({
      "webhook-id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
      "webhook-timestamp": seconds(nowMs),
      "webhook-signature": new StandardWebhook(secret).sign("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", new Date(nowMs), body),
    }),
    expected: { type: "user.created", deliveryId: "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W" },
  },
  stripe: {
    body: () =>
      JSON.stringify(
        {
          id: "evt_1NG8Du2eZvKYlo2CUI79vXWy",
          object: "event",
          api_version: "2026-09-30",
          created: 1775000000,
          data: { object: { id: "pi_3NG8Du2eZvKYlo2C1FMvLcQx", object: "payment_intent", amount: 1099 } },
          livemode: false,
          type: "payment_intent.succeeded",
        },
        null,
        2,
      ),
    headers: ({ secret, body, nowMs }) => ({
      "stripe-signature": new Stripe("sk_test_none").webhooks.generateTestHeaderString({
        payload: body,
        secret,
        timestamp: Number(seconds(nowMs)),
      }),
    }),
    expected: { type: "payment_intent.succeeded", deliveryId: "evt_1NG8Du2eZvKYlo2CUI79vXWy" },
  },
  svix: {
    body: () =>
      JSON.stringify({ type: "email.delivered", created_at: "2026-02-22T23:41:12.126Z", data: { to: ["a@b.c"] } }),
    headers: ({ secret, body, nowMs }) => ({
      "svix-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
      "svix-timestamp": seconds(nowMs),
      "svix-signature": new SvixWebhook(secret).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", new Date(nowMs), body),
    }),
    expected: { type: "email.delivered", deliveryId: "msg_p5jXN8AQM9LWM0D4loKWxJek" },
  },
  twilio: {
    body: () =>
      "ToCountry=US&SmsMessageSid=SM2003&NumMedia=0&SmsStatus=received&Body=Gr%C3%BC%C3%9Fe+%26+more&To=%2B15558675310" +
      "&MessageSid=SM2003&AccountSid=AC0001&From=%2B14158675309&ApiVersion=2010-04-01",
    contentType: `${FORM}; charset=UTF-8`,
    headers: ({ secret, body, url }) => ({
      "i-twilio-idempotency-token": "337b5b3e-8f5c-4c9e-9f0a-5f3d7a2a8c11",
      "x-twilio-signature": twilio.getExpectedTwilioSignature(
        secret,
        url,
        Object.fromEntries(new URLSearchParams(body)),
      ),
    }),
    expected: { type: "received", deliveryId: "337b5b3e-8f5c-4c9e-9f0a-5f3d7a2a8c11" },
  },
  typeform: {
    body: () =>
      JSON.stringify({
        event_id: "LtWXD3crgy",
        event_type: "form_response",
        form_response: { form_id: "lT4Z3j", token: "a3a12ec67a1365927098a606107fac15", answers: [] },
      }),
    headers: ({ secret, body }) => ({ "typeform-signature": `sha256=${hmac("sha256", secret, body, "base64")}` }),
    expected: { type: "form_response", deliveryId: "LtWXD3crgy" },
  },
  vercel: {
    body: () =>
      JSON.stringify({
        id: "evt_2XqF5p7nRkW",
        type: "deployment.created",
        createdAt: 1775000000000,
        payload: { deployment: { id: "dpl_FjHqKqF", name: "weir" }, team: { id: "team_V" } },
        region: "fra1",
      }),
    headers: ({ secret, body }) => ({ "x-vercel-signature": hmac("sha1", secret, body, "hex") }),
    expected: { type: "deployment.created", deliveryId: "evt_2XqF5p7nRkW" },
  },
  x: {
    body: () =>
      JSON.stringify({
        for_user_id: "2244994945",
        tweet_create_events: [{ id_str: "1146654567674912769", text: "Grüße", user: { screen_name: "weir" } }],
      }),
    headers: ({ secret, body }) => ({
      "x-twitter-webhooks-signature": `sha256=${hmac("sha256", secret, body, "base64")}`,
    }),
    expected: { type: "tweet_create_events", deliveryId: null },
  },
  zoom: {
    body: (nowMs) =>
      JSON.stringify({
        event: "meeting.started",
        event_ts: nowMs,
        payload: { account_id: "AAAAAABBBB", object: { id: "1234567890", topic: "My Meeting", duration: 60 } },
      }),
    headers: ({ secret, body, nowMs }) => ({
      "x-zm-request-timestamp": seconds(nowMs),
      "x-zm-signature": `v0=${hmac("sha256", secret, `v0:${seconds(nowMs)}:${body}`, "hex")}`,
    }),
    expected: { type: "meeting.started", deliveryId: null },
  },
};

/** A body of Microsoft Graph's, which holds the secret. */
export function graphBody(secret: string): string {
  return JSON.stringify({
    value: [
      {
        id: "lsgTZMr9KwAAA",
        subscriptionId: "76222963-cc7b-42d2-882d-8aaa69cb2ba3",
        subscriptionExpirationDateTime: "2026-12-30T11:00:00.0000000Z",
        clientState: secret,
        changeType: "updated",
        resource: "users/ddfcd489-628b-40d7-b48b-57002df800e5/messages/AAMkAGUyODNm",
        tenantId: "84bd8158-6d4d-4958-8b9f-9d6445542f95",
        resourceData: { "@odata.type": "#Microsoft.Graph.Message", id: "AAMkAGUyODNm" },
      },
    ],
  });
}
