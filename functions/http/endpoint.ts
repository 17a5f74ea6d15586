import * as z from "zod";
import { type EventStream, openStream } from "../../shared/stream/stream.ts";
import type { AppContext, RequestContext } from "../context.ts";
import { authorize } from "./auth.ts";
import { mediaTypeOf, parseJson, readText } from "./body.ts";
import type { ProblemCode } from "./errors.ts";
import { once } from "./once.ts";
import type { AnswersAsOnWire, BodyAsOnWire, OperationId, QueryAsOnWire } from "./operations.ts";
import { type Permission, scopesFor } from "./permissions.ts";
import { type Checked, check, checkBody, checkQuery, invalidRequest } from "./validate.ts";

/** By media type. */
type BodySchemas = Readonly<Record<string, z.ZodType>>;

/** How a route reads its body, and how that is documented. */
export interface BodyReader<Value, Schemas extends BodySchemas = BodySchemas> {
  /** Media types and schemas for the documentation; none for a route without a body. */
  readonly content: { readonly [MediaType in keyof Schemas]: { readonly schema: Schemas[MediaType] } };
  /** What a body is limited to, in words, for the documentation. */
  readonly limits: string;
  read(request: Request): Promise<Checked<Value>>;
}

/** Where a route is served, and to whom. */
export interface Place {
  readonly method: "get" | "put" | "post" | "delete" | "options";
  /** With `{name}` for each path parameter. */
  readonly path: string;
  /** Served without a token, outside `/v1`. `"static"`: it needs neither settings nor Redis. */
  readonly isPublic?: true | "static";
  /** What a token must permit. Absent: `read` for GET, `admin` for the others. */
  readonly permission?: Permission;
  /** With the permission `any`: what the handler then asks for, of a stream that the path does not name. */
  readonly asks?: Permission;
}

/** What a route takes, as schemas that check the request and document it, and what it answers. */
export interface Endpoint<
  Params extends z.ZodObject = z.ZodObject,
  Query extends z.ZodObject = z.ZodObject,
  Body = BodyReader<unknown>,
  Answers = Readonly<Record<number, unknown>>,
> {
  /** The route's name in generated clients. */
  readonly operationId: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  /** A member for each `{name}` of the path. */
  readonly params: Params;
  readonly query: Query;
  /** Headers that the handler reads and checks. */
  readonly headers?: z.ZodObject;
  readonly body: Body;
  readonly answers: { readonly [Status in keyof Answers]: EndpointAnswer<Answers[Status]> };
  /** Codes of the errors that this route may answer, besides those that any may. */
  readonly errors: readonly ProblemCode[];
  /**
   * For a route that may answer `outcome-unknown`: what repeating the request means, the end of a sentence. By the
   * request's headers where it depends on them.
   */
  readonly repeat?: string | ((headers: Headers) => string);
}

export interface EndpointAnswer<Answer = unknown> {
  readonly description: string;
  readonly schema?: z.ZodType<Answer>;
  /** `application/json` unless it says so. */
  readonly mediaType?: string;
  /** Others that it may have instead, where the `Accept` header asks for one. */
  readonly orMediaTypes?: Readonly<Record<string, z.ZodType>>;
  /** Headers that it may have, with what they say. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** An endpoint whose schemas are the same as the wire's types of that operation. */
type OnWire<
  Id extends OperationId,
  Params extends z.ZodObject,
  Query extends z.ZodObject,
  Body,
  Schemas extends BodySchemas,
  Answers,
> = Endpoint<Params, Query, BodyReader<Body, Schemas>, Answers> & {
  readonly operationId: Id;
  readonly query: QueryAsOnWire<Id, Query>;
  readonly body: BodyAsOnWire<Id, Schemas>;
  readonly answers: AnswersAsOnWire<Id, Answers>;
};

/** What a handler is given. */
export interface EndpointInput<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly context: RequestContext;
  readonly c: AppContext;
}

type Handler<Input> = (input: Input) => Promise<Response> | Response;

/** A route as the app serves it and as the API document describes it. */
export interface Route extends Place {
  endpoint(): Endpoint;
  handle(c: AppContext): Promise<Response>;
}

/**
 * A route: the caller is authorized, the parts of the request are checked, then the handler runs.
 * @param describe makes the schemas, at the first request or for the document
 */
