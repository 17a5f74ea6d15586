// Reads JSON of which nothing is known yet: what has another shape than expected throws, saying where.

/** A JSON object. */
export interface Json {
  readonly [name: string]: unknown;
}

/**
 * @param what names the value in the message
 * @throws Error when the value is no object
 */
export function asObject(value: unknown, what: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw unexpected(what, "an object");
  return { ...value };
}

export function asList(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw unexpected(what, "a list");
  return value;
}

export function asText(value: unknown, what: string): string {
  if (typeof value !== "string") throw unexpected(what, "a string");
  return value;
}

export function asTextOrNull(value: unknown, what: string): string | null {
  return value === null ? null : asText(value, what);
}

export function asNumber(value: unknown, what: string): number {
  if (typeof value !== "number") throw unexpected(what, "a number");
  return value;
}

export function asNumberOrNull(value: unknown, what: string): number | null {
  return value === null ? null : asNumber(value, what);
}

function unexpected(what: string, expected: string): Error {
  return new Error(`${what} is not ${expected}`);
}
