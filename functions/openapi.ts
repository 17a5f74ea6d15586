import * as z from "zod";
import samples from "./docs/samples.json" with { type: "json" };
import { type EndpointAnswer, permissionOf, type Route, scopesOf } from "./http/endpoint.ts";
import { ERROR_CODES, isProblemCode, type ProblemCode } from "./http/errors.ts";
import { once } from "./http/once.ts";
import { settledSchema } from "./http/settled-schema.ts";

/** OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1), as far as Weir's document uses it. */
export interface ApiDocument {
  readonly openapi: string;
  readonly info: {
    readonly title: string;
    readonly version: string;
    readonly description?: string;
    readonly license?: { readonly name: string; readonly identifier: string };
  };
  readonly servers?: readonly { readonly url: string; readonly description?: string }[];
  readonly tags?: readonly { readonly name: string; readonly description: string }[];
  readonly paths: { readonly [path: string]: { readonly [method: string]: Operation } };
  readonly components?: {
    readonly schemas: Schemas;
    readonly securitySchemes?: { readonly [name: string]: { readonly type: string; readonly scheme: string } };
  };
}

export interface Operation {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly description: string;
  readonly security: readonly { readonly [scheme: string]: readonly string[] }[];
  /** The scopes of which an access token needs one, with the path's parameters in them. */
  readonly "x-weir-scopes"?: readonly string[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly description?: string; readonly required?: boolean; readonly content: Content };
  readonly responses: { readonly [status: string]: Answer };
}

export interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly required?: boolean;
  readonly description?: string;
  readonly schema: Schema;
}

export interface Answer {
  readonly description: string;
  readonly headers?: { readonly [name: string]: { readonly description: string; readonly schema: Schema } };
  readonly content?: Content;
}

export interface Content {
  readonly [mediaType: string]: { readonly schema: Schema; readonly example?: unknown };
}

/** The named schemas of a document. */
export interface Schemas {
  readonly [name: string]: Schema;
}

/** JSON Schema 2020-12, as zod writes it. */
export type Schema = z.core.JSONSchema.JSONSchema;

const TOKEN_ERRORS: readonly ProblemCode[] = ["unauthenticated", "forbidden", "rate-limited"];

/** Errors of every route that needs settings or Redis, with a token or without. */
const HOST_ERRORS: readonly ProblemCode[] = ["internal-error", "misconfigured", "redis-unavailable"];

const BODY_ERRORS: readonly ProblemCode[] = ["payload-too-large", "unsupported-media-type"];

/** The body of an error answer. */
export const problemSchema = once(() =>
  z
    .object({
      type: z.string(),
      title: z.string(),
      status: z.int(),
      detail: z.string(),
      code: z.enum(Object.keys(ERROR_CODES).filter(isProblemCode)),
      errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
      settled: settledSchema().optional().meta({ description: "What a consume or settle settled all the same" }),
    })
    .meta({ id: "Problem" }),
);

/** In the order in which the reference shows them. */
const TAGS: readonly { readonly name: string; readonly description: string }[] = [
  { name: "Start", description: "Where to go from here." },
  { name: "Health", description: "For load balancers and monitors; no token needed." },
  { name: "Streams", description: "Durable, ordered logs of messages, and how long they keep them." },
  { name: "Messages", description: "Producing, and reading without a group." },
  {
    name: "Webhooks",
    description: "Other people's systems as producers: verified, remembered, answered as they expect.",
  },
  { name: "Groups", description: "Independent readers of a stream, each with its own place and settings." },
  { name: "Consuming", description: "Handing messages out under a lease, and settling them." },
  { name: "Consumers", description: "Who works in a group." },
  { name: "Dead letters", description: "What a group could not handle: look into it, hand it out again, delete it." },
  { name: "Reaper", description: "The scheduled work: sweeping, trimming, expiry." },
  { name: "Access tokens", description: "For those who should not have the root token." },
  { name: "Metrics", description: "For Prometheus." },
  { name: "Alerts", description: "What is above its threshold." },
  { name: "Reference", description: "This document, for people." },
];