export function route<
  Id extends OperationId,
  Params extends z.ZodObject,
  Query extends z.ZodObject,
  Body,
  Schemas extends BodySchemas,
  Answers,
>(
  place: Place,
  describe: () => OnWire<Id, Params, Query, Body, Schemas, Answers>,
  handler: Handler<EndpointInput<z.output<Params>, z.output<Query>, Body>>,
): Route {
  const endpoint = once(describe);
  return {
    ...place,
    endpoint,
    async handle(c) {
      // Before anything of the request is read: a caller without the permission learns nothing about its request.
      if (place.isPublic === undefined) authorize(c, permissionOf(place));
      const expected = endpoint();
      const params = check(expected.params, c.req.param());
      const query = checkQuery(expected.query, c.req.queries());
      const body = await expected.body.read(c.req.raw);
      if ("errors" in params || "errors" in query || "errors" in body) {
        throw invalidRequest([params, query, body].flatMap((checked) => ("errors" in checked ? checked.errors : [])));
      }
      const { context } = c.var;
      const { repeat } = expected;
      c.set("repeat", typeof repeat === "function" ? repeat(c.req.raw.headers) : repeat);
      return handler({ params: params.value, query: query.value, body: body.value, context, c });
    },
  };
}

/** Path parameters that name a stream. */
type StreamParams = z.ZodObject & z.ZodType<{ stream: string }>;

/** A route below a stream, whose handler is given that stream. It need not exist. */
export function streamRoute<
  Id extends OperationId,
  Params extends StreamParams,
  Query extends z.ZodObject,
  Body,
  Schemas extends BodySchemas,
  Answers,
>(
  place: Place,
  describe: () => OnWire<Id, Params, Query, Body, Schemas, Answers>,
  handler: Handler<EndpointInput<z.output<Params>, z.output<Query>, Body> & { readonly stream: EventStream }>,
): Route {
  return route(place, describe, (input) => {
    const { redis, config } = input.context;
    return handler({ ...input, stream: openStream(redis, config.keyPrefix, input.params.stream) });
  });
}

/** What a token must permit for a route. */
export function permissionOf({ method, permission }: Place): Permission {
  return permission ?? (method === "get" ? "read" : "admin");
}

/** The scopes of which a token needs one for a route, with the path's parameters in them; none for those without a choice. */
export function scopesOf(place: Place): readonly string[] {
  if (place.isPublic !== undefined) return [];
  if (place.asks !== undefined) return scopesFor(place.asks, { stream: "{stream}" });
  const names = (name: string) => (place.path.includes(`{${name}}`) ? `{${name}}` : undefined);
  return scopesFor(permissionOf(place), { stream: names("stream"), group: names("group") });
}

/** For routes without path parameters or query. */
export const nothing = z.strictObject({});

/** For routes without a body; one that comes is not read. */
export const noBody: BodyReader<undefined, Readonly<Record<never, never>>> = {
  content: {},
  limits: "",
  read: async () => ({ value: undefined }),
};

/** Settings, ids, scopes: 1,000 ids of the longest kind with white space between take 50 KB. */
const JSON_BODY_BYTES = 64 * 1024;
/** 1,000 retries with all their members have 4,000. */
const JSON_BODY_PARTS = 10_000;

/** A JSON body of that schema; an empty one counts as `{}`. */
export function jsonBody<Schema extends z.ZodType>(
  schema: Schema,
  maxBytes = JSON_BODY_BYTES,
): BodyReader<z.output<Schema>, { readonly "application/json": Schema }> {
  return {
    content: { "application/json": { schema } },
    limits: `At most ${inWords(maxBytes)}.`,
    async read(request) {
      const text = await readText(request, maxBytes);
      if (text === "") return check(schema, {});
      mediaTypeOf(request, ["application/json"]);
      return checkBody(schema, parseJson(text, { maxParts: JSON_BODY_PARTS }));
    },
  };
}

/** @param bytes a whole number of KiB */
export function inWords(bytes: number): string {
  const kib = bytes / 1024;
  return kib < 1024 ? `${kib} KiB` : `${kib / 1024} MiB`;
}

/** An answer whose body is JSON text already. */
export function jsonResponse(text: string, status = 200, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(text, { status, headers: { "content-type": "application/json", ...headers } });
}
