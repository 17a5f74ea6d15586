import fc from "fast-check";
import { type Api, type ApiOperation, asSchema, parametersIn } from "./api.ts";
import { type Hostility, spoilt } from "./hostile.ts";
import type { WireRequest } from "./http.ts";
import { type Mistake, withMistake } from "./mistakes.ts";
import type { Pool, Scope } from "./pool.ts";
import { TOKEN_KINDS, type TokenKind } from "./tokens.ts";
import { ValidValues } from "./valid.ts";
import { isList, jsonText, Learnt, type Member, plainText, type Value } from "./values.ts";

/** A request before it is known what its picks stand for. */
export interface Plan {
  readonly operation: ApiOperation;
  readonly path: readonly Member[];
  readonly query: readonly Member[];
  readonly headers: readonly Member[];
  readonly mediaType: string | undefined;
  /** A list for NDJSON: its lines. */
  readonly body: Value | undefined;
  readonly mistake: Mistake | undefined;
  /** What is done to the query, modulo what can be; undefined: nothing. */
  readonly queryMistake: number | undefined;
  readonly hostility: Hostility | undefined;
  readonly token: TokenKind;
}

/** A request that can be sent, and what the checks need to know of it. */
export interface FuzzRequest extends WireRequest {
  /** Undefined: what is sent is no token of ours. */
  readonly token: TokenKind | undefined;
  /** The server may refuse it before Weir sees it, or close the connection. */
  readonly breaksHttp: boolean;
}

/** How often an operation is tried, against 4 for those that are not named. */
const WEIGHTS: Readonly<Record<string, number>> = {
  produce: 14,
  consume: 16,
  settle: 10,
  putStream: 3,
  putGroup: 5,
  deleteStream: 1,
  deleteGroup: 1,
  claim: 6,
  runReaper: 2,
  getStart: 1,
  getHealth: 1,
  getReadiness: 1,
  getReference: 1,
  getApiDocument: 1,
  issueToken: 1,
};

export function plans(api: Api): fc.Arbitrary<Plan> {
  const values = new ValidValues(api);
  return fc.oneof(
    ...api.operations.map((operation) => ({
      weight: WEIGHTS[operation.operationId] ?? 4,
      arbitrary: planOf(operation, values),
    })),
  );
}

function planOf(operation: ApiOperation, values: ValidValues): fc.Arbitrary<Plan> {
  return fc
    .record({
      operation: fc.constant(operation),
      path: membersIn(operation, "path", values),
      query: membersIn(operation, "query", values),
      headers: membersIn(operation, "header", values),
      content: contentOf(operation, values),
      mistake: seldom(fc.record({ site: fc.nat(1023), way: fc.nat(1023) }), 5),
      queryMistake: seldom(fc.nat(255), 12),
      hostility: seldom(fc.record({ way: fc.nat(1023), n: fc.nat(1023) }), 14),
      token: fc.oneof(
        { arbitrary: fc.constant<TokenKind>("root"), weight: 14 },
        { arbitrary: fc.constantFrom(...TOKEN_KINDS), weight: 1 },
      ),
    })
    .map(({ content, ...rest }) => untangled({ ...rest, ...content }));
}

function seldom<T>(value: fc.Arbitrary<T>, outOf: number): fc.Arbitrary<T | undefined> {
  return fc.oneof({ arbitrary: fc.constant(undefined), weight: outOf - 1 }, { arbitrary: value, weight: 1 });
}

function membersIn(
  operation: ApiOperation,
  place: "path" | "query" | "header",
  values: ValidValues,
): fc.Arbitrary<Member[]> {
  const parameters = parametersIn(operation, place);
  const members = parameters.map(({ name, schema, required }) => {
    const member = values.of(schema, name, operation.path).map((value): Member[] => [[name, value]]);
    return required === true ? member : seldom(member, 2).map((some) => some ?? []);
  });
  return fc.tuple(...members).map((some) => some.flat());
}

interface PlannedContent {
  readonly mediaType: string | undefined;
  readonly body: Value | undefined;
}

function contentOf({ requestBody, path }: ApiOperation, values: ValidValues): fc.Arbitrary<PlannedContent> {
  const content = Object.entries(requestBody?.content ?? {});
  if (content.length === 0) return fc.constant({ mediaType: undefined, body: undefined });
  return fc.oneof(
    ...content.map(([mediaType, { schema }]) => {
      const one = values.of(schema, "body", path);
      const body = isLines(mediaType) ? fc.array(one, { minLength: 1, maxLength: 5 }) : one;
      const type = mediaType === "*/*" ? fc.constantFrom(...PAYLOAD_TYPES) : fc.constant(mediaType);
      return fc.tuple(type, body).map(([type, value]): PlannedContent => ({ mediaType: type, body: value }));
    }),
  );
}

