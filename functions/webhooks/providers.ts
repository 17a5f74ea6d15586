import type { Handshake } from "./handshakes.ts";
import type { Place } from "./places.ts";
import type { HmacScheme, Part, PublicKeyScheme, Scheme } from "./scheme.ts";

/**
 * The providers whose webhooks are taken, one row each. Docs: `docs/webhook-providers.md`, which also says how to add
 * one. A row's comment tells what is not plain from it, and where it was read.
 */

export interface Provider {
  /** As it writes its own name. */
  readonly title: string;
  /** Null: the source has one of its own. */
  readonly scheme: Scheme | null;
  /** Where the event type stands: the first that there is. */
  readonly eventType: readonly Place[];
  /**
   * Where the delivery's id stands, where the scheme does not say: the first that there is. Only what a repeat has again
   * and nothing else ever has: any other would make messages vanish.
   */
  readonly deliveryId: readonly Place[];
  /** What the provider takes for "received". */
  readonly answer: ProviderAnswer;
  readonly handshakes: readonly Handshake[];
}

export interface ProviderAnswer {
  readonly status: number;
  readonly body?: string;
  readonly mediaType?: string;
}

export const PROVIDER_NAMES = [
  "bitbucket",
  "calendly",
  "discord",
  "generic",
  "github",
  "gitlab",
  "hubspot",
  "intercom",
  "linear",
  "meta",
  "microsoft-graph",
  "paddle",
  "sendgrid",
  "shopify",
  "slack",
  "square",
  "standard-webhooks",
  "stripe",
  "svix",
  "twilio",
  "typeform",
  "vercel",
  "x",
  "zoom",
] as const;

export type ProviderName = (typeof PROVIDER_NAMES)[number];

const OK: ProviderAnswer = { status: 200 };

const dot: Part = { text: "." };

/** HMAC over the body alone, in one header. */
function bodyHmac(
  algorithm: HmacScheme["algorithm"],
  signature: HmacScheme["signature"],
  more: Pick<HmacScheme, "isJsonObject"> = {},
): HmacScheme {
  return { algorithm, secretForm: "text", signature, signed: ["body"], ...more };
}

/** `t=1492774577,v1=5257a8…,v1=…`: HMAC-SHA-256 over time, a text, and body. */
function timedItems(
  header: string,
  separator: "," | ";",
  names: { time: string; signature: string },
  between: Part,
): HmacScheme {
  return {
    algorithm: "hmac-sha256",
    secretForm: "text",
    signature: { header, separator, prefix: `${names.signature}=`, encoding: "hex" },
    signed: ["timestamp", between, "body"],
    time: { header, separator, prefix: `${names.time}=`, unit: "s" },
  };
}

/** `v0=…` over `v0:<time>:<body>`, as Slack began it. */
function versionZero(signature: string, timestamp: string): HmacScheme {
  return {
    algorithm: "hmac-sha256",
    secretForm: "text",
    signature: { header: signature, prefix: "v0=", encoding: "hex" },
    signed: [{ text: "v0:" }, "timestamp", { text: ":" }, "body"],
    time: { header: timestamp, unit: "s" },
  };
}

/** https://www.standardwebhooks.com, and Svix, from which it comes, under names of its own. */
function standardWebhooks(prefix: string): HmacScheme {
  return {
    algorithm: "hmac-sha256",
    secretForm: "whsec",
    signature: { header: `${prefix}-signature`, separator: " ", prefix: "v1,", encoding: "base64" },
    signed: ["id", dot, "timestamp", dot, "body"],
    time: { header: `${prefix}-timestamp`, unit: "s" },
    id: { header: `${prefix}-id` },
  };
}

/** A time and the body, by the holder of a key. */
function keyOverTimeAndBody(
  algorithm: PublicKeyScheme["algorithm"],
  signature: PublicKeyScheme["signature"],
  timestamp: string,
): PublicKeyScheme {
  return {
    algorithm,
    signature,
    signed: ["timestamp", "body"],
    time: { header: timestamp, unit: "s" },
  };
}

/** CloudEvents' web hooks, section 4: the sender asks whether it may. A source has consented by being there. */
const ALLOWED_ORIGIN: Handshake = {
  method: "OPTIONS",
  when: [{ at: { header: "webhook-request-origin" } }],
  challenge: { at: { header: "webhook-request-origin" }, form: /^[A-Za-z0-9.:_-]{1,253}$/ },
  answer: { kind: "allowed-origin" },
};

