import type { ApiDocument, Operation, Schema } from "../../functions/openapi.ts";

/** Something in a request that the OpenAPI document names: text, a number, or a list or object with a limited size. */
export interface ApiMember {
  readonly operationId: string;
  readonly operation: Operation;
  /** `path`, `query`, `header`, or the body's media type. */
  readonly place: string;
  /** With the names of what it lies in: `retries.lease`. */
  readonly name: string;
  readonly schema: Schema;
  /** The rest of the request is valid. */
  requestWith(value: unknown): ApiRequest;
}

export interface ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Values that are valid where the schema alone does not say what is, by name; ids and names are those of nothing. */
const VALID: Readonly<Record<string, unknown>> = {
  stream: "none",
  source: "none",
  group: "none",
  consumer: "none",
  id: "1-0",
  scheduledId: "later~1.0~000000000001.0",
  ids: ["1-0"],
  minId: "1-0",
  to: "latest",
  start: "1",
  end: "2",
  before: "1",
  scope: ["metrics"],
  messages: [{}],
};

/** Operations without a token, of whose requests only a provider's scheme can tell what is valid. */
export const OPEN_OPERATIONS: readonly string[] = ["receiveWebhook", "greetWebhook", "allowWebhook"];

/** A valid request for each operation; what it names is `none`. */
export function validRequests(
  document: ApiDocument,
): readonly { readonly operation: Operation; readonly request: ApiRequest }[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => {
      return { operation, request: requestOf(document, { method, path, operation }, {}) };
    }),
  );
}

/** Every member of every request that may hold a text. */
export function textMembers(document: ApiDocument): readonly ApiMember[] {
  return apiMembers(document).filter(({ schema }) => schema.type === undefined || typesOf(schema).includes("string"));
}

/** Every member of every request. */
export function apiMembers(document: ApiDocument): readonly ApiMember[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).flatMap(([method, operation]) => membersOfOperation(document, { method, path, operation })),
  );
}

/** A body that is the payload of a message, of which the query says the rest. */
const PAYLOAD = { mediaType: "text/plain", value: "x" };

interface Route {
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

function membersOfOperation(document: ApiDocument, route: Route): ApiMember[] {
  const { operation } = route;
  const { operationId, parameters = [], requestBody } = operation;
  const inParameters = parameters.map(({ in: place, name, schema }): ApiMember => {
    return {
      operationId,
      operation,
      place,
      name,
      schema,
      requestWith(value) {
        const body = place === "query" && operationId === "produce" ? PAYLOAD : undefined;
        const request = requestOf(document, route, place === "path" ? { [name]: value } : {}, body);
        const query = place === "query" ? `?${name}=${encodeURIComponent(String(value))}` : "";
        const named = place === "header" ? { [name]: String(value) } : {};
        return { ...request, path: request.path + query, headers: { ...request.headers, ...named } };
      },
    };
  });
  const inBody = Object.entries(requestBody?.content ?? {}).flatMap(([mediaType, { schema }]) =>
    [...leavesOf(document, schema)].map((leaf): ApiMember => {
      return {
        operationId,
        operation,
        place: mediaType,
        name: leaf.names.join("."),
        schema: leaf.schema,
        requestWith: (value) => requestOf(document, route, {}, { mediaType, value: leaf.around(value) }),
      };
    }),
  );
  return [...inParameters, ...inBody];
}

function requestOf(
  document: ApiDocument,
  { method, path, operation }: Route,
  params: Readonly<Record<string, unknown>>,
  body?: { readonly mediaType: string; readonly value: unknown },
): ApiRequest {
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name) => encodeURIComponent(String(params[name] ?? VALID[name])));
  const [mediaType, content] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  const sent = body ?? (mediaType && { mediaType, value: validOf(document, content?.schema ?? {}, "") });
  if (!sent) return { method: method.toUpperCase(), path: filled, headers: {} };
  const headers = { "content-type": sent.mediaType === "*/*" ? "application/octet-stream" : sent.mediaType };
  return { method: method.toUpperCase(), path: filled, headers, body: JSON.stringify(sent.value) };
}

interface Leaf {
  readonly names: readonly string[];
  readonly schema: Schema;
  /** A valid value around it that has the given one there. */
  around(value: unknown): unknown;
}

/** Every place for a text or a number in what a schema describes. */
function* leavesOf(document: ApiDocument, unresolved: Schema, name = ""): Generator<Leaf> {
  const schema = resolve(document, unresolved);
  for (const choice of schema.anyOf ?? []) if (isSchema(choice)) yield* leavesOf(document, choice, name);
  const isAny = Object.keys(schema).every((keyword) => keyword === "description");
  const isLimited = schema.maxItems !== undefined || schema.maxProperties !== undefined;
  if (isAny || isLimited || typesOf(schema).some((type) => type === "string" || type === "integer")) {
    yield { names: [], schema, around: (value) => value };
  }
  const { items, additionalProperties, propertyNames } = schema;
  if (isSchema(items)) {
    for (const leaf of leavesOf(document, items, name)) yield { ...leaf, around: (value) => [leaf.around(value)] };
  }
  for (const [member, inner] of Object.entries(schema.properties ?? {})) {
    if (!isSchema(inner)) continue;
    const others = requiredBeside(document, schema, member);
    for (const leaf of leavesOf(document, inner, member)) {
      const around = (value: unknown) => ({ ...others, [member]: leaf.around(value) });
      yield { ...leaf, names: [member, ...leaf.names], around };
    }
  }
  if (isSchema(propertyNames)) {
    yield { names: ["(name)"], schema: propertyNames, around: (value) => ({ [String(value)]: "x" }) };
  }
  if (isSchema(additionalProperties)) {
    const others = requiredBeside(document, schema, "a");
    for (const leaf of leavesOf(document, additionalProperties)) {
      yield { ...leaf, names: ["(value)", ...leaf.names], around: (value) => ({ ...others, a: leaf.around(value) }) };
    }
  }
}

/** Valid values for the members without which one may not come. */
function requiredBeside(document: ApiDocument, schema: Schema, member: string): Record<string, unknown> {
  const ways = (schema.oneOf ?? []).filter(isSchema).map(({ required = [] }) => required);
  const required = [...(schema.required ?? []), ...(ways.find((names) => names.includes(member)) ?? [])];
  const names = required.filter((name) => name !== member);
  const others = names.map((name) => [name, validOf(document, propertyOf(schema, name), name)]);
  // Without it some values are refused for what they would do.
  return { ...(schema.properties?.force ? { force: true } : {}), ...Object.fromEntries(others) };
}

function validOf(document: ApiDocument, unresolved: Schema, name: string): unknown {
  if (name in VALID) return VALID[name];
  const schema = resolve(document, unresolved);
  if (schema.const !== undefined) return schema.const;
  if (schema.type === "object") {
    const way = (schema.oneOf ?? []).find(isSchema)?.required ?? [];
    const names = [...(schema.required ?? []), ...way];
    return Object.fromEntries(names.map((inner) => [inner, validOf(document, propertyOf(schema, inner), inner)]));
  }
  return schema.type === "integer" ? (schema.minimum ?? 0) : "x";
}

function propertyOf(schema: Schema, name: string): Schema {
  const property = schema.properties?.[name];
  return isSchema(property) ? property : {};
}

export function resolve(document: ApiDocument, schema: Schema): Schema {
  const name = schema.$ref?.split("/").at(-1);
  return name === undefined ? schema : (document.components?.schemas[name] ?? {});
}

export function typesOf({ type }: Schema): readonly string[] {
  return [type ?? []].flat();
}

function isSchema(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