/** The OpenAPI document of some routes. */
export function apiDocument(routes: readonly Route[]): ApiDocument {
  const schemas = new Components();
  const paths: Record<string, Record<string, Operation>> = {};
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method]: operationOf(route, schemas) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Weir",
      version: "1",
      description:
        "Durable event streams over HTTP. Times are Unix milliseconds, durations milliseconds. Every answer has an " +
        "`X-Request-Id`, which the log has too.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/", description: "The deployment that serves this document" }],
    tags: TAGS.filter(({ name }) => routes.some(({ endpoint }) => endpoint().tag === name)),
    paths,
    components: { schemas: schemas.named, securitySchemes: { token: { type: "http", scheme: "bearer" } } },
  };
}

type AnyEndpoint = ReturnType<Route["endpoint"]>;

function operationOf(route: Route, schemas: Components): Operation {
  const endpoint = route.endpoint();
  const { operationId, tag, summary, description, params, query, headers, body } = endpoint;
  const parameters = [
    ...parametersOf("path", params, schemas),
    ...parametersOf("query", query, schemas),
    ...(headers === undefined ? [] : parametersOf("header", headers, schemas)),
  ];
  return {
    operationId,
    tags: [tag],
    summary,
    description: [description, accessInWords(route)].filter((words) => words !== undefined).join(" "),
    ...accessTo(route),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(hasBody(endpoint)
      ? { requestBody: { description: body.limits, required: true, content: requestContent(endpoint, schemas) } }
      : {}),
    responses: { ...successes(endpoint, schemas), ...problems(route, endpoint, schemas) },
  };
}

function accessInWords(route: Route): string {
  if (route.isPublic !== undefined) return "Public: no token needed.";
  const permission = route.asks ?? permissionOf(route);
  if (permission === "root") return "Needs the root token.";
  const scopes = scopesOf(route).map((scope) => `\`${scope}\``);
  return `Needs the root token, or ${permission === "any" ? "any access token" : `an access token for ${scopes.join(" or ")}`}.`;
}

/** Since OpenAPI 3.1 `security` lists the roles that a bearer token must have; what each is about has no place there. */
function accessTo(route: Route): Pick<Operation, "security" | "x-weir-scopes"> {
  if (route.isPublic !== undefined) return { security: [] };
  const permission = route.asks ?? permissionOf(route);
  const scopes = scopesOf(route);
  return {
    security: [{ token: permission === "any" ? [] : [permission] }],
    ...(scopes.length === 0 ? {} : { "x-weir-scopes": scopes }),
  };
}

function hasBody({ body }: AnyEndpoint): boolean {
  return Object.keys(body.content).length > 0;
}

function parametersOf(place: Parameter["in"], schema: z.ZodObject, schemas: Components): Parameter[] {
  const { properties = {}, required = [] } = schemas.describe(schema, "input");
  return Object.entries(properties).map(([name, schema]) => {
    const { description, ...rest } = typeof schema === "object" ? schema : {};
    const about = description === undefined ? {} : { description };
    return { name, in: place, required: required.includes(name), ...about, schema: rest };
  });
}

function requestContent({ operationId, body }: AnyEndpoint, schemas: Components): Content {
  return Object.fromEntries(
    Object.entries(body.content).map(([mediaType, { schema }]) => [
      mediaType,
      { schema: schemas.describe(schema, "input"), ...exampleOf(operationId, "request", mediaType) },
    ]),
  );
}

function successes({ operationId, answers }: AnyEndpoint, schemas: Components): Record<string, Answer> {
  const content = ({ schema = z.string(), mediaType = "application/json", orMediaTypes }: EndpointAnswer): Content =>
    Object.fromEntries(
      Object.entries({ [mediaType]: schema, ...orMediaTypes }).map(([type, one]) => [
        type,
        { schema: schemas.describe(one, "output"), ...exampleOf(operationId, "answer", type) },
      ]),
    );
  return Object.fromEntries(
    Object.entries(answers).map(([status, answer]) => [
      status,
      {
        description: answer.description,
        ...(answer.headers === undefined ? {} : { headers: headersOf(answer.headers) }),
        ...(status === "204" ? {} : { content: content(answer) }),
      },
    ]),
  );
}

