/**
 * JSON that lies in Redis. Weir wrote it, but perhaps another version of it, and another client may have written over it:
 * its shape is checked before it is trusted.
 */

/** @returns undefined when the text is no JSON */
export function parseStored(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
