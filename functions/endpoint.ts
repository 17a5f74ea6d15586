import { type OpenAPIHono, z } from "@hono/zod-openapi";
import { ERROR_CODES, type ErrorCode, type InvalidMember, WeirError } from "../shared/errors.ts";
import type { AppContext, AppEnv, Weir } from "./app.ts";
import { type Checked, check, mediaTypeOf, parseJson, readText } from "./body.ts";
import { isPermitted, type Permission } from "./permissions.ts";

/** How a route reads its body, and how that is documented. */
export interface BodyReader<Value> {
  /** Media types and schemas for the documentation; none for a route without a body. */
  readonly content: Readonly<Record<string, { schema: z.ZodType }>>;
  read(request: Request): Promise<Checked<Value>>;
}

/** A route: what it takes, as schemas that check the request and document it, and what it answers. */
export interface Endpoint<Params extends z.ZodObject, Query extends z.ZodObject, Body> {
  readonly method: "get" | "put" | "post" | "delete";
  /** With `{name}` for each member of `params`. */
  readonly path: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  /** Served without a token; it is not below `/v1`. */
  readonly isPublic?: true;
  /** What a token must permit; absent: `read` for GET, `admin` for the others. */
  readonly permission?: Permission;
  readonly params: Params;
  readonly query: Query;
  /** Headers that the handler reads and checks. */
  readonly headers?: z.ZodObject;
  readonly body: BodyReader<Body>;
  readonly answers: Readonly<Record<number, { readonly description: string; readonly schema?: z.ZodType }>>;
  /** Codes of the errors that this route may answer, besides those that any may. */
  readonly errors: readonly ErrorCode[];
}

export interface EndpointInput<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly weir: Weir;
  readonly c: AppContext;
}

/** For routes without path parameters or query. */
export const nothing = z.strictObject({});

/** For routes without a body; one that comes is not read. */
export const noBody: BodyReader<undefined> = { content: {}, read: async () => ({ value: undefined }) };

/** A JSON body of that schema; an empty one counts as `{}`. */
export function jsonBody<Schema extends z.ZodType>(schema: Schema): BodyReader<z.output<Schema>> {
  return {
    content: { "application/json": { schema } },
    async read(request) {
      const text = await readText(request);
      if (text === "") return check(schema, {});
      mediaTypeOf(request, ["application/json"]);
      return check(schema, parseJson(text));
    },
  };
}

/** Registers a route and its documentation, from the same schemas. */
export function endpoint<Params extends z.ZodObject, Query extends z.ZodObject, Body>(
  app: OpenAPIHono<AppEnv>,
  spec: Endpoint<Params, Query, Body>,
  handler: (input: EndpointInput<z.output<Params>, z.output<Query>, Body>) => Promise<Response> | Response,
): void {
  document(app, spec);
  app.on(spec.method.toUpperCase(), spec.path.replaceAll(/\{(\w+)\}/g, ":$1"), async (c) => {
    if (spec.isPublic !== true) authorize(c, neededPermission(spec.method, spec.permission));
    const params = check(spec.params, c.req.param());
    const query = checkQuery(spec.query, c.req.queries());
    const body = await spec.body.read(c.req.raw);
    if ("errors" in params || "errors" in query || "errors" in body) {
      throw invalidRequest([params, query, body].flatMap((checked) => ("errors" in checked ? checked.errors : [])));
    }
    return handler({ params: params.value, query: query.value, body: body.value, weir: c.var.weir, c });
  });
}

function neededPermission(method: string, stated: Permission | undefined): Permission {
  return stated ?? (method === "get" ? "read" : "admin");
}

/** Before anything of the request is read: who may not do it learns nothing of what was wrong with it. */
function authorize(c: AppContext, permission: Permission): void {
  const { stream, group } = c.req.param();
  const resource = permission === "consume" ? `${stream}/${group}` : stream;
  if (isPermitted(c.var.caller, permission, resource)) return;
  const needed =
    permission === "root" ? "the root token" : `${permission}${resource === undefined ? "" : `:${resource}`}`;
  throw new WeirError("forbidden", `this needs ${needed}, which the token does not grant`);
}

/** How many faults an error lists: a body of 8 MiB may have a million, and the answer must not be larger than it. */
const MOST_FAULTS_TOLD = 1_000;

/** The error for a request with these faults; its detail says how many they are. */
export function invalidRequest(errors: readonly InvalidMember[]): WeirError {
  const [first] = errors;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
  const where = first === undefined || first.path === "" ? "" : `${first.path}: `;
  return new WeirError("invalid-request", `${where}${first?.message ?? "not valid"}${more}`, {
    errors: errors.slice(0, MOST_FAULTS_TOLD),
  });
}

function checkQuery<Query extends z.ZodObject>(
  schema: Query,
  query: Readonly<Record<string, readonly string[]>>,
): Checked<z.output<Query>> {
  const repeated = Object.entries(query).filter(([, values]) => values.length > 1);
  if (repeated.length > 0) {
    return { errors: repeated.map(([path, { length }]) => ({ path, message: `expected once, got ${length} times` })) };
  }
  return check(schema, Object.fromEntries(Object.entries(query).map(([name, [value]]) => [name, value])));
}

export const ProblemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.enum(Object.keys(ERROR_CODES)),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .openapi("Problem");

/** Errors that every route with a token may answer. */
const COMMON_ERRORS: readonly ErrorCode[] = [
  "invalid-request",
  "unauthenticated",
  "forbidden",
  "internal-error",
  "redis-unavailable",
];

function document<Params extends z.ZodObject, Query extends z.ZodObject, Body>(
  app: OpenAPIHono<AppEnv>,
  {
    method,
    path,
    tag,
    summary,
    description,
    isPublic,
    permission,
    params,
    query,
    headers,
    body,
    answers,
    errors,
  }: Endpoint<Params, Query, Body>,
): void {
  const codes = isPublic === true ? errors : [...COMMON_ERRORS, ...errors];
  const statuses = Map.groupBy(codes, (code) => ERROR_CODES[code].status);
  const problems = [...statuses].map(([status, codes]) => [
    status,
    { description: codes.join(", "), content: { "application/problem+json": { schema: ProblemSchema } } },
  ]);
  const results = Object.entries(answers).map(([status, { description, schema }]) => [
    status,
    { description, ...(schema === undefined ? {} : { content: { "application/json": { schema } } }) },
  ]);
  app.openAPIRegistry.registerPath({
    method,
    path,
    summary,
    tags: [tag],
    ...(description === undefined ? {} : { description }),
    // The roles of a bearer token, since OpenAPI 3.1.
    security: isPublic === true ? [] : [{ token: [neededPermission(method, permission)] }],
    request: {
      params,
      query,
      ...(headers === undefined ? {} : { headers }),
      ...(Object.keys(body.content).length === 0 ? {} : { body: { content: body.content, required: true } }),
    },
    responses: Object.fromEntries([...results, ...problems]),
  });
}

/** An answer whose body is JSON text already. */
export function jsonResponse(text: string, status = 200, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(text, { status, headers: { "content-type": "application/json", ...headers } });
}
