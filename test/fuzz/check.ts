import Ajv2020, { type ValidateFunction } from "@redocly/ajv/dist/2020.js";
import { ERROR_CODES, type ProblemCode } from "../../functions/http/errors.ts";
import type { Schema } from "../../functions/openapi.ts";
import { type Api, type ApiOperation, asSchema } from "./api.ts";
import type { WireAnswer, WireRequest } from "./http.ts";

/** How long any answer may take. */
export const MAX_ANSWER_MS = 2_000;

/** What is wrong with an answer: the rule that it breaks, for telling faults apart, and how. */
export interface Complaint {
  readonly rule: string;
  readonly detail: string;
  /** What makes it another fault than the same in another operation; absent: the operation and the status. */
  readonly about?: string;
}

/** What a layer above the routes answers, whatever the operation. */
const GENERAL: readonly ProblemCode[] = ["unauthenticated", "forbidden", "not-found", "method-not-allowed"];

/** Checks answers against the document. */
export class AnswerCheck {
  readonly #api: Api;
  readonly #ajv = new Ajv2020({ strict: false, allErrors: false });
  readonly #compiled = new Map<string, ValidateFunction>();

  constructor(api: Api) {
    this.#api = api;
  }

  /** @param operation that the request led to; undefined: to none */
  complaints(request: WireRequest, operation: ApiOperation | undefined, answer: WireAnswer): Complaint[] {
    const complaints =
      answer.status >= 400 ? this.#ofProblem(request, operation, answer) : this.#ofSuccess(request, operation, answer);
    if (operation !== undefined && operation.security.length > 0) complaints.push(...keptByNobody(answer));
    if (answer.durationMs > MAX_ANSWER_MS) {
      complaints.push({ rule: "answers in time", detail: `took ${answer.durationMs.toFixed(0)} ms` });
    }
    return complaints;
  }

  /** Whether the document permits a body; undefined when it says nothing of that media type. */
  permitsBody(operation: ApiOperation, mediaType: string, json: unknown): boolean | undefined {
    const schema = operation.requestBody?.content[mediaType]?.schema;
    return schema === undefined
      ? undefined
      : this.#validator(`${operation.operationId} body ${mediaType}`, schema)(json);
  }

  #ofSuccess({ method }: WireRequest, operation: ApiOperation | undefined, answer: WireAnswer): Complaint[] {
    if (operation === undefined) return [{ rule: "no such route is 404", detail: `answered ${answer.status}` }];
    const declared = operation.responses[answer.status];
    if (declared === undefined) return [{ rule: "status is declared", detail: `${answer.status} is not` }];
    const mediaTypes = Object.keys(declared.content ?? {});
    const mediaType = mediaTypes.find((one) => one === typeOf(answer)) ?? mediaTypes[0];
    if (mediaType === undefined || method === "HEAD") {
      return answer.text === "" ? [] : [{ rule: "no body", detail: `got ${answer.text.slice(0, 100)}` }];
    }
    if (typeOf(answer) !== mediaType) {
      return [{ rule: "media type is declared", detail: `expected ${mediaType}, got ${typeOf(answer)}` }];
    }
    if (!/[/+]json$/.test(mediaType)) return [];
    const schema = asSchema(declared.content?.[mediaType]?.schema);
    return this.#fits(`${operation.operationId} ${answer.status} ${mediaType}`, schema, answer.text);
  }

  #fits(name: string, schema: Schema, text: string): Complaint[] {
    const json = parsed(text);
    if (json === undefined) return [{ rule: "JSON is JSON", detail: text.slice(0, 200) }];
    const validate = this.#validator(name, schema);
    if (validate(json.value)) return [];
    return [{ rule: "body fits its schema", detail: this.#ajv.errorsText(validate.errors ?? []) }];
  }

  #validator(name: string, schema: Schema): ValidateFunction {
    const known = this.#compiled.get(name);
    if (known !== undefined) return known;
    const validate = this.#ajv.compile({ ...schema, components: this.#api.document.components });
    this.#compiled.set(name, validate);
    return validate;
  }

  #ofProblem({ method }: WireRequest, operation: ApiOperation | undefined, answer: WireAnswer): Complaint[] {
    const complaints = headerComplaints(answer);
    if (method === "HEAD") return complaints;
    if (typeOf(answer) !== "application/problem+json") {
      return [
        ...complaints,
        { rule: "errors are problems", detail: `${answer.status} ${typeOf(answer)} ${answer.text.slice(0, 100)}` },
      ];
    }
    const json = parsed(answer.text);
    if (json === undefined) return [...complaints, { rule: "JSON is JSON", detail: answer.text.slice(0, 200) }];
    const schema = asSchema(this.#api.document.components?.schemas.Problem);
    complaints.push(...this.#fits("Problem", schema, answer.text));
    const [code, status] = [memberOf(json.value, "code"), memberOf(json.value, "status")];
    const known = Object.entries(ERROR_CODES).find(([name]) => name === code);
    if (known === undefined || known[1].status !== answer.status || status !== answer.status) {
      complaints.push({ rule: "code has its status", detail: `${code} with ${status}, answered ${answer.status}` });
    }
    complaints.push(...this.#declared(operation, answer, String(code)));
    if (/\.ts:\d|node_modules|at [A-Za-z.]+ \(|127\.0\.0\.1|of-the-fuzzer/.test(answer.text)) {
      complaints.push({ rule: "no secret and no stack", detail: answer.text.slice(0, 300) });
    }
    return complaints;
  }

  #declared(operation: ApiOperation | undefined, { status, text }: WireAnswer, code: string): Complaint[] {
    // Redis is there and has room, and the deployment is complete: none of these is right, declared or not.
    if (["internal-error", "misconfigured", "redis-unavailable", "outcome-unknown", "redis-full"].includes(code)) {
      return [{ rule: `never ${code}`, detail: text.slice(0, 300) }];
    }
    if (GENERAL.some((general) => general === code)) return [];
    const codes = operation?.responses[status]?.description.split(", ") ?? [];
    const about = `${status} ${code}`;
    return codes.includes(code)
      ? []
      : [{ rule: "status is declared", detail: `${about} is not: ${text.slice(0, 200)}`, about }];
  }
}

function headerComplaints({ status, headers }: WireAnswer): Complaint[] {
  const expected: Readonly<Record<string, boolean>> = {
    "retry-after": [503, 507, 429].includes(status),
    "www-authenticate": status === 401,
    allow: status === 405,
  };
  return Object.entries(expected).flatMap(([name, there]) =>
    (headers[name] !== undefined) === there
      ? []
      : [{ rule: `${name} where it belongs`, detail: `${status} with ${headers[name]}` }],
  );
}

/** Answers with data are for the caller alone, and nothing but what they say they are. */
function keptByNobody({ status, headers, text }: WireAnswer): Complaint[] {
  if (status >= 300 || text === "") return [];
  const expected = { "x-content-type-options": "nosniff", "cache-control": "no-store" };
  return Object.entries(expected).flatMap(([name, value]) =>
    headers[name] === value ? [] : [{ rule: `${name} is ${value}`, detail: `got ${headers[name]}`, about: "data" }],
  );
}

function typeOf({ headers }: WireAnswer): string {
  return (headers["content-type"] ?? "").split(";")[0]?.trim() ?? "";
}

function memberOf(json: unknown, name: string): unknown {
  return typeof json === "object" && json !== null
    ? Object.entries(json).find(([has]) => has === name)?.[1]
    : undefined;
}

/** undefined when it is no JSON. */
export function parsed(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}
