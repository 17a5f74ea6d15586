/** JSON pointers (RFC 6901). */

const MAX_POINTER_CHARACTERS = 512;

/** Whether the text is a JSON pointer, such as `/data/object/id`; the empty one is the whole document. */
export function isPointer(text: string): boolean {
  return text.length <= MAX_POINTER_CHARACTERS && text.isWellFormed() && /^(?:\/(?:[^~/]|~[01])*)*$/.test(text);
}

/** @returns the names and indexes that a valid pointer is made of */
export function pointerTokens(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** @returns what the pointer points to; undefined when there is nothing, or the pointer is none */
export function atPointer(document: unknown, pointer: string): unknown {
  if (!isPointer(pointer)) return undefined;
  return pointerTokens(pointer).reduce(memberOf, document);
}

function memberOf(value: unknown, token: string): unknown {
  if (Array.isArray(value)) return /^(?:0|[1-9]\d{0,9})$/.test(token) ? value[Number(token)] : undefined;
  // Its own members only: a name such as "constructor" is in every object.
  if (typeof value === "object" && value !== null && Object.hasOwn(value, token)) return Reflect.get(value, token);
  return undefined;
}
