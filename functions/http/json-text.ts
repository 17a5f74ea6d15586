/**
 * Cuts the texts of members out of JSON text, so that a message's `data` is stored and handed on as it was written:
 * parsing and writing it anew would lose digits of big integers, `1.0`, `-0` and the order of number-like names.
 *
 * Every function here takes text that JSON.parse has accepted; on anything else the result has no meaning.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;

/**
 * @param json a valid JSON object, such as `{"messages":[{"data":1.0},{}]}`
 * @returns for each object in the array that is its `list` member, the text of that object's `member`, or undefined
 */
export function textsInList(json: string, list: string, member: string): (string | undefined)[] {
  const found = memberRange(json, skipSpace(json, 0), list);
  const texts: (string | undefined)[] = [];
  if (found === undefined || json.charCodeAt(found.start) !== OPEN_BRACKET) return texts;
  let at = skipSpace(json, found.start + 1);
  while (json.charCodeAt(at) !== CLOSE_BRACKET) {
    const { text, end } = memberTextAt(json, at, member);
    texts.push(text);
    at = skipSpace(json, end);
    if (json.charCodeAt(at) === COMMA) at = skipSpace(json, at + 1);
  }
  return texts;
}

/**
 * @param json a valid JSON object
 * @returns the text of its `member`; of the last one when it is repeated, as JSON.parse has it; undefined without one
 */
export function memberText(json: string, member: string): string | undefined {
  return memberTextAt(json, skipSpace(json, 0), member).text;
}

function memberTextAt(json: string, at: number, member: string): { text: string | undefined; end: number } {
  if (json.charCodeAt(at) !== OPEN_BRACE) return { text: undefined, end: skipValue(json, at) };
  const found = memberRange(json, at, member);
  if (found === undefined) return { text: undefined, end: skipValue(json, at) };
  return { text: json.slice(found.start, found.valueEnd), end: found.objectEnd };
}

interface MemberRange {
  readonly start: number;
  readonly valueEnd: number;
  readonly objectEnd: number;
}

/** Walks the members of the object at `at`; the last one of that name wins. */
function memberRange(json: string, at: number, member: string): MemberRange | undefined {
  let start = -1;
  let valueEnd = -1;
  let i = skipSpace(json, at + 1);
  while (json.charCodeAt(i) !== CLOSE_BRACE) {
    const nameEnd = skipString(json, i);
    const valueStart = skipSpace(json, skipSpace(json, nameEnd) + 1); // past the colon
    const end = skipValue(json, valueStart);
    if (isName(json, i, nameEnd, member)) {
      start = valueStart;
      valueEnd = end;
    }
    i = skipSpace(json, end);
    if (json.charCodeAt(i) === COMMA) i = skipSpace(json, i + 1);
  }
  return start === -1 ? undefined : { start, valueEnd, objectEnd: i + 1 };
}

function isName(json: string, start: number, end: number, member: string): boolean {
  if (end - start === member.length + 2) return json.startsWith(member, start + 1);
  const name = json.slice(start, end);
  return name.includes("\\") && JSON.parse(name) === member;
}

function skipSpace(json: string, at: number): number {
  let i = at;
  for (; ; i++) {
    const c = json.charCodeAt(i);
    if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return i;
  }
}

/** @returns the index after the string that starts with the quote at `at` */
function skipString(json: string, at: number): number {
  for (let quote = json.indexOf('"', at + 1); ; quote = json.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (json.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return quote + 1;
  }
}

/** @returns the index after the value that starts at `at`; no recursion, so depth costs no stack */
function skipValue(json: string, at: number): number {
  const first = json.charCodeAt(at);
  if (first === QUOTE) return skipString(json, at);
  if (first !== OPEN_BRACE && first !== OPEN_BRACKET) return skipScalar(json, at);
  let depth = 1;
  let i = at + 1;
  while (depth > 0) {
    const c = json.charCodeAt(i);
    if (c === QUOTE) {
      i = skipString(json, i);
      continue;
    }
    if (c === OPEN_BRACE || c === OPEN_BRACKET) depth++;
    else if (c === CLOSE_BRACE || c === CLOSE_BRACKET) depth--;
    i++;
  }
  return i;
}

/** @returns the index after a number, true, false or null */
function skipScalar(json: string, at: number): number {
  let i = at;
  while (i < json.length) {
    const c = json.charCodeAt(i);
    if (c === COMMA || c === CLOSE_BRACKET || c === CLOSE_BRACE || c <= 0x20) return i;
    i++;
  }
  return i;
}
