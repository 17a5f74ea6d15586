import type * as z from "zod";
import { type InvalidMember, WeirError } from "../../shared/errors.ts";

/** How many faults are told: a body of 8 MiB may have 500,000, and the answer must not outgrow it. */
export const MAX_FAULTS_TOLD = 1_000;

/** A value checked against a schema, or every fault in it. */
export type Checked<Value> = { readonly value: Value } | { readonly errors: readonly InvalidMember[] };

/** @param path where the value stands in the request; its members' paths follow it */
export function check<Schema extends z.ZodType>(schema: Schema, value: unknown, path = ""): Checked<z.output<Schema>> {
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return { value: result.data };
  return { errors: faultsOf(result.error.issues, path).take(MAX_FAULTS_TOLD).toArray() };
}

/** The longest list that a body may have in any of its members. */
const MAX_ITEMS = 1_000;

/**
 * Checks a body. Its lists are counted first: zod looks at each item before it counts them, and what it says of a million
 * takes a gigabyte.
 */
export function checkBody<Schema extends z.ZodType>(schema: Schema, body: unknown): Checked<z.output<Schema>> {
  const errors: InvalidMember[] = [];
  for (const name in typeof body === "object" ? body : {}) {
    const items: unknown = Reflect.get(Object(body), name);
    if (Array.isArray(items) && items.length > MAX_ITEMS) {
      errors.push({ path: memberPath("", name), message: `expected at most ${MAX_ITEMS} items, got ${items.length}` });
    }
  }
  return errors.length > 0 ? { errors } : check(schema, body);
}

/** Checks a query, in which each name may stand once. */
export function checkQuery<Query extends z.ZodObject>(
  schema: Query,
  query: Readonly<Record<string, readonly string[]>>,
): Checked<z.output<Query>> {
  const repeated = Object.entries(query).filter(([, values]) => values.length > 1);
  if (repeated.length > 0) {
    return { errors: repeated.map(([path, { length }]) => ({ path, message: `expected once, got ${length} times` })) };
  }
  return check(schema, Object.fromEntries(Object.entries(query).map(([name, [value]]) => [name, value])));
}

/** The error for a request with these faults; its detail says how many there are. */
export function invalidRequest(errors: readonly InvalidMember[]): WeirError {
  const [first] = errors;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
  const where = first === undefined || first.path === "" ? "" : `${first.path}: `;
  return new WeirError("invalid-request", `${where}${first?.message ?? "not valid"}${more}`, {
    errors: errors.slice(0, MAX_FAULTS_TOLD),
  });
}

function* faultsOf(issues: readonly z.core.$ZodIssue[], base: string): Generator<InvalidMember> {
  for (const issue of issues) {
    const path = issue.path.reduce<string>(memberPath, base);
    if (issue.code === "unrecognized_keys") {
      for (const key of issue.keys) yield { path: memberPath(path, key), message: "there is no such member" };
    } else yield { path, message: messageOf(issue) };
  }
}

function messageOf(issue: z.core.$ZodIssue): string {
  // zod hides what is wrong with a record's key inside that issue.
  const message = (issue.code === "invalid_key" ? issue.issues[0]?.message : undefined) ?? issue.message;
  const isTold = /received/.test(message) || (issue.code === "custom" && issue.params?.isPayload === true);
  return isTold ? message : `${message}, got ${describe(issue.input)}`;
}

export function memberPath(path: string, part: PropertyKey): string {
  if (typeof part === "number") return `${path}[${part}]`;
  const name = shorten(String(part));
  return path === "" ? name : `${path}.${name}`;
}

/** A client may have sent a name of any length. */
function shorten(name: string): string {
  return name.length <= 128 ? name : `${name.slice(0, 128)}...`;
}

/** A value in a few words: numbers and short texts as they are, nothing that could be a payload. */
function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string")
    return value.length <= 64 ? JSON.stringify(value) : `a string of ${value.length} characters`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === "object" && value !== null ? "an object" : String(value);
}
