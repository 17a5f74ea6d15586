/** Values of requests before they are sent: JSON, with what JSON.stringify would never write and what only the pool knows. */

/** What the fuzzer learns from answers, and hands back in later requests. */
export type Known =
  | "stream"
  | "group"
  | "consumer"
  | "anyConsumer"
  | "id"
  | "deadId"
  | "scheduledId"
  | "position"
  | "place"
  | "lease"
  | "pollState"
  | "cursor"
  | "type"
  | "onceKey";

/** Stands for something learnt; what it is shows when the request is made. */
export class Learnt {
  readonly kind: Known;
  /** Which one, modulo how many are known. */
  readonly n: number;
  /** How it is spoilt; 0: it is not. */
  readonly twist: number;

  constructor(kind: Known, n: number, twist = 0) {
    this.kind = kind;
    this.n = n;
    this.twist = twist;
  }
}

/** JSON text as it is, such as `1e400`, which no number writes. */
export class Raw {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** An object: a list, since a name may stand twice, and may be `__proto__`. */
export class Members {
  readonly list: readonly Member[];

  constructor(list: readonly Member[]) {
    this.list = list;
  }

  get(name: string): Value | undefined {
    return this.list.find(([has]) => has === name)?.[1];
  }
}

export type Member = readonly [name: string, value: Value];
export type Value = null | boolean | number | string | Learnt | Raw | Members | readonly Value[];

/** Where a value stands: names and indices from the top. */
export type Path = readonly (string | number)[];

/** Any parsed JSON as a value. */
export function toValue(json: unknown): Value {
  if (Array.isArray(json)) return json.map(toValue);
  if (typeof json === "object" && json !== null) {
    return new Members(Object.entries(json).map(([name, value]): Member => [name, toValue(value)]));
  }
  if (typeof json === "string" || typeof json === "number" || typeof json === "boolean") return json;
  return null;
}

/** The JSON text of a value. @param resolve what a pick stands for */
export function jsonText(value: Value, resolve: (pick: Learnt) => string): string {
  if (value instanceof Raw) return value.text;
  if (value instanceof Learnt) return JSON.stringify(resolve(value));
  if (value instanceof Members) {
    return `{${value.list.map(([name, inner]) => `${JSON.stringify(name)}:${jsonText(inner, resolve)}`).join(",")}}`;
  }
  if (isList(value)) return `[${value.map((inner) => jsonText(inner, resolve)).join(",")}]`;
  return JSON.stringify(value);
}

/** A value as a path or a query carries it. */
export function plainText(value: Value, resolve: (pick: Learnt) => string): string {
  if (value instanceof Learnt) return resolve(value);
  return typeof value === "string" ? value : jsonText(value, resolve);
}

export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

/** A value with another one in a place; undefined there: that member or item is gone. */
export function replaceAt(value: Value, [at, ...rest]: Path, by: (before: Value) => Value | undefined): Value {
  if (at === undefined) return by(value) ?? null;
  if (value instanceof Members) {
    return new Members(
      value.list.flatMap((member): Member[] => {
        const [name, inner] = member;
        if (name !== at) return [member];
        const next = rest.length === 0 ? by(inner) : replaceAt(inner, rest, by);
        return next === undefined ? [] : [[name, next]];
      }),
    );
  }
  if (!isList(value)) return value;
  return value.flatMap((inner, i): Value[] => {
    if (i !== at) return [inner];
    const next = rest.length === 0 ? by(inner) : replaceAt(inner, rest, by);
    return next === undefined ? [] : [next];
  });
}
