/**
 * Cuts the texts of members out of JSON text, so that a message's `data` is stored and handed on as it was written:
 * parsing and writing it anew would lose digits of big integers, `1.0`, `-0` and the order of number-like names.
 *
 * Every function here but findExcess takes text that JSON.parse has accepted; on anything else the result has no meaning.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;
const COLON = 0x3a;

/** How many arrays and objects may lie one inside the other in a value that is cut out. */
export const MAX_LEVELS = 64;

/** A value is nested more deeply than {@link MAX_LEVELS}. */
export class TooDeep extends Error {
  override readonly name = "TooDeep";
}

/**
 * @param json a valid JSON object, such as `{"messages":[{"data":1.0},{}]}`
 * @returns for each object in the array that is its `list` member, the text of that object's `member`, or undefined
 * @throws {TooDeep} on a member with more than {@link MAX_LEVELS}
 */
export function textsInList(json: string, list: string, member: string): (string | undefined)[] {
  let texts: (string | undefined)[] = [];
  let i = skipSpace(json, skipSpace(json, 0) + 1);
  while (json.charCodeAt(i) !== CLOSE_BRACE) {
    const nameEnd = skipString(json, i);
    const valueStart = skipSpace(json, skipSpace(json, nameEnd) + 1); // past the colon
    let end: number;
    // The last one of that name wins.
    if (isName(json, i, nameEnd, list)) ({ texts, end } = listTextsAt(json, valueStart, member));
    else end = skipValue(json, valueStart);
    i = skipSpace(json, end);
    if (json.charCodeAt(i) === COMMA) i = skipSpace(json, i + 1);
  }
  return texts;
}

/**
 * @param json a valid JSON array, such as `[{"data":1.0},{}]`
 * @returns for each object in it the text of that object's `member`, or undefined
 * @throws {TooDeep} on a member with more than {@link MAX_LEVELS}
 */
export function textsInArray(json: string, member: string): (string | undefined)[] {
  return listTextsAt(json, skipSpace(json, 0), member).texts;
}

function listTextsAt(json: string, start: number, member: string): { texts: (string | undefined)[]; end: number } {
  const texts: (string | undefined)[] = [];
  if (json.charCodeAt(start) !== OPEN_BRACKET) return { texts, end: skipValue(json, start) };
  let at = skipSpace(json, start + 1);
  while (json.charCodeAt(at) !== CLOSE_BRACKET) {
    const { text, end } = memberTextAt(json, at, member);
    texts.push(text);
    at = skipSpace(json, end);
    if (json.charCodeAt(at) === COMMA) at = skipSpace(json, at + 1);
  }
  return { texts, end: at + 1 };
}

/**
 * @param json a valid JSON object
 * @returns the text of its `member`; of the last one when it is repeated, as JSON.parse has it; undefined without one
 * @throws {TooDeep} on a member with more than {@link MAX_LEVELS}
 */
export function memberText(json: string, member: string): string | undefined {
  return memberTextAt(json, skipSpace(json, 0), member).text;
}

function memberTextAt(json: string, at: number, member: string): { text: string | undefined; end: number } {
  if (json.charCodeAt(at) !== OPEN_BRACE) return { text: undefined, end: skipValue(json, at) };
  const { start, valueEnd, objectEnd } = memberRange(json, at, member);
  return { text: start === -1 ? undefined : json.slice(start, valueEnd), end: objectEnd };
}

interface MemberRange {
  /** -1: there is no such member. */
  readonly start: number;
  readonly valueEnd: number;
  readonly objectEnd: number;
}

/** Walks the members of the object at `at`; the last one of that name wins. */
function memberRange(json: string, at: number, member: string): MemberRange {
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
  return { start, valueEnd, objectEnd: i + 1 };
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

/**
 * @returns the index after the value that starts at `at`; no recursion, so depth costs no stack
 * @throws {TooDeep}
 */
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
    if (c === OPEN_BRACE || c === OPEN_BRACKET) {
      if (++depth > MAX_LEVELS) throw new TooDeep();
    } else if (c === CLOSE_BRACE || c === CLOSE_BRACKET) depth--;
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

/** What there is too much of in a text, and where: the names and places of the outermost values that hold it. */
export interface Excess {
  readonly of: "levels" | "parts";
  readonly path: readonly (string | number)[];
}

/**
 * Looks through a text before JSON.parse does: what it makes of brackets takes up to 30 times their own memory. Takes any
 * text; on what is no JSON it may find nothing.
 * @param maxLevels how many arrays and objects may lie one inside the other
 * @param maxParts how many arrays, objects and members there may be in all
 * @param pathLength how many parts of the path to tell
 */
export function findExcess(
  json: string,
  { maxLevels, maxParts, pathLength }: { maxLevels: number; maxParts: number; pathLength: number },
): Excess | undefined {
  const path = new PathTracker(json, pathLength);
  let level = 0;
  let parts = 0;
  for (let i = 0; i < json.length; i++) {
    const c = json.charCodeAt(i);
    if (c === QUOTE) {
      const end = skipString(json, i);
      // It does not end: JSON.parse will say so.
      if (end <= i) return undefined;
      if (level <= pathLength) path.string(level, i, end);
      i = end - 1;
    } else if (c === OPEN_BRACE || c === OPEN_BRACKET) {
      level++;
      parts++;
      if (level <= pathLength) path.open(level, c === OPEN_BRACKET);
      if (level > maxLevels) return { of: "levels", path: path.parts() };
    } else if (c === COLON) parts++;
    else if (c === COMMA && level <= pathLength) path.comma(level);
    else if (c === CLOSE_BRACE || c === CLOSE_BRACKET) level--;
    if (parts > maxParts) return { of: "parts", path: [] };
  }
  return undefined;
}

/** Knows where a walk through JSON text is, in the outermost values. */
class PathTracker {
  readonly #json: string;
  /** By level: the place in an array, or where the last string of an object begins and ends. */
  readonly #places: (number | readonly [start: number, end: number])[] = [];

  constructor(json: string, length: number) {
    this.#json = json;
    for (let i = 0; i < length; i++) this.#places.push(0);
  }

  open(level: number, isArray: boolean): void {
    this.#places[level - 1] = isArray ? 0 : [0, 0];
  }

  comma(level: number): void {
    const place = this.#places[level - 1];
    if (typeof place === "number") this.#places[level - 1] = place + 1;
  }

  string(level: number, start: number, end: number): void {
    if (typeof this.#places[level - 1] === "object") this.#places[level - 1] = [start, end];
  }

  parts(): (string | number)[] {
    return this.#places.map((place) =>
      typeof place === "number" ? place : this.#json.slice(place[0] + 1, place[1] - 1),
    );
  }
}
