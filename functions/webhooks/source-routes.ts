import * as z from "zod";
import { fieldMap } from "../../shared/message.ts";
import { getEntry } from "../../shared/stream/messages.ts";
import { pageByName } from "../../shared/stream/page.ts";
import { openStream } from "../../shared/stream/stream.ts";
import {
  findSource,
  type KeyPlace,
  listSources,
  sourceState,
  WEBHOOK_DEFAULTS,
  type WebhookSource,
  type WebhookState,
} from "../../shared/stream/webhook-sources.ts";
import type { AppContext, RequestContext } from "../context.ts";
import { isAuthorized } from "../http/auth.ts";
import { jsonBody, noBody, nothing, type Route, route } from "../http/endpoint.ts";
import { HttpError } from "../http/errors.ts";
import { once } from "../http/once.ts";
import type { Permission } from "../http/permissions.ts";
import { publicOrigin } from "../http/public-url.ts";
import { cursor, defaultInWords, EntryId, Limit, limitedText, Name, Next, setting } from "../http/schemas.ts";
import { configure, remove } from "./configure.ts";
import { verifyStored } from "./mapping.ts";
import { PROVIDER_NAMES } from "./providers.ts";
import { pointer, publicHeaderName, schemeSchema } from "./scheme.ts";
import { secretsOf, secretVariable } from "./secrets.ts";
import { mappingOf } from "./sources.ts";

const tag = "Webhooks";
const path = "/v1/webhooks/{source}";
const DAY_MS = 24 * 3_600_000;
/** A list shows up to 1,000 of them. */
const MAX_SETTINGS_BYTES = 8 * 1024;

const SourceName = Name.refine(
  // Its secret would be the previous one of another source.
  (name) => !/[^A-Za-z0-9]previous$/i.test(name),
  "expected a name that does not end in _previous",
);
const SourceParams = z.object({ source: SourceName });

const sourceSettings = once(() =>
  z.strictObject({
    stream: Name.optional().meta({ description: "Where its webhooks go. Needed when the source is made" }),
    provider: z
      .enum(PROVIDER_NAMES)
      .optional()
      .meta({ description: "Whose webhooks these are; `generic` by a `scheme`. Needed when the source is made" }),
    typePrefix: limitedText(0, 128)
      .refine((text) => text.isWellFormed(), "expected well-formed Unicode")
      .nullish()
      .meta({ description: "Stands before the provider's event type; nothing unless set" }),
    dedupeWindowMs: setting(0, 7 * DAY_MS, WEBHOOK_DEFAULTS.dedupeWindowMs),
    toleranceMs: setting(1_000, DAY_MS, WEBHOOK_DEFAULTS.toleranceMs),
    paused: z
      .boolean()
      .nullish()
      .meta({ description: `Answer 200, and keep nothing. ${defaultInWords(false)}` }),
    key: z
      .strictObject({ header: publicHeaderName().optional(), pointer: pointer().optional() })
      .refine(
        ({ header, pointer }) => (header === undefined) !== (pointer === undefined),
        "expected either header or pointer",
      )
      .transform(({ header, pointer = "" }): KeyPlace => (header === undefined ? { pointer } : { header }))
      .nullish()
      .meta({ description: "What becomes the message's `key`: a header, or a member of a JSON body" }),
    scheme: schemeSchema().nullish().meta({ description: "How `generic` signs; for no other provider" }),
  }),
);

const sourceSchema = once(() =>
  z
    .object({
      name: z.string(),
      url: z.string().meta({ description: "Where the provider posts to" }),
      stream: z.string(),
      provider: z.string(),
      typePrefix: z.string(),
      dedupeWindowMs: z.int(),
      toleranceMs: z.int(),
      paused: z.boolean(),
      key: z.record(z.string(), z.string()).nullable(),
      scheme: z.unknown().meta({ description: "Null unless the provider is `generic`" }),
      secretIs: z.enum(["set", "missing"]),
      secretName: z.string().meta({ description: "The deployment's setting that holds the secret" }),
      lastReceivedAt: z.int().nullable().meta({ description: "To the minute; null: never" }),
      lastRefused: z
        .object({ at: z.int(), reason: z.string().meta({ description: "The `code` of the error" }) })
        .nullable()
        .meta({ description: "To the minute; null: never" }),
    })
    .meta({ id: "WebhookSource" }),
);

type SourceAnswer = z.output<ReturnType<typeof sourceSchema>>;

function answerOf(source: WebhookSource, state: WebhookState, { config }: RequestContext, url: string): SourceAnswer {
  const { name, stream, provider, typePrefix, dedupeWindowMs, toleranceMs, paused, key, scheme } = source;
  return {
    name,
    url: `${publicOrigin(config, url)}/hooks/${name}`,
    stream,
    provider,
    typePrefix,
    dedupeWindowMs,
    toleranceMs,
    paused,
    key: key === null ? null : { ...key },
    scheme,
    secretIs: secretsOf(config, name) === undefined ? "missing" : "set",
    secretName: secretVariable(name),
    lastReceivedAt: state.lastReceivedAt,
    lastRefused: state.lastRefused,
  };
}

async function answerWithState(source: WebhookSource, context: RequestContext, url: string): Promise<SourceAnswer> {
  const { redis, config } = context;
  const state = await sourceState(openStream(redis, config.keyPrefix, source.stream), config.keyPrefix, source.name);
  return answerOf(source, state, context, url);
}

