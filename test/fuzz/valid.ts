import fc from "fast-check";
import type { Schema } from "../../functions/openapi.ts";
import { type Api, asSchema, typesOf } from "./api.ts";
import { seedsOf, TWIST_COUNT } from "./pool.ts";
import { type Known, Learnt, type Member, Members, Raw, toValue, type Value } from "./values.ts";

/** Valid values of a schema; what has a name that the pool knows is mostly taken from there. */

/** What stands under a name, in bodies, paths, queries and headers alike; of lists, in their items. */
const KNOWN: Readonly<Record<string, Known>> = {
  stream: "stream",
  group: "group",
  consumer: "consumer",
  handoverTo: "consumer",
  id: "id",
  ids: "id",
  scheduledId: "scheduledId",
  minId: "id",
  start: "position",
  end: "position",
  to: "place",
  before: "position",
  lease: "lease",
  acks: "lease",
  releases: "lease",
  extends: "lease",
  pollState: "pollState",
  cursor: "cursor",
  type: "type",
  "Idempotency-Key": "onceKey",
};

/** @returns values of that kind: mostly what was learnt, now and then spoilt, or what never was there */
export function known(kind: Known): fc.Arbitrary<Value> {
  const learnt = fc.nat(1023).map((n): Value => new Learnt(kind, n));
  const spoilt = fc.tuple(fc.nat(1023), fc.integer({ min: 1, max: TWIST_COUNT - 1 }));
  return fc.oneof(
    { arbitrary: learnt, weight: 24 },
    { arbitrary: fc.constantFrom<Value>(...seedsOf(kind)), weight: 2 },
    { arbitrary: spoilt.map(([n, twist]): Value => new Learnt(kind, n, twist)), weight: 1 },
  );
}

export class ValidValues {
  readonly #api: Api;

  constructor(api: Api) {
    this.#api = api;
  }

  /** @param name what the value is called where it stands; @param path of the operation */
  of(schema: Schema, name: string, path: string): fc.Arbitrary<Value> {
    const whole = this.#api.deref(schema);
    const kind = typesOf(whole).includes("string") && whole.enum === undefined ? kindOf(name, path) : undefined;
    if (kind !== undefined)
      return withNull(whole, fc.oneof({ arbitrary: known(kind), weight: 40 }, this.#plain(whole, name, path)));
    return this.#plain(whole, name, path);
  }

  #plain(schema: Schema, name: string, path: string): fc.Arbitrary<Value> {
    if (schema.enum !== undefined) return fc.constantFrom<Value>(...schema.enum.map(toValue));
    if (schema.const !== undefined) return fc.constant(toValue(schema.const));
    if (schema.anyOf !== undefined) {
      return fc.oneof(...schema.anyOf.map((one) => this.#plain(this.#api.deref(asSchema(one)), name, path)));
    }
    if (schema.type === undefined) return anyJson;
    const [first = "null"] = typesOf(schema);
    return withNull(schema, this.#ofType(first, schema, name, path));
  }

  #ofType(type: string, schema: Schema, name: string, path: string): fc.Arbitrary<Value> {
    switch (type) {
      case "integer":
      case "number":
        return integer(schema);
      case "boolean":
        return fc.boolean();
      case "string":
        return text(schema, name);
      case "array":
        return this.#list(schema, name, path);
      case "object":
        return this.#object(schema, path);
      default:
        return fc.constant(null);
    }
  }

  #list({ items, minItems = 0, maxItems = 10 }: Schema, name: string, path: string): fc.Arbitrary<Value> {
    const [only] = Array.isArray(items) ? items : [items];
    return fc.array(this.of(asSchema(only), name, path), { minLength: minItems, maxLength: Math.min(maxItems, 10) });
  }

  /** One of the choices that the schema gives, if it gives any: its members, and none that only others have. */
  #object(schema: Schema, path: string): fc.Arbitrary<Value> {
    const { properties = {}, required = [], oneOf } = schema;
    const names = Object.keys(properties);
    if (names.length === 0) return this.#record(schema, path);
    const choices = oneOf?.map((one) => asSchema(one).required ?? []) ?? [[]];
    const chosen = new Set(choices.flat());
    return fc.oneof(
      ...choices.map((choice) => {
        const needed = [...required, ...choice];
        const allowed = names.filter((name) => !chosen.has(name) || choice.includes(name));
        return this.#members(properties, allowed, needed, path);
      }),
    );
  }

  #members(
    properties: Readonly<Record<string, Schema | boolean>>,
    names: readonly string[],
    needed: readonly string[],
    path: string,
  ): fc.Arbitrary<Value> {
    const members = names.map((name) => {
      const value = this.of(asSchema(properties[name]), name, path);
      // Few at a time: a request with everything in it is mostly refused for one of its parts.
      return needed.includes(name) ? value : fc.option(value, { freq: 2, nil: undefined });
    });
    return fc
      .tuple(...members)
      .map((values) => untangled(new Members(names.flatMap((name, i): Member[] => memberOf(name, values[i])))));
  }

