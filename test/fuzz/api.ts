import type { ApiDocument, Operation, Parameter, Schema } from "../../functions/openapi.ts";

/** The served OpenAPI document, as the fuzzer asks it. */

/** An operation with where it is. */
export interface ApiOperation extends Operation {
  readonly method: string;
  /** With `{name}` for each path parameter. */
  readonly path: string;
}

export class Api {
  readonly document: ApiDocument;
  readonly operations: readonly ApiOperation[];

  constructor(document: ApiDocument) {
    this.document = document;
    this.operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ ...operation, method: method.toUpperCase(), path })),
    );
  }

  /** A schema with its reference followed. */
  deref(schema: Schema): Schema {
    const { $ref, ...rest } = schema;
    if ($ref === undefined) return schema;
    const name = $ref.replace("#/components/schemas/", "");
    const found = this.document.components?.schemas[name];
    if (found === undefined) throw new Error(`the document has no schema ${name}`);
    return { ...this.deref(found), ...rest };
  }

  /** The operation that a path leads to, which is as URLs are resolved: `..` is gone. */
  operationAt(method: string, pathname: string): ApiOperation | undefined {
    const parts = segmentsOf(pathname);
    // HEAD is answered as GET is, without the body.
    const asked = method === "HEAD" ? "GET" : method;
    return this.operations.find((operation) => operation.method === asked && fits(operation.path.split("/"), parts));
  }
}

/** Of a character that needs no encoding both forms mean the same. */
function segmentsOf(pathname: string): readonly string[] {
  return pathname.replaceAll(/%(?:2[de]|3\d|[46][1-9a-f]|[57][0-9a]|5f|7e)/gi, decodeURIComponent).split("/");
}

/** What stands in a path for each `{name}` of a pattern that it fits; what cannot be decoded, as it stands. */
export function partsOf(pattern: string, pathname: string): Readonly<Record<string, string>> {
  const parts = segmentsOf(pathname);
  return Object.fromEntries(
    pattern
      .split("/")
      .flatMap((part, i) => (part.startsWith("{") ? [[part.slice(1, -1), decoded(parts[i] ?? "")]] : [])),
  );
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function fits(pattern: readonly string[], parts: readonly string[]): boolean {
  return (
    pattern.length === parts.length &&
    pattern.every((part, i) => (part.startsWith("{") ? parts[i] !== "" : part === parts[i]))
  );
}

/** The parameters of an operation that stand in one place. */
export function parametersIn({ parameters = [] }: Operation, place: Parameter["in"]): readonly Parameter[] {
  return parameters.filter((parameter) => parameter.in === place);
}

/** The schemas that zod writes as `true` or `false` allow anything here: the document has none that forbids all. */
export function asSchema(schema: Schema | boolean | undefined): Schema {
  return typeof schema === "object" ? schema : {};
}

/** Its types; all of them when it names none. */
export function typesOf({ type, anyOf, enum: values }: Schema): readonly string[] {
  if (type !== undefined) return Array.isArray(type) ? type : [type];
  if (anyOf !== undefined) return anyOf.flatMap((one) => typesOf(asSchema(one)));
  return values === undefined ? ["null", "boolean", "number", "string", "array", "object"] : [];
}