function headersOf(headers: Readonly<Record<string, string>>): NonNullable<Answer["headers"]> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [name, { description, schema: { type: "string" } }]),
  );
}

function problems({ isPublic }: Route, endpoint: AnyEndpoint, schemas: Components): Record<string, Answer> {
  const codes = new Set<ProblemCode>([
    // Anybody may ask for what there is not in the query.
    "invalid-request",
    ...(isPublic === undefined ? TOKEN_ERRORS : []),
    ...(isPublic === "static" ? [] : HOST_ERRORS),
    ...(hasBody(endpoint) ? BODY_ERRORS : []),
    ...endpoint.errors,
  ]);
  const content = () => ({ "application/problem+json": { schema: schemas.describe(problemSchema(), "output") } });
  return Object.fromEntries(
    [...Map.groupBy(codes, (code) => ERROR_CODES[code].status)].map(([status, some]) => [
      String(status),
      { description: some.join(", "), content: content() },
    ]),
  );
}

/** What was really sent and answered; a test makes it anew against the Worker. */
type Samples = {
  readonly [operationId: string]: { readonly [part: string]: { readonly [mediaType: string]: unknown } };
};

function exampleOf(operationId: string, part: "request" | "answer", mediaType: string): { example?: unknown } {
  const known: Samples = samples;
  const example = known[operationId]?.[part]?.[mediaType];
  return example === undefined ? {} : { example };
}

/** Writes schemas as JSON Schema, and collects those that have a name. */
class Components {
  readonly #named = new Map<string, Schema>();

  /** By name, so that the document does not depend on the order of the routes. */
  get named(): Schemas {
    return Object.fromEntries([...this.#named].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** @param side what clients send (`input`), or what they get (`output`) */
  describe(schema: z.ZodType, side: "input" | "output"): Schema {
    // As a member, since zod writes a named schema out in full at the root, and refers to it everywhere else.
    const { properties, $defs = {} } = z.toJSONSchema(z.object({ schema }), {
      io: side,
      unrepresentable: "any",
      override: ({ jsonSchema }) => tidy(jsonSchema, side),
    });
    relink([properties, $defs]);
    for (const [name, definition] of Object.entries($defs)) this.#named.set(name, definition);
    const described = properties?.schema;
    return typeof described === "object" ? described : {};
  }
}

/** Brings zod's JSON Schema into the form in which people write it. */
function tidy(schema: Schema, side: "input" | "output"): void {
  const { anyOf, maximum = 0, minimum = 0, shownAs } = schema;
  if (side === "output") {
    // What a number can hold at all is no limit of an answer's.
    if (maximum >= Number.MAX_SAFE_INTEGER) delete schema.maximum;
    if (minimum <= Number.MIN_SAFE_INTEGER) delete schema.minimum;
  }
  // An answer may gain members.
  if (side === "output" && schema.additionalProperties === false) delete schema.additionalProperties;
  if (typeof shownAs === "object") {
    for (const keyword of ["shownAs", "type", "pattern"]) delete schema[keyword];
    Object.assign(schema, shownAs);
  }
  const [inner, none] = anyOf ?? [];
  if (anyOf?.length === 2 && typeof inner?.type === "string" && none?.type === "null") {
    delete schema.anyOf;
    Object.assign(schema, { ...inner, ...schema, type: [inner.type, "null"] });
    if (inner.enum !== undefined) schema.enum = [...inner.enum, null];
  }
}

/** Lets references point to where OpenAPI keeps named schemas. */
function relink(value: unknown): void {
  if (typeof value !== "object" || value === null) return;
  if ("$ref" in value) value.$ref = String(value.$ref).replace("#/$defs/", "#/components/schemas/");
  for (const inner of Object.values(value)) relink(inner);
}