export const PROVIDERS: Readonly<Record<ProviderName, Provider>> = {
  // support.atlassian.com "Manage webhooks". Cloud names its requests X-Request-UUID, Data Center X-Request-Id.
  bitbucket: {
    title: "Bitbucket",
    scheme: bodyHmac("hmac-sha256", { header: "x-hub-signature", prefix: "sha256=", encoding: "hex" }),
    eventType: [{ header: "x-event-key" }],
    deliveryId: [{ header: "x-request-uuid" }, { header: "x-request-id" }],
    answer: OK,
    handshakes: [],
  },
  // developer.calendly.com "Webhook signatures". Its bodies have no id of a delivery.
  calendly: {
    title: "Calendly",
    scheme: timedItems("calendly-webhook-signature", ",", { time: "t", signature: "v1" }, dot),
    eventType: [{ pointer: "/event" }],
    deliveryId: [],
    answer: OK,
    handshakes: [],
  },
  // docs.discord.com "Webhook Events" and "Interactions". Webhook events have { type: 0 | 1, event }; interactions, which
  // use the same key, have { type: 1 } for PING and no `event`. Only interactions have an id.
  discord: {
    title: "Discord",
    scheme: keyOverTimeAndBody("ed25519", { header: "x-signature-ed25519", encoding: "hex" }, "x-signature-timestamp"),
    eventType: [{ pointer: "/event/type" }, { pointer: "/type" }],
    deliveryId: [{ pointer: "/id" }],
    answer: { status: 204 },
    handshakes: [
      {
        method: "POST",
        when: [{ at: { pointer: "/type" }, is: "0" }],
        isSigned: true,
        answer: { kind: "fixed", status: 204 },
      },
      {
        method: "POST",
        when: [
          { at: { pointer: "/type" }, is: "1" },
          { at: { pointer: "/event/type" }, isAbsent: true },
        ],
        isSigned: true,
        answer: { kind: "fixed", status: 200, body: '{"type":1}', mediaType: "application/json" },
      },
    ],
  },
  // The scheme is the source's own. The type is looked for where CloudEvents have it, in either of their modes.
  generic: {
    title: "Generic",
    scheme: null,
    eventType: [{ header: "ce-type" }, { pointer: "/type" }],
    deliveryId: [],
    answer: OK,
    handshakes: [ALLOWED_ORIGIN],
  },
  // docs.github.com "Validating webhook deliveries". X-GitHub-Delivery is the event's: redelivering has it again.
  github: {
    title: "GitHub",
    scheme: bodyHmac("hmac-sha256", { header: "x-hub-signature-256", prefix: "sha256=", encoding: "hex" }),
    eventType: [{ header: "x-github-event" }],
    deliveryId: [{ header: "x-github-delivery" }],
    answer: OK,
    handshakes: [],
  },
  // docs.gitlab.com "Webhooks". Idempotency-Key is the same on retries. X-Gitlab-Event-UUID is not used: webhooks that
  // webhooks caused all have the first one's.
  gitlab: {
    title: "GitLab",
    scheme: { algorithm: "shared-secret", secretAt: { header: "x-gitlab-token" } },
    eventType: [{ header: "x-gitlab-event" }],
    deliveryId: [{ header: "idempotency-key" }],
    answer: OK,
    handshakes: [],
  },
  // developers.hubspot.com "Validating requests", version 3. A body is an array of events; their `eventId` is "not
  // guaranteed to be unique".
  hubspot: {
    title: "HubSpot",
    scheme: {
      algorithm: "hmac-sha256",
      secretForm: "text",
      signature: { header: "x-hubspot-signature-v3", encoding: "base64" },
      signed: ["method", "url-decoded", "body", "timestamp"],
      time: { header: "x-hubspot-request-timestamp", unit: "ms" },
    },
    eventType: [{ each: "", pointer: "/subscriptionType" }],
    deliveryId: [],
    answer: OK,
    handshakes: [],
  },
  // developers.intercom.com "Webhook notifications": SHA-1, and a HEAD when the address is entered.
  intercom: {
    title: "Intercom",
    scheme: bodyHmac("hmac-sha1", { header: "x-hub-signature", prefix: "sha1=", encoding: "hex" }),
    eventType: [{ pointer: "/topic" }],
    deliveryId: [{ pointer: "/id" }],
    answer: OK,
    handshakes: [{ method: "HEAD", when: [], answer: { kind: "fixed", status: 200 } }],
  },
  // linear.app/developers/webhooks: the time is in the body.
  linear: {
    title: "Linear",
    scheme: {
      ...bodyHmac("hmac-sha256", { header: "linear-signature", encoding: "hex" }),
      time: { pointer: "/webhookTimestamp", unit: "ms" },
    },
    eventType: [{ pointer: "/type" }],
    deliveryId: [{ header: "linear-delivery" }],
    answer: OK,
    handshakes: [],
  },
  // developers.facebook.com "Webhooks: getting started": Facebook, Instagram, WhatsApp.
  meta: {
    title: "Meta",
    scheme: bodyHmac("hmac-sha256", { header: "x-hub-signature-256", prefix: "sha256=", encoding: "hex" }),
    eventType: [{ pointer: "/object" }],
    deliveryId: [],
    answer: OK,
    handshakes: [
      {
        method: "GET",
        when: [{ at: { query: "hub.mode" }, is: "subscribe" }],
        verifyTokenAt: { query: "hub.verify_token" },
        challenge: { at: { query: "hub.challenge" }, form: /^[A-Za-z0-9_-]{1,512}$/ },
        answer: { kind: "echo" },
      },
    ],
  },
  // learn.microsoft.com "Receive change notifications through webhooks". Nothing is signed: each notification of the body
  // holds the subscription's clientState. A validation token is opaque text with spaces.
  "microsoft-graph": {
    title: "Microsoft Graph",
    scheme: { algorithm: "shared-secret", secretAt: { each: "/value", pointer: "/clientState" } },
    eventType: [
      { each: "/value", pointer: "/changeType" },
      { each: "/value", pointer: "/lifecycleEvent" },
    ],
    deliveryId: [{ each: "/value", pointer: "/id" }],
    answer: { status: 202 },
    handshakes: [
      {
        method: "POST",
        when: [{ at: { query: "validationToken" } }],
        challenge: { at: { query: "validationToken" }, form: /^[ -~]{1,2048}$/ },
        answer: { kind: "echo" },
      },
    ],
  },
  // developer.paddle.com "Verify webhook signatures" (Paddle Billing). A retry has the same notification id, a replay a
  // new one.
  paddle: {
    title: "Paddle",
    scheme: timedItems("paddle-signature", ";", { time: "ts", signature: "h1" }, { text: ":" }),
    eventType: [{ pointer: "/event_type" }],
    deliveryId: [{ pointer: "/notification_id" }],
    answer: OK,
    handshakes: [],
  },
  // The library @sendgrid/eventwebhook. A body is an array of events, each with an id; the request has none.
  sendgrid: {
    title: "Twilio SendGrid",
    scheme: keyOverTimeAndBody(
      "ecdsa-p256",
      { header: "x-twilio-email-event-webhook-signature", encoding: "base64" },
      "x-twilio-email-event-webhook-timestamp",
    ),
    eventType: [{ each: "", pointer: "/event" }],
    deliveryId: [],
    answer: OK,
    handshakes: [],
  },
  // shopify.dev "Verify webhook deliveries". X-Shopify-Event-Id is not used: several topics of one action share it.
  shopify: {
    title: "Shopify",
    scheme: bodyHmac("hmac-sha256", { header: "x-shopify-hmac-sha256", encoding: "base64" }),
    eventType: [{ header: "x-shopify-topic" }],
    deliveryId: [{ header: "x-shopify-webhook-id" }],
    answer: OK,
    handshakes: [],
  },
  // docs.slack.dev "Verifying requests from Slack" and "url_verification". Slash commands are forms.
  slack: {
    title: "Slack",
    scheme: versionZero("x-slack-signature", "x-slack-request-timestamp"),
    eventType: [{ pointer: "/event/type" }, { pointer: "/type" }, { form: "command" }],
    deliveryId: [{ pointer: "/event_id" }],
    answer: OK,
    handshakes: [
      {
        method: "POST",
        when: [{ at: { pointer: "/type" }, is: "url_verification" }],
        isSigned: true,
        challenge: { at: { pointer: "/challenge" }, form: /^[A-Za-z0-9_=+/.-]{1,1024}$/ },
        answer: { kind: "echo" },
      },
    ],
  },
  // developer.squareup.com "Verify and validate an event notification".
  square: {
    title: "Square",
    scheme: {
      algorithm: "hmac-sha256",
      secretForm: "text",
      signature: { header: "x-square-hmacsha256-signature", encoding: "base64" },
      signed: ["url", "body"],
    },
    eventType: [{ pointer: "/type" }],
    deliveryId: [{ pointer: "/event_id" }],
    answer: OK,
    handshakes: [],
  },
  "standard-webhooks": {
    title: "Standard Webhooks",
    scheme: standardWebhooks("webhook"),
    eventType: [{ pointer: "/type" }],
    deliveryId: [],
    answer: OK,
    handshakes: [ALLOWED_ORIGIN],
  },
  // docs.stripe.com/webhooks "Verify webhook signatures manually". The whole `whsec_…` is the key, as text. The id is the
  // event's: resending has it again.
  stripe: {
    title: "Stripe",
    scheme: timedItems("stripe-signature", ",", { time: "t", signature: "v1" }, dot),
    eventType: [{ pointer: "/type" }],
    deliveryId: [{ pointer: "/id" }],
    answer: OK,
    handshakes: [],
  },
  svix: {
    title: "Svix",
    scheme: standardWebhooks("svix"),
    eventType: [{ pointer: "/type" }],
    deliveryId: [],
    answer: OK,
    handshakes: [],
  },
  // twilio.com/docs/usage/security and the library twilio (`validateRequest`). The answer is read as TwiML: do nothing.
  twilio: {
    title: "Twilio",
    scheme: {
      algorithm: "hmac-sha1",
      secretForm: "text",
      signature: { header: "x-twilio-signature", encoding: "base64" },
      signed: ["url", "form"],
      bodyDigest: "bodySHA256",
      isPortOptional: true,
    },
    eventType: [
      { form: "EventType" },
      { form: "MessageStatus" },
      { form: "SmsStatus" },
      { form: "CallStatus" },
      { each: "", pointer: "/type" },
    ],
    deliveryId: [{ header: "i-twilio-idempotency-token" }],
    answer: { status: 200, body: "<Response/>", mediaType: "text/xml" },
    handshakes: [],
  },
  // typeform.com/developers "Secure your webhooks".
  typeform: {
    title: "Typeform",
    scheme: bodyHmac("hmac-sha256", { header: "typeform-signature", prefix: "sha256=", encoding: "base64" }),
    eventType: [{ pointer: "/event_type" }],
    deliveryId: [{ pointer: "/event_id" }],
    answer: OK,
    handshakes: [],
  },
  // vercel.com/docs/webhooks "Securing webhooks": SHA-1.
  vercel: {
    title: "Vercel",
    scheme: bodyHmac("hmac-sha1", { header: "x-vercel-signature", encoding: "hex" }),
    eventType: [{ pointer: "/type" }],
    deliveryId: [{ pointer: "/id" }],
    answer: OK,
    handshakes: [],
  },
  // docs.x.com/x-api/webhooks. The handshake, which nobody signs, has us sign any token that is sent. So that nobody has a
  // body signed that way, a token has another form than a JSON object, and a body no other.
  x: {
    title: "X",
    scheme: bodyHmac(
      "hmac-sha256",
      { header: "x-twitter-webhooks-signature", prefix: "sha256=", encoding: "base64" },
      { isJsonObject: true },
    ),
    eventType: [{ memberEnding: "_events" }],
    deliveryId: [],
    answer: OK,
    handshakes: [
      {
        method: "GET",
        when: [{ at: { query: "crc_token" } }],
        challenge: { at: { query: "crc_token" }, form: /^[A-Za-z0-9_=+/-]{1,512}$/ },
        answer: { kind: "json", members: { response_token: { encoding: "base64", prefix: "sha256=" } } },
      },
    ],
  },
  // developers.zoom.us "Using webhooks". The token is signed with the key of the webhooks: only for Zoom, and only what
  // does not look like what webhooks sign, which has colons.
  zoom: {
    title: "Zoom",
    scheme: versionZero("x-zm-signature", "x-zm-request-timestamp"),
    eventType: [{ pointer: "/event" }],
    deliveryId: [],
    answer: OK,
    handshakes: [
      {
        method: "POST",
        when: [{ at: { pointer: "/event" }, is: "endpoint.url_validation" }],
        isSigned: true,
        challenge: { at: { pointer: "/payload/plainToken" }, form: /^[A-Za-z0-9_=+/.-]{1,512}$/ },
        answer: {
          kind: "json",
          members: { plainToken: "challenge", encryptedToken: { encoding: "hex", prefix: "" } },
        },
      },
    ],
  },
};
