import * as z from "zod";
import type { AppContext } from "../context.ts";
import { type BodyReader, type Endpoint, inWords, noBody, type Place, type Route } from "../http/endpoint.ts";
import type { ProblemCode } from "../http/errors.ts";
import { once } from "../http/once.ts";
import { Name } from "../http/schemas.ts";
import { MAX_WEBHOOK_BYTES, receive } from "./ingress.ts";

const tag = "Webhooks";
const path = "/hooks/{source}";

const SourceParams = z.object({ source: Name });
/** Providers put into it what they like. */
const AnyQuery = z.looseObject({});

/** Read by the handler: which bytes were signed only the provider's scheme says. */
const anyBody: BodyReader<undefined> = {
  content: { "*/*": { schema: z.string().meta({ description: "The body as the provider sends and signs it" }) } },
  limits: `At most ${inWords(MAX_WEBHOOK_BYTES)}.`,
  read: async () => ({ value: undefined }),
};

const ERRORS: readonly ProblemCode[] = [
  "not-found",
  "rate-limited",
  "method-not-allowed",
  "bad-signature",
  "not-available",
];

/** A route without a token, of whose request only the provider's scheme can tell what is valid. */
function openRoute(place: Place, describe: () => Endpoint, handle: (c: AppContext) => Promise<Response>): Route {
  return { ...place, isPublic: true, endpoint: once(describe), handle };
}

const receiveWebhookRoute = openRoute(
  { method: "post", path },
  () => ({
    operationId: "receiveWebhook",
    repeat: "sending it again is safe where the provider names its deliveries",
    tag,
    summary: "Take a webhook: verified over the bytes as they came, appended, answered as its provider expects",
    description:
      "For providers, who sign instead of having a token. The status and body of the answer are the provider's; a repeat of a " +
      "delivery within `dedupeWindowMs` gets the same answer, and nothing is appended. A paused source answers 200 and keeps " +
      "nothing.",
    params: SourceParams,
    query: AnyQuery,
    body: anyBody,
    answers: {
      200: { description: "Taken, there before, or a handshake", mediaType: "text/plain" },
      202: { description: "Taken, or there before", mediaType: "text/plain" },
      204: { description: "Taken, or there before" },
    },
    errors: [...ERRORS, "stale-webhook", "outcome-unknown"],
  }),
  receive,
);

const greetWebhookRoute = openRoute(
  { method: "get", path },
  () => ({
    operationId: "greetWebhook",
    tag,
    summary: "Answer a provider's handshake by GET; HEAD does the same",
    params: SourceParams,
    query: AnyQuery,
    body: noBody,
    answers: {
      200: {
        description: "What the provider asks for",
        mediaType: "text/plain",
        orMediaTypes: { "application/json": z.record(z.string(), z.string()) },
      },
    },
    errors: ERRORS,
  }),
  receive,
);

const allowWebhookRoute = openRoute(
  { method: "options", path },
  () => ({
    operationId: "allowWebhook",
    tag,
    summary: "Answer a provider's handshake by OPTIONS",
    params: SourceParams,
    query: AnyQuery,
    body: noBody,
    answers: {
      200: { description: "The provider may deliver", mediaType: "text/plain" },
      204: { description: "The methods that there are" },
    },
    errors: ERRORS,
  }),
  receive,
);

export const ingressRoutes: readonly Route[] = [receiveWebhookRoute, greetWebhookRoute, allowWebhookRoute];