  #record({ propertyNames, additionalProperties, maxProperties = 4 }: Schema, path: string): fc.Arbitrary<Value> {
    const name = text(asSchema(propertyNames), "name");
    const member = fc.tuple(name.map(String), this.of(asSchema(additionalProperties), "value", path));
    const list = fc.uniqueArray(member, { maxLength: Math.min(maxProperties, 4), selector: ([name]) => name });
    return list.map((members) => new Members(members));
  }
}

/**
 * What the document says in words only: members that go with others, or without them. Else hardly any request that has a
 * choice would get far; a mistake may still put them together.
 */
function untangled(members: Members): Members {
  const has = (name: string) => members.get(name) !== undefined;
  const isText = typeof members.get("data") === "string";
  const extra = [
    ...(has("data") ? ["dataBase64", "data_base64", ...(isText ? [] : ["datacontenttype"])] : []),
    ...(has("ids") ? ["reason", "type", "detail", "before", "all", "start", "end"] : []),
    ...(members.get("force") === true ? [] : ["minIdleMs"]),
  ];
  return new Members(members.list.filter(([name]) => !extra.includes(name)));
}

function memberOf(name: string, value: Value | undefined): Member[] {
  return value === undefined ? [] : [[name, value]];
}

function kindOf(name: string, path: string): Known | undefined {
  const kind = KNOWN[name];
  if (kind === "id" && path.includes("/dead-letters")) return "deadId";
  if (name === "consumer" && path.endsWith("/{consumer}")) return "anyConsumer";
  // Where a group begins, in its settings.
  if (name === "start" && path.endsWith("/{group}")) return "place";
  return kind;
}

function withNull(schema: Schema, value: fc.Arbitrary<Value>): fc.Arbitrary<Value> {
  const types = typesOf(schema);
  return types.length > 1 && types.includes("null")
    ? fc.oneof({ arbitrary: value, weight: 5 }, { arbitrary: fc.constant(null), weight: 1 })
    : value;
}

/** Mostly small, so that something comes of it; else at the bounds, or anywhere between. */
function integer({ minimum = 0, maximum = Number.MAX_SAFE_INTEGER }: Schema): fc.Arbitrary<Value> {
  return fc.oneof(
    { arbitrary: fc.integer({ min: minimum, max: Math.min(maximum, minimum + 20) }), weight: 6 },
    { arbitrary: fc.constantFrom(minimum, maximum), weight: 2 },
    { arbitrary: fc.maxSafeInteger().map((n) => minimum + (Math.abs(n) % (maximum - minimum + 1))), weight: 1 },
  );
}

function text({ minLength = 0, maxLength = 40, pattern }: Schema, name: string): fc.Arbitrary<Value> {
  if (name === "source" || name === "ce-source")
    return fc.webPath({ size: "small" }).map((path) => `/${path.slice(1)}`);
  if (name === "dataschema") return fc.constantFrom("urn:x:1", "https://x.example/a%20b");
  if (name === "time") return fc.constantFrom("2026-01-31T12:00:00Z", "0001-01-01t00:00:00.5+23:59");
  if (name === "dataBase64" || name === "data_base64") return fc.base64String({ maxLength: 64 });
  if (name === "scope") return fc.constantFrom("metrics", "produce:s0", "consume:s*/g0", "read:*", "admin:s1");
  if (name === "datacontenttype") {
    return fc.constantFrom(
      "application/json",
      "text/plain",
      "a/b",
      "application/vnd.x+json; charset=utf-8",
      "image/png",
    );
  }
  if (pattern !== undefined) {
    // fast-check knows no lookahead.
    const expected = new RegExp(pattern);
    return fc.stringMatching(new RegExp(pattern.replaceAll(/\(\?![^)]*\)/g, ""))).filter((text) => expected.test(text));
  }
  const longest = Math.min(maxLength, Math.max(minLength, 40));
  return fc.oneof(
    { arbitrary: fc.string({ minLength, maxLength: longest, unit: "binary" }), weight: 4 },
    { arbitrary: fc.string({ minLength, maxLength: longest }), weight: 4 },
    { arbitrary: fc.constant("x".repeat(maxLength)), weight: maxLength > 40 ? 1 : 0 },
  );
}

/** Payloads: any JSON, and numbers that only text keeps. */
const anyJson: fc.Arbitrary<Value> = fc.oneof(
  { arbitrary: fc.jsonValue({ maxDepth: 3 }).map(toValue), weight: 6 },
  {
    arbitrary: fc
      .constantFrom("1e400", "-0", "1.0", "12345678901234567890", '"\\ud83d\\ude00"', "  7")
      .map((text) => new Raw(text)),
    weight: 1,
  },
  { arbitrary: fc.integer({ min: 100, max: 2_000 }).map((length) => "p".repeat(length)), weight: 1 },
);
