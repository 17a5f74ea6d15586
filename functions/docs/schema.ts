import { html } from "hono/html";
import type { Schema, Schemas } from "../openapi.ts";

export type Html = ReturnType<typeof html>;

/** The references that were followed to get somewhere: one that comes again is a schema that holds itself. */
type Trail = readonly string[];

/** A member anywhere in a body, or a parameter. */
export interface Member {
  /** What it is in: `messages[].`, say. */
  readonly prefix: string;
  readonly name: string;
  readonly isRequired: boolean;
  readonly schema: Schema;
  readonly description?: string | undefined;
}

/** Text in which what stands between backticks is code. */
export function prose(text: string): Html {
  return html`${text.split("`").map((part, i) => (i % 2 === 0 ? part : html`<code>${part}</code>`))}`;
}

/** A table of members. `mark` says whether one must be there, or may be missing. */
export function memberTable(
  schemas: Schemas,
  caption: string,
  members: readonly Member[],
  mark: (isRequired: boolean) => string,
): Html {
  return html`<table>
<caption>${caption}</caption>
<thead><tr><th scope="col">Name</th><th scope="col">What it is</th></tr></thead>
<tbody>
${members.map((member) => memberRow(schemas, member, mark(member.isRequired)))}</tbody>
</table>`;
}

function memberRow(schemas: Schemas, { prefix, name, schema, description }: Member, mark: string): Html {
  const path = html`<code><span>${breakable(prefix)}</span>${name}</code>`;
  const whole = follow(schemas, schema);
  const about = description ?? whole.description;
  const limits = limitsOf(whole, about !== undefined);
  const type = [typeOf(schemas, schema), ...limits].map((part, i) => [i > 0 && ", ", part]);
  return html`<tr><th scope="row">${path}${mark !== "" && html` <small>${mark}</small>`}</th><td>${type}${
    about !== undefined && html`<br>${prose(about)}`
  }</td></tr>
`;
}

/** Lets a long path break after its dots. */
function breakable(prefix: string): Html {
  return html`${prefix.split(/(?<=\.)/).map((part) => html`${part}<wbr>`)}`;
}

/** All members of a schema, each followed by its own; what holds itself is not opened again. */
export function membersOf(schemas: Schemas, schema: Schema, prefix = "", trail: Trail = []): Member[] {
  const inside = extend(trail, schema);
  if (inside === undefined) return [];
  const { properties = {}, required = [], items, additionalProperties, anyOf, oneOf } = follow(schemas, schema);
  const open = (inner: Schema, at: string) => membersOf(schemas, inner, at, inside);
  return [
    ...Object.entries(properties).flatMap(([name, member]) => [
      { prefix, name, isRequired: required.includes(name), schema: asSchema(member) },
      ...open(asSchema(member), `${prefix}${name}.`),
    ]),
    ...(items === undefined ? [] : open(asSchema(items), `${prefix.slice(0, -1)}[].`)),
    ...(typeof additionalProperties === "object" ? open(additionalProperties, `${prefix}{name}.`) : []),
    ...eachOnce([...(anyOf ?? []), ...(oneOf ?? [])].flatMap((one) => open(one, prefix))),
  ];
}

/** What several ways of a choice have alike is shown once. */
function eachOnce(members: readonly Member[]): Member[] {
  return [...new Map(members.map((member) => [JSON.stringify(member), member])).values()];
}

/** A small value that shows how to fill a schema in; `{name}` stands for what the reader must put there. */
export function sampleOf(schemas: Schemas, schema: Schema, name: string, trail: Trail = []): unknown {
  const inside = extend(trail, schema);
  const whole = follow(schemas, schema);
  const { type, example, items, anyOf, oneOf } = whole;
  const [either] = anyOf ?? oneOf ?? [];
  if (inside === undefined) return null;
  if (example !== undefined) return example;
  if (whole.const !== undefined) return whole.const;
  if (whole.enum !== undefined) return whole.enum[0];
  if (either !== undefined) return sampleOf(schemas, either, name, inside);
  switch ([type].flat()[0]) {
    case "boolean":
      return true;
    case "integer":
    case "number":
      return Math.min(Math.max(60_000, whole.minimum ?? 0), whole.maximum ?? Number.MAX_SAFE_INTEGER);
    case "array":
      return items === undefined ? [] : [sampleBody(schemas, asSchema(items), name, inside)];
    case "object":
      return sampleMembers(schemas, whole, whole.required ?? [], inside);
    default:
      return `{${name}}`;
  }
}

/** A sample that does something: where no member is required, it has the first. */
export function sampleBody(schemas: Schemas, schema: Schema, name = "body", trail: Trail = []): unknown {
  const whole = follow(schemas, schema);
  const first = Object.keys(whole.properties ?? {}).slice(0, 1);
  const inside = extend(trail, schema);
  if (inside === undefined || first.length === 0 || (whole.required ?? []).length > 0) {
    return sampleOf(schemas, schema, name, trail);
  }
  return sampleMembers(schemas, whole, first, inside);
}

