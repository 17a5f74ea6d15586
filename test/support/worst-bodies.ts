/** Bodies that cost a parser most for their length, each of about that many bytes; not all are JSON. */
export function worstBodies(bytes: number): Readonly<Record<string, () => string>> {
  const list = (unit: string) => messageWith(`[${repeated(`${unit},`, bytes).slice(0, -1)}]`);
  const counted = (write: (name: string) => string) => messageWith(`[${numbered(write, bytes)}]`);
  const deep = (open: string, close: string, inner = "") => {
    const levels = Math.floor(bytes / (open.length + close.length));
    return messageWith(open.repeat(levels) + inner + close.repeat(levels));
  };
  return {
    "arrays that do not end": () => "[".repeat(bytes),
    "objects that do not end": () => repeated('{"":', bytes),
    "deep arrays": () => deep("[", "]"),
    "deep objects": () => deep('{"":', "}", "1"),
    "arrays just deep enough": () => list("[".repeat(63) + "]".repeat(63)),
    "empty arrays": () => list("[]"),
    "empty objects": () => list("{}"),
    "small arrays": () => list("[1]"),
    "small objects": () => list('{"a":1}'),
    "small objects, each with a name of its own": () => counted((name) => `{"${name}":1}`),
    "many members": () => messageWith(`{${numbered((name) => `"${name}":1`, bytes)}}`),
    "as many objects as there may be, then texts": () =>
      messageWith(
        `[${numbered((name) => `{"${name}":1}`, bytes, 249_000)},${numbered((name) => `"${name}"`, Math.floor(bytes / 2))}]`,
      ),
    numbers: () => list("1"),
    fractions: () => list("1.5"),
    texts: () => counted((name) => `"${name}"`),
    "one long text": () => messageWith(JSON.stringify("x".repeat(bytes - 100))),
    "one long text of escapes": () => messageWith(`"${repeated("\\u0041", bytes)}"`),
    "messages that are none": () => `{"messages":[${repeated("1,", bytes).slice(0, -1)}]}`,
    "messages with nothing in them": () => `{"messages":[${repeated("{},", bytes).slice(0, -1)}]}`,
    "members that there are not": () => `{${numbered((name) => `"${name}":1`, bytes)}}`,
    "attributes that are no texts": () => `{"messages":[{"attributes":{${numbered((name) => `"${name}":1`, bytes)}}}]}`,
  };
}

function messageWith(data: string): string {
  return `{"messages":[{"data":${data}}]}`;
}

function repeated(unit: string, bytes: number): string {
  return unit.repeat(Math.floor((bytes - 100) / unit.length));
}

/** As many as fit, or `most`, with a name of its own each. */
function numbered(write: (name: string) => string, bytes: number, most = Number.POSITIVE_INFINITY): string {
  const parts: string[] = [];
  for (let i = 0, length = 100; parts.length < most; i++) {
    const part = write(i.toString(36));
    length += part.length + 1;
    if (length > bytes) break;
    parts.push(part);
  }
  return parts.join(",");
}
