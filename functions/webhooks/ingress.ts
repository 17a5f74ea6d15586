import { WeirError } from "../../shared/errors.ts";
import { NAME } from "../../shared/keys.ts";
import { deliveryOf } from "../../shared/stream/delivery-ids.ts";
import { produceDelivery } from "../../shared/stream/produce.ts";
import { openStream } from "../../shared/stream/stream.ts";
import type { WebhookSource } from "../../shared/stream/webhook-sources.ts";
import type { AppContext, RequestContext } from "../context.ts";
import { readBytes } from "../http/body.ts";
import { HttpError } from "../http/errors.ts";
import { publicUrlOf } from "../http/public-url.ts";
import { limitWebhooks } from "../http/rate-limit.ts";
import { answerHandshake, type PlainAnswer } from "./handshakes.ts";
import { type Secrets, secretFault } from "./keys.ts";
import { identityOf, type Mapping, toMessage } from "./mapping.ts";
import { secretsOf, secretVariable, verifyTokenOf, verifyTokenVariable } from "./secrets.ts";
import { mappingOf } from "./sources.ts";
import { type Verdict, verify } from "./verify.ts";
import type { WebhookRequest } from "./webhook-request.ts";

/** The most that `maxMessageBytes` can be: a larger body fits into no stream. */
export const MAX_WEBHOOK_BYTES = 4 * 1024 * 1024;
/** When a provider is to come again where a person has to do something first. */
const RETRY_AFTER_S = 60;

/**
 * Takes what comes to `/hooks/{source}`, and answers as the provider expects.
 * @throws {HttpError} `not-found`, `rate-limited`, `method-not-allowed`, `bad-signature`, `stale-webhook`, `not-available` without
 *   a secret
 * @throws {WeirError} `payload-too-large`, `misconfigured`; `redis-unavailable` for whatever the provider should come again
 */
export async function receive(c: AppContext): Promise<Response> {
  const { context } = c.var;
  const name = c.req.param("source") ?? "";
  let source: WebhookSource | undefined;
  try {
    source = NAME.test(name) ? await context.webhooks.find(context, name) : undefined;
    if (source === undefined) throw new HttpError("not-found", "there is no such webhook source");
    return await receiveFor(c, source);
  } catch (error) {
    if (source !== undefined && isWorthNoting(error)) await context.webhooks.note(context, source, error.code);
    throw asProviderIsTold(error);
  }
}

async function receiveFor(c: AppContext, source: WebhookSource): Promise<Response> {
  const { context } = c.var;
  await limitWebhooks(c, source.name);
  const mapping = mappingOf(source);
  const request = await asWebhook(c);
  const secrets = secretsOf(context.config, source.name);
  const handshake = await answerHandshake(mapping.provider, request, {
    secrets,
    verifyToken: verifyTokenOf(context.config, source.name),
    nowMs: context.now(),
    toleranceMs: source.toleranceMs,
  });
  if (handshake === "no-verify-token") throw notSet(verifyTokenVariable(source.name));
  if (handshake === "refused") {
    if (secrets === undefined) throw notSet(secretVariable(source.name));
    throw new HttpError("bad-signature", "this is not how the provider asks whether somebody is here");
  }
  if (handshake !== undefined) return toResponse(handshake);
  if (c.req.method !== "POST") return answerOtherMethod(c.req.method);
  const { body = null, mediaType } = mapping.provider.answer;
  // Kept nowhere, and welcome: providers end a webhook whose receiver refuses.
  if (source.paused) return toResponse({ status: 200, headers: typed(mediaType), body });
  await take(context, source, mapping, request, usableSecrets(secrets, source, mapping));
  return toResponse({ status: mapping.provider.answer.status, headers: typed(mediaType), body });
}

async function asWebhook(c: AppContext): Promise<WebhookRequest> {
  const { raw, method } = c.req;
  const body = method === "POST" ? await readBytes(raw, MAX_WEBHOOK_BYTES) : new Uint8Array();
  return { method, url: publicUrlOf(c.var.context.config, raw.url), headers: raw.headers, body };
}

/** What is no handshake: some providers look whether a URL is there. */
function answerOtherMethod(method: string): Response {
  if (method === "OPTIONS") return new Response(null, { status: 204, headers: { allow: "OPTIONS, POST" } });
  throw new HttpError("method-not-allowed", `expected POST, got ${method}`, { allow: ["POST"] });
}

function usableSecrets(secrets: Secrets | undefined, { name }: WebhookSource, { scheme }: Mapping): Secrets {
  const variable = secretVariable(name);
  if (secrets === undefined) throw notSet(variable);
  const { current, previous } = secrets;
  const fault = secretFault(scheme, current);
  if (fault !== undefined) throw new WeirError("misconfigured", `${variable}: ${fault}`);
  const previousFault = previous === undefined ? undefined : secretFault(scheme, previous);
  if (previousFault !== undefined) throw new WeirError("misconfigured", `${variable}_PREVIOUS: ${previousFault}`);
  return secrets;
}

function notSet(variable: string): HttpError {
  return new HttpError("not-available", `${variable} is not set`);
}

/** Verifies it, and appends it unless it was there before. */
async function take(
  context: RequestContext,
  source: WebhookSource,
  mapping: Mapping,
  request: WebhookRequest,
  secrets: Secrets,
): Promise<void> {
  const { redis, config, cache, webhooks } = context;
  const nowMs = context.now();
  const verdict = await verify(mapping.scheme, request, secrets, { nowMs, toleranceMs: source.toleranceMs });
  if (!verdict.isVerified) throw new HttpError(verdict.code, verdict.detail);
  const stream = openStream(redis, config.keyPrefix, source.stream);
  const [message, id] = await Promise.all([
    toMessage(mapping, request, verdict, secrets),
    identity(source, mapping, request, verdict),
  ]);
  const memory = { epoch: source.epoch, windowMs: source.dedupeWindowMs };
  const delivery = id === undefined ? undefined : await deliveryOf(stream, memory, id, nowMs);
  await produceDelivery(stream, message, delivery, cache, nowMs);
  await webhooks.note(context, source);
}

async function identity(
  { dedupeWindowMs }: WebhookSource,
  mapping: Mapping,
  request: WebhookRequest,
  verdict: Verdict & { readonly isVerified: true },
): Promise<string | undefined> {
  return dedupeWindowMs === 0 ? undefined : identityOf(mapping, request, verdict);
}

function typed(mediaType: string | undefined): Record<string, string> {
  return mediaType === undefined ? {} : { "content-type": mediaType };
}

function toResponse({ status, headers, body }: PlainAnswer): Response {
  return new Response(body, { status, headers });
}

/** What a source's owner wants to know of. Where Redis is away there is nobody to be told. */
function isWorthNoting(error: unknown): error is WeirError | HttpError {
  if (error instanceof HttpError) return error.code !== "method-not-allowed" && error.code !== "rate-limited";
  return error instanceof WeirError && error.code !== "redis-unavailable" && error.code !== "outcome-unknown";
}

/** What a provider can do about it: come again. Why, the log has and the source's state. */
function asProviderIsTold(error: unknown): unknown {
  if (!(error instanceof WeirError)) return error;
  switch (error.code) {
    case "unknown-stream":
    case "conflict":
    case "stream-full":
    case "redis-full": {
      const retryAfterS = error.options.retryAfterS ?? RETRY_AFTER_S;
      return new WeirError("redis-unavailable", "this cannot be kept now: send it again", {
        cause: error,
        retryAfterS,
      });
    }
    default:
      return error;
  }
}