const putSourceRoute = route(
  { method: "put", path, permission: "any", asks: "admin" },
  () => ({
    operationId: "putWebhookSource",
    repeat: "repeating it is safe: it sets the same again",
    tag,
    summary: "Make a webhook source, or change its settings",
    description:
      "What is absent stays as it is, null goes back to the default. The secret is a setting of the deployment; `secretName` " +
      "names it. The token is asked of the source's stream.",
    params: SourceParams,
    query: nothing,
    body: jsonBody(sourceSettings(), MAX_SETTINGS_BYTES),
    answers: {
      200: { description: "It was there", schema: sourceSchema() },
      201: { description: "Made", schema: sourceSchema() },
    },
    errors: ["unknown-stream", "conflict", "outcome-unknown", "redis-full"],
  }),
  async ({ params, body, context, c }) => {
    const allow = (stream: string | undefined) => authorizeFor(c, "admin", stream);
    const { created, source } = await configure(context, params.source, body, allow);
    return c.json(await answerWithState(source, context, c.req.url), created ? 201 : 200);
  },
);

const listSourcesRoute = route(
  { method: "get", path: "/v1/webhooks", permission: "any" },
  () => ({
    operationId: "listWebhookSources",
    tag,
    summary: "List the webhook sources by name: those of streams that the token may read",
    params: nothing,
    query: z.strictObject({ cursor: cursor(Name), limit: Limit }),
    body: noBody,
    answers: {
      200: { description: "A page", schema: z.object({ webhooks: z.array(sourceSchema()), next: Next }) },
    },
    errors: ["conflict"],
  }),
  async ({ query, context, c }) => {
    const all = await listSources(context.redis, context.config.keyPrefix);
    const readable = all.filter(({ stream }) => isAuthorized(c, "read", { stream }));
    const { items, next } = pageByName(readable, query);
    return c.json({ webhooks: items.map((source) => answerOf(source, source, context, c.req.url)), next });
  },
);

const getSourceRoute = route(
  { method: "get", path, permission: "any", asks: "read" },
  () => ({
    operationId: "getWebhookSource",
    tag,
    summary: "Look at a webhook source",
    description: "The token is asked of the source's stream.",
    params: SourceParams,
    query: nothing,
    body: noBody,
    answers: { 200: { description: "The source", schema: sourceSchema() } },
    errors: ["not-found", "unknown-stream", "conflict"],
  }),
  async ({ params, context, c }) => {
    const source = await sourceNamed(context, params.source);
    authorizeFor(c, "read", source.stream);
    return c.json(await answerWithState(source, context, c.req.url));
  },
);

const deleteSourceRoute = route(
  { method: "delete", path, permission: "any", asks: "admin" },
  () => ({
    operationId: "deleteWebhookSource",
    repeat: "repeating it is safe: 404 means that it is gone",
    tag,
    summary: "Delete a webhook source; its stream stays",
    description: "The token is asked of the source's stream.",
    params: SourceParams,
    query: nothing,
    body: noBody,
    answers: { 204: { description: "Deleted" } },
    errors: ["not-found", "conflict", "outcome-unknown"],
  }),
  async ({ params, context, c }) => {
    const source = await sourceNamed(context, params.source);
    authorizeFor(c, "admin", source.stream);
    await remove(context, source);
    return c.body(null, 204);
  },
);

const verifyAgainRoute = route(
  { method: "post", path: `${path}/verify`, permission: "any", asks: "read" },
  () => ({
    operationId: "verifyWebhook",
    tag,
    summary: "Verify a stored message again, by its own bytes and headers, whatever its age",
    description:
      "The token is asked of the source's stream, and of the one that is named. `secret` says which one verified it: rotate only once none needs the previous one.",
    params: SourceParams,
    query: nothing,
    body: jsonBody(
      z.strictObject({
        stream: Name.optional().meta({ description: "Where the message is; the source's own stream unless set" }),
        id: EntryId,
      }),
    ),
    answers: {
      200: {
        description: "Whether it is what the provider signed",
        schema: z.object({ verified: z.boolean(), secret: z.enum(["current", "previous"]).nullable() }),
      },
    },
    errors: ["not-found", "unknown-stream", "unknown-message", "conflict", "not-available"],
  }),
  async ({ params, body, context, c }) => {
    const { redis, config } = context;
    const source = await sourceNamed(context, params.source);
    authorizeFor(c, "read", source.stream);
    const name = body.stream ?? source.stream;
    authorizeFor(c, "read", name);
    const secrets = secretsOf(config, source.name);
    if (secrets === undefined) throw new HttpError("not-available", `${secretVariable(source.name)} is not set`);
    const { fields } = await getEntry(openStream(redis, config.keyPrefix, name), body.id);
    const verdict = await verifyStored(mappingOf(source), fieldMap(fields), secrets);
    return c.json({ verified: verdict.isVerified, secret: verdict.isVerified ? verdict.secret : null });
  },
);

/**
 * @param stream undefined: nobody can tell which
 * @throws {HttpError} `forbidden`, without the stream's name: the path does not have it
 */
function authorizeFor(c: AppContext, permission: Permission, stream: string | undefined): void {
  if (isAuthorized(c, permission, { stream })) return;
  throw new HttpError("forbidden", `this needs ${permission} of the stream, which the token does not grant`);
}

/** @throws {HttpError} `not-found` */
async function sourceNamed({ redis, config }: RequestContext, name: string): Promise<WebhookSource> {
  const source = await findSource(redis, config.keyPrefix, name);
  if (source !== undefined) return source;
  throw new HttpError("not-found", `there is no webhook source "${name}"; PUT /v1/webhooks/${name} makes it`);
}

export const sourceRoutes: readonly Route[] = [
  putSourceRoute,
  listSourcesRoute,
  getSourceRoute,
  deleteSourceRoute,
  verifyAgainRoute,
];
