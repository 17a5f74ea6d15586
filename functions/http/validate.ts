import type * as z from "zod";
import { type InvalidMember, WeirError } from "../../shared/errors.ts";

/** How many faults an error lists: a body of 8 MiB may have a million, and the answer must not outgrow it. */
const MAX_FAULTS_TOLD = 1_000;

/** A value checked against a schema, or every fault in it. */
export type Checked<Value> = { readonly value: Value } | { readonly errors: readonly InvalidMember[] };

/** @param path where the value stands in the request; its members' paths follow it */
export function check<Schema extends z.ZodType>(schema: Schema, value: unknown, path = ""): Checked<z.output<Schema>> {
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return { value: result.data };
  return { errors: result.error.issues.flatMap((issue) => describeIssue(issue, path)) };
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

function describeIssue(issue: z.core.$ZodIssue, base: string): InvalidMember[] {
  const path = issue.path.reduce<string>(memberPath, base);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({ path: memberPath(path, key), message: "there is no such member" }));
  }
  // zod hides what is wrong with a record's key inside that issue.
  const message = (issue.code === "invalid_key" ? issue.issues[0]?.message : undefined) ?? issue.message;
  const isTold = /received/.test(message) || (issue.code === "custom" && issue.params?.isPayload === true);
  return [{ path, message: isTold ? message : `${message}, got ${describe(issue.input)}` }];
}

function memberPath(path: string, part: PropertyKey): string {
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