/** Of bodies that are the payload of a message. */
const PAYLOAD_TYPES = ["text/plain", "image/png", "application/vnd.x+json", "application/x-www-form-urlencoded"];

/** What the document says in words only: hardly any produce would get far that says the same in several places. */
function untangled({ query, headers, ...plan }: Plan): Plan {
  const isPayload = PAYLOAD_TYPES.includes(plan.mediaType ?? "");
  const needed = headers.filter(([name]) => /^ce-(specversion|id|source|type)$/.test(name));
  return {
    ...plan,
    query: plan.operation.operationId === "produce" && !isPayload ? [] : query,
    headers: needed.length === 4 ? headers : headers.filter((header) => !needed.includes(header)),
  };
}

function isLines(mediaType: string | undefined): boolean {
  return mediaType === "application/x-ndjson";
}

/** Says what each pick is, and writes the request. */
export function makeRequest(
  plan: Plan,
  api: Api,
  pool: Pool,
  tokenOf: (kind: TokenKind) => string | undefined,
): FuzzRequest {
  const { operation, token } = plan;
  let scope: Scope = { path: operation.path };
  const parts = new Map<string, string>();
  for (const [name, value] of plan.path) {
    const text = plainText(value, (pick) => pool.resolve(pick, scope));
    parts.set(name, text);
    if (name === "stream") scope = { ...scope, stream: text };
    if (name === "group") scope = { ...scope, group: text };
  }
  const resolve = withoutRepeats((pick) => pool.resolve(pick, scope));
  // A cursor that is made up is refused: the first page is asked for until one is known.
  const asked = plan.query.filter(
    ([, value]) => !(value instanceof Learnt && value.kind === "cursor") || pool.knows(value, scope),
  );
  const query = withQueryMistake(asked, plan.queryMistake)
    .map(([name, value]) => `${encode(name)}=${encode(plainText(value, resolve))}`)
    .join("&");
  const authorization = tokenOf(token);
  const body = bodyText(plan, api, resolve);
  const request: FuzzRequest = {
    token,
    breaksHttp: false,
    method: operation.method,
    target: `${operation.path.replaceAll(/\{(\w+)\}/g, (_, name) => encode(parts.get(name) ?? ""))}${query === "" ? "" : `?${query}`}`,
    headers: [
      ...(authorization === undefined ? [] : [["authorization", authorization] as const]),
      ...(plan.mediaType === undefined ? [] : [["content-type", plan.mediaType] as const]),
      ...plan.headers.map(([name, value]) => [name, headerText(plainText(value, resolve))] as const),
    ],
    body: body === undefined ? undefined : Buffer.from(body),
    framing: "length",
  };
  return plan.hostility === undefined ? request : spoilt(request, plan.hostility);
}

function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

/** Node sends bytes up to 255, and none that would end the header. */
function headerText(text: string): string {
  return text.replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, "?");
}

function bodyText({ body, mediaType, mistake, operation }: Plan, api: Api, resolve: (pick: Learnt) => string) {
  if (body === undefined) return undefined;
  const schema = asSchema(operation.requestBody?.content[mediaType ?? ""]?.schema);
  const lines = isLines(mediaType) && isList(body);
  const whole =
    mistake === undefined ? body : withMistake(body, lines ? { type: "array", items: schema } : schema, api, mistake);
  if (lines && isList(whole)) return whole.map((line) => jsonText(line, resolve)).join("\n");
  return jsonText(whole, resolve);
}

/** A lease that stands in two lists is refused, and there are few to choose from: mostly another one, or none at all. */
function withoutRepeats(resolve: (pick: Learnt) => string): (pick: Learnt) => string {
  const used = new Set<string>();
  return (pick) => {
    if (pick.kind !== "lease" || pick.n % 32 === 0) return resolve(pick);
    const near = [0, 1, 2, 3, 4, 5].map((more) => resolve(new Learnt(pick.kind, pick.n + more, pick.twist)));
    const text = near.find((one) => !used.has(one)) ?? `1~unknown~${used.size}`;
    used.add(text);
    return text;
  };
}

const STRANGE_QUERY: readonly string[] = [
  "",
  "-1",
  "0",
  "1.5",
  "1e3",
  "0x10",
  " 5",
  "9".repeat(16),
  "9".repeat(400),
  "١",
  "null",
  "NaN",
  "\u0000",
  "%",
  "x".repeat(5_000),
];

function withQueryMistake(query: readonly Member[], mistake: number | undefined): readonly Member[] {
  if (mistake === undefined) return query;
  const [first] = query;
  const spoilt = STRANGE_QUERY[mistake % STRANGE_QUERY.length] ?? "";
  switch (mistake % 4) {
    case 0:
      return [...query, ["unknown", "1"]];
    case 1:
      return first === undefined ? [["__proto__", "1"]] : [...query, first];
    default:
      return first === undefined ? [["limit", spoilt]] : [[first[0], spoilt], ...query.slice(1)];
  }
}