function sampleMembers(schemas: Schemas, { properties = {} }: Schema, names: readonly string[], trail: Trail): unknown {
  const chosen = Object.entries(properties).filter(([name]) => names.includes(name));
  return Object.fromEntries(chosen.map(([name, member]) => [name, sampleOf(schemas, asSchema(member), name, trail)]));
}

/** The schema itself in place of a reference to it, with its `allOf` joined. */
function follow(schemas: Schemas, schema: Schema): Schema {
  if (schema.$ref !== undefined) {
    // What stands beside a reference is about this use of it.
    const { $ref, ...own } = schema;
    return { ...follow(schemas, named(schemas, $ref)), ...own };
  }
  // Most have none; copying each of them took half of the page's time.
  if (schema.allOf === undefined) return schema;
  const { allOf, ...own } = schema;
  return allOf.map((part) => follow(schemas, part)).reduceRight((joined, part) => join(part, joined), own);
}

/** JSON Schema has `true` for anything. zod writes no lists of schemas for items. */
function asSchema(schema: Schema["items"]): Schema {
  return typeof schema === "object" && !Array.isArray(schema) ? schema : {};
}

function named(schemas: Schemas, reference: string): Schema {
  const schema = schemas[nameOf(reference)];
  if (schema === undefined) throw new Error(`the OpenAPI document has no ${reference}`);
  return schema;
}

function nameOf(reference: string): string {
  return reference.replace("#/components/schemas/", "");
}

function join(one: Schema, other: Schema): Schema {
  return {
    ...one,
    ...other,
    properties: { ...one.properties, ...other.properties },
    required: [...(one.required ?? []), ...(other.required ?? [])],
  };
}

function referencesOf(schema: Schema): string[] {
  return schema.$ref === undefined ? (schema.allOf ?? []).flatMap(referencesOf) : [schema.$ref];
}

/** The trail into a schema, or undefined if it has been there. */
function extend(trail: Trail, schema: Schema): Trail | undefined {
  const references = referencesOf(schema);
  return references.some((reference) => trail.includes(reference)) ? undefined : [...trail, ...references];
}

/** The type in words: `list of Message object`, `integer or null`. */
function typeOf(schemas: Schemas, schema: Schema, trail: Trail = []): string {
  const [name] = referencesOf(schema).map(nameOf);
  const inside = extend(trail, schema);
  if (inside === undefined) return name ?? "";
  const { type = "any JSON", items, additionalProperties, anyOf, oneOf } = follow(schemas, schema);
  const inner = (one: Schema) => typeOf(schemas, one, inside);
  const either = anyOf ?? oneOf;
  if (either !== undefined) return [...new Set(either.map(inner))].join(" or ");
  const types = [type].flat().map((one) => {
    if (one === "array" && items !== undefined) return `list of ${inner(asSchema(items))}`;
    if (one === "object" && typeof additionalProperties === "object") return `object of ${inner(additionalProperties)}`;
    return one === "object" && name !== undefined ? `${name} object` : one;
  });
  return types.join(" or ");
}

/**
 * What narrows a type, and what holds when it is absent.
 * @param hasWords a pattern is shown only where no words say it
 */
function limitsOf(schema: Schema, hasWords: boolean): Html[] {
  const { minimum, maximum, minLength, maxLength, minItems, maxItems, maxProperties, pattern } = schema;
  const values = (schema.const === undefined ? schema.enum : [schema.const])
    ?.filter((value) => value !== null)
    .map((value, i) => [i > 0 && ", ", code(value)]);
  return [
    ...(values === undefined ? [] : [html`${values.length === 1 ? "always" : "one of"} ${values}`]),
    ...range(minimum, maximum, ""),
    ...range(minLength, maxLength, " characters"),
    ...range(minItems, maxItems, " items"),
    ...range(undefined, maxProperties, " members"),
    ...(pattern === undefined || hasWords ? [] : [html`matches ${code(pattern)}`]),
    ...(schema.default === undefined ? [] : [html`default ${code(schema.default)}`]),
  ];
}

function code(value: unknown): Html {
  return html`<code>${typeof value === "string" ? value : JSON.stringify(value)}</code>`;
}

function range(min: number | undefined, max: number | undefined, unit: string): Html[] {
  // Not toLocaleString(): loading its tables takes as long as the rest of the page.
  const words = (count: number) => String(count).replaceAll(/\B(?=(\d{3})+$)/g, ",");
  // What a number can hold at all is no limit worth a reader's time.
  const isOpen = max === undefined || max >= Number.MAX_SAFE_INTEGER;
  if (isOpen) return min === undefined ? [] : [html`${words(min)} or more${unit}`];
  return [min === undefined ? html`up to ${words(max)}${unit}` : html`${words(min)} to ${words(max)}${unit}`];
}
