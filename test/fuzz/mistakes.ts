import type { Schema } from "../../functions/openapi.ts";
import { type Api, asSchema, typesOf } from "./api.ts";
import { isList, Learnt, type Member, Members, type Path, Raw, replaceAt, type Value } from "./values.ts";

/** Bodies with one thing wrong. */

/** One mistake, by numbers, so that fast-check can shrink it; what it is depends on the body. */
export interface Mistake {
  /** Which member of the body, modulo how many there are. */
  readonly site: number;
  /** Which way, modulo those that fit there. */
  readonly way: number;
}

interface Site {
  readonly path: Path;
  readonly schema: Schema;
  readonly value: Value;
}

/** @returns the body with that one thing wrong */
export function withMistake(body: Value, schema: Schema, api: Api, { site, way }: Mistake): Value {
  const sites = [...sitesOf(body, schema, api, [])];
  const chosen = sites[site % sites.length];
  if (chosen === undefined) return body;
  const ways = waysAt(chosen, api);
  const make = ways[way % ways.length];
  return make === undefined ? body : replaceAt(body, chosen.path, make);
}

function* sitesOf(value: Value, schema: Schema, api: Api, path: Path): Generator<Site> {
  const whole = api.deref(schema);
  yield { path, schema: whole, value };
  if (value instanceof Members) {
    for (const [name, inner] of value.list) {
      yield* sitesOf(inner, asSchema(whole.properties?.[name] ?? whole.additionalProperties), api, [...path, name]);
    }
  } else if (isList(value)) {
    const [items] = Array.isArray(whole.items) ? whole.items : [whole.items];
    for (const [i, inner] of value.entries()) yield* sitesOf(inner, asSchema(items), api, [...path, i]);
  }
}

type Way = (before: Value) => Value | undefined;

/** Values that are hardly ever right. */
const STRANGE: readonly Value[] = [
  null,
  true,
  0,
  -1,
  1.5,
  "",
  "x",
  "5",
  [],
  new Members([]),
  new Raw("1e400"),
  new Raw("-1e400"),
  new Raw("-0"),
  new Raw("9007199254740993"),
  new Raw("18446744073709551616"),
  new Raw("1e2"),
  new Raw('"\\ud800"'),
  new Raw('"\\u0000"'),
  new Raw('{"__proto__":1}'),
  new Raw('{"constructor":{"prototype":{}}}'),
  new Raw("[[[[[[[[]]]]]]]]"),
  "NaN",
  "__proto__",
  "\u2028",
  "\ufeffx",
];

/** Not JSON at all, each a way for a parser to be lenient. */
const NOT_JSON: readonly Value[] = [
  "NaN",
  "undefined",
  "Infinity",
  "0x10",
  "01",
  "1.",
  ".5",
  "'x'",
  "+1",
  "",
  "tru",
].map((text) => new Raw(text));

function waysAt(site: Site, api: Api): readonly Way[] {
  const { value, schema, path } = site;
  return [
    ...STRANGE.map((strange) => () => strange),
    ...NOT_JSON.map((text) => () => text),
    ...(path.length > 0 ? [() => undefined] : []),
    ...(value instanceof Members ? waysOfMembers(value, schema, api) : []),
    ...(isList(value) ? waysOfList(value, schema) : []),
    ...(typeof value === "string" || value instanceof Learnt ? waysOfText(schema) : []),
    ...(typesOf(schema).includes("integer") ? waysOfNumber(schema) : []),
  ];
}

function waysOfMembers({ list }: Members, schema: Schema, api: Api): readonly Way[] {
  const add = (member: Member) => () => new Members([...list, member]);
  const missing = (schema.required ?? []).map(
    (name): Way =>
      () =>
        new Members(list.filter(([has]) => has !== name)),
  );
  const unused = Object.keys(schema.properties ?? {}).filter((name) => !list.some(([has]) => has === name));
  return [
    ...missing,
    add(["unknownMember", 1]),
    add(["__proto__", new Members([["x", 1]])]),
    add(["constructor", 1]),
    add(["toString", "x"]),
    add(["", ""]),
    add(["x".repeat(10_000), ""]),
    // Twice: the last one counts, for the check and for what is cut out of the text alike.
    ...list.flatMap(([name, value]): Way[] => [
      add([name, value]),
      add([name, null]),
      () => new Members([[name, 1], ...list]),
      () => new Members(list.map((member): Member => (member[0] === name ? [name.toUpperCase(), value] : member))),
      () => new Members(list.map((member): Member => (member[0] === name ? [`${name} `, value] : member))),
    ]),
    ...unused.map((name) => add([name, exampleOf(api.deref(asSchema(schema.properties?.[name])))])),
  ];
}

function exampleOf(schema: Schema): Value {
  const [type] = typesOf(schema);
  if (type === "array") return [];
  if (type === "object") return new Members([]);
  return type === "integer" ? (schema.minimum ?? 1) : "x";
}

function waysOfList(list: readonly Value[], { maxItems }: Schema): readonly Way[] {
  const [first = "x"] = list;
  return [
    () => [...list, ...list],
    () => [...list, null],
    () => [list],
    ...(maxItems === undefined
      ? []
      : [() => new Array<Value>(maxItems).fill(first), () => new Array<Value>(maxItems + 1).fill(first)]),
  ];
}

function waysOfText({ minLength = 1, maxLength, pattern }: Schema): readonly Way[] {
  const fill = pattern === undefined ? "ü" : "x";
  return [
    () => "x".repeat(Math.max(0, minLength - 1)),
    ...[maxLength ?? 1_000, (maxLength ?? 1_000) + 1].map((length) => () => fill.repeat(length)),
    () => "x".repeat(129),
    () => "\ud83d\ude00".repeat(maxLength ?? 64),
    () => "a\r\nb: c",
    () => "a~b~c",
    () => "*",
    () => "@held:0",
    () => "..",
    () => "{x}",
  ];
}

function waysOfNumber({ minimum = 0, maximum }: Schema): readonly Way[] {
  const most = maximum ?? Number.MAX_SAFE_INTEGER;
  return [
    () => minimum,
    () => minimum - 1,
    () => most,
    () => new Raw(String(BigInt(most) + 1n)),
    () => minimum + 0.5,
    () => String(minimum),
  ];
}
