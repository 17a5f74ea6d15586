import type { FuzzRequest } from "./plan.ts";

/** Requests that no client of good will sends. */

type Spoil = (request: FuzzRequest, n: number) => FuzzRequest;

const LARGEST = 8 * 1024 * 1024;
const json = (request: FuzzRequest, text: string): FuzzRequest => ({
  ...withHeader(request, "content-type", "application/json"),
  method: request.method === "GET" ? "POST" : request.method,
  body: Buffer.from(text),
});

function withHeader(request: FuzzRequest, name: string, value: string | undefined): FuzzRequest {
  const others = request.headers.filter(([has]) => has !== name);
  return { ...request, headers: value === undefined ? others : [...others, [name, value]] };
}

function alsoHeader(request: FuzzRequest, name: string, value: string): FuzzRequest {
  return { ...request, headers: [...request.headers, [name, value]] };
}

function oneOf<T>(list: readonly T[], n: number): T {
  const item = list[n % list.length];
  if (item === undefined) throw new RangeError("an empty list");
  return item;
}

const MEDIA_TYPES = [
  "",
  "text/plain",
  "APPLICATION/JSON",
  "application/json; charset=UTF-8",
  "application/json; charset=utf-16",
  'application/json; charset="utf-8"; x=y',
  "application/json, text/plain",
  "application/x-ndjson",
  "application/cloudevents+json",
  "application/cloudevents-batch+json",
  "multipart/form-data; boundary=x",
  "application/x-www-form-urlencoded",
  `a/${"b".repeat(6_000)}`,
  "/",
  ";".repeat(3_000),
];
const ENCODINGS = ["gzip", "br", "deflate", "identity", "IDENTITY", "x-gzip", "gzip, identity", "", "utf-8", "zstd"];
const METHODS = ["HEAD", "OPTIONS", "PATCH", "DELETE", "GET", "POST", "PUT", "TRACE", "PROPFIND"];
const CHARACTERS = ["/", "a", "0", " ", "-", ".", "~", "%", "\\u0000", "\\\\", "[", "=", "\\n", "\\ud83d\\ude00", "9-"];

/** What may follow or stand in a path. */
const PATHS: readonly ((target: string, n: number) => string)[] = [
  (target) => `${target}/`,
  (target) => `/${target}`,
  (target) => target.replace("/v1/", "/v1//"),
  (target) => target.replace("/v1/", "/V1/"),
  (target) => target.replace("/v1/", "/v1/../v1/"),
  (target) => target.replace("/v1/", "/v1/%2e%2e/v1/"),
  (target) => target.replace("/v1/", "/v1/./"),
  (target) => target.replace("/v1/", "/%76%31/"),
  (target) => target.replace("/v1/", "\\v1\\"),
  (target) => target.replace(/streams\/[^/?]*/, "streams/%00"),
  (target) => target.replace(/streams\/[^/?]*/, "streams/.."),
  (target) => target.replace(/streams\/[^/?]*/, "streams/%2e%2e"),
  (target) => target.replace(/streams\/[^/?]*/, "streams/%252e%252e"),
  (target) => target.replace(/streams\/[^/?]*/, "streams/s0%2Fgroups%2Fg0"),
  (target) => target.replace(/streams\/[^/?]*/, "streams/%zz"),
  (target) => target.replace(/streams\/[^/?]*/, "streams/%"),
  (target) => target.replace(/streams\/[^/?]*/, "streams/%ff"),
  (target) => target.replace(/streams\/[^/?]*/, "streams/%ED%A0%80"),
  (target) => target.replace(/streams\/[^/?]*/, "streams/\u00ff"),
  (target) => target.replace(/streams\/[^/?]*/, `streams/${"n".repeat(8_000)}`),
  (target) => target.replace(/streams\/[^/?]*/, "streams/s0;x=1"),
  (target) => target.replace(/streams\/[^/?]*/, "streams/s0}x{"),
  (target) => target.replace(/streams\/[^/?]*/, "streams/{s0}"),
  (target) => target.replace(/streams\/[^/?]*/, "streams/:stream"),
  (target) => target.replace(/streams\/[^/?]*/, "streams/*"),
  (target) => target.replace(/groups\/[^/?]*/, "groups/%00"),
  (target) => target.replace(/groups\/[^/?]*/, "groups/@held"),
  (target) => target.replace(/groups\/[^/?]*/, "groups/g0%0d%0ax:%20y"),
  (target) => target.replace(/(messages|dead-letters)\/[^/?]*/, "$1/0-0"),
  (target) => target.replace(/(messages|dead-letters)\/[^/?]*/, `$1/${"9".repeat(4_000)}-0`),
  (target) => target.replace(/(messages|dead-letters)\/[^/?]*/, "$1/18446744073709551615-18446744073709551615"),
  (target) => target.replace(/(messages|dead-letters)\/[^/?]*/, "$1/18446744073709551616-0"),
  (target) => target.replace(/consumers\/[^/?]*/, `consumers/${"%00".repeat(2_000)}`),
  (target) => target.replace(/\/[^/]*$/, ""),
  () => "/",
  () => "//",
  () => "/v1",
  () => "/v1/streams/a/b/c/d/e/f/g/h",
  () => "/constructor",
  () => "/__proto__",
  () => `/${"a/".repeat(3_000)}`,
  (target) => `http://elsewhere.test${target}`,
  (target) => `${target}?`,
  (target) => `${target}?&&&=&`,
  (target) => `${target}?limit[]=1`,
  (target) => `${target}?limit=%zz`,
  (target) => `${target}?%00=1`,
  (target) => `${target}?limit=1&limit=1`,
  (target) => `${target}?limit=10#x`,
  (target) => `${target}?${"x=1&".repeat(1_500)}`,
  (target) => `${target}?cursor=${"%F0%9F%98%80".repeat(400)}`,
  (target) => `${target}?start=${"9".repeat(5_000)}`,
  (target) => `${target}?type=%ED%A0%80`,
  (target, n) => target.slice(0, n % target.length) || "/",
];

const HEADERS: readonly (readonly [name: string, value: string])[] = [
  ["x-http-method-override", "DELETE"],
  ["x-forwarded-for", "127.0.0.1"],
  ["expect", "100-continue"],
  ["range", "bytes=0-1"],
  ["if-none-match", "*"],
  ["accept", "application/xml"],
  ["accept", "application/cloudevents+json"],
  ["accept", "text/html;q=0.1, application/cloudevents-batch+json"],
  ["accept", ",".repeat(5_000)],
  ["accept-encoding", "gzip"],
  ["cookie", "a=b; ".repeat(500)],
  ["connection", "close"],
  ["upgrade", "websocket"],
  ["host", "elsewhere.test"],
  ["idempotency-key", ""],
  ["idempotency-key", "x".repeat(256)],
  ["idempotency-key", "\u00ff"],
  ["ce-specversion", "1.0"],
  ["ce-subject", "%ff"],
  ["authorization", "Bearer a.b.c"],
  ["authorization", `Bearer ${"x".repeat(6_000)}`],
  ["authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzY29wZSI6WyJhZG1pbjoqIl0sImV4cCI6OTk5OTk5OTk5OX0."],
  ["x-long", "x".repeat(14_000)],
];

/** Bodies with the cost of something in them. */
const BODIES: readonly ((n: number) => string)[] = [
  (n) => "[".repeat(oneOf([100, 10_000, 1_000_000], n)),
  (n) => '{"a":'.repeat(oneOf([100, 10_000, 500_000], n)),
  (n) => {
    const depth = oneOf([60, 70, 1_000, 100_000], n);
    return `{"messages":[{"data":${"[".repeat(depth)}${"]".repeat(depth)}}]}`;
  },
  (n) => `{"messages":[${'{"data":1},'.repeat(oneOf([999, 1_000, 100_000], n))}{}]}`,
  (n) =>
    `{"messages":[{"attributes":{${Array.from({ length: oneOf([64, 65, 50_000], n) }, (_, i) => `"a${i}":""`)}}}]}`,
  (n) => `{${Array.from({ length: oneOf([10, 100_000], n) }, (_, i) => `"m${i}":1`)}}`,
  (n) => `{"messages":[{"datacontenttype":"${oneOf(CHARACTERS, n).repeat(200_000)}\\n"}]}`,
  (n) => `{"messages":[{"type":"${oneOf(CHARACTERS, n).repeat(300_000)}!"}]}`,
  (n) => `{"messages":[{"dataBase64":"${oneOf(["A", "=", "/", " "], n).repeat(500_000)}!"}]}`,
  (n) => `{"messages":[{"data":"${oneOf(CHARACTERS, n).repeat(500_000)}"}]}`,
  (n) => `{"messages":[{"data":${"9".repeat(oneOf([400, 100_000], n))}}]}`,
  (n) => `{"acks":[${Array.from({ length: oneOf([1_000, 1_001, 50_000], n) }, (_, i) => `"1~1~c~1~${i}-0~1"`)}]}`,
  (n) => `{"consumer":"c0","pollState":"${oneOf(CHARACTERS, n).repeat(300_000)}"}`,
  (n) => `{"consumer":"${oneOf(CHARACTERS, n).repeat(300_000)}"}`,
  (n) => `{"ids":[${Array.from({ length: oneOf([1_000, 1_001], n) }, (_, i) => `"${i}-${i}"`)}]}`,
  (n) => `{"start":"${oneOf(CHARACTERS, n).repeat(300_000)}"}`,
  (n) => `{"scope":["${oneOf(CHARACTERS, n).repeat(300_000)}"],"subject":"x","expiresInMs":1000}`,
  () => `{"messages":[{"data":"${"x".repeat(LARGEST)}"}]}`,
  () => " ".repeat(LARGEST - 1_000),
  () => "\n".repeat(1_000_000),
];

const SPOILS: readonly (readonly [weight: number, spoil: Spoil])[] = [
  [3, (request, n) => ({ ...request, body: request.body?.subarray(0, n % (request.body.length + 1)) })],
  [1, (request) => ({ ...request, body: request.body ?? Buffer.from("{"), framing: "short", breaksHttp: true })],
  [2, (request, n) => ({ ...request, body: inserted(request.body ?? Buffer.from("{}"), n) })],
  [1, (request) => ({ ...request, body: Buffer.concat([Buffer.from("\ufeff"), request.body ?? Buffer.alloc(0)]) })],
  [2, (request) => ({ ...request, framing: "chunked", body: request.body ?? Buffer.from("{}") })],
  [2, (request, n) => withHeader(request, "content-encoding", oneOf(ENCODINGS, n))],
  [1, (request) => withHeader(request, "content-type", undefined)],
  [3, (request, n) => withHeader(request, "content-type", oneOf(MEDIA_TYPES, n))],
  [8, (request, n) => withTarget(request, oneOf(PATHS, n)(request.target, n))],
  [2, (request, n) => ({ ...request, method: oneOf(METHODS, n) })],
  [3, (request, n) => spoiltHeader(request, n)],
  [3, (request, n) => json(request, oneOf(BODIES, n)(n >> 4))],
  [1, (request, n) => ({ ...json(request, oneOf(BODIES, n)(n >> 4)), framing: "chunked" })],
];

/** Bytes that are not UTF-8, somewhere: alone, too long a form, a surrogate. */
function inserted(body: Buffer, n: number): Buffer {
  const bytes = oneOf([[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0x80], [0]], n);
  const at = n % (body.length + 1);
  return Buffer.concat([body.subarray(0, at), Buffer.from(bytes), body.subarray(at)]);
}

/** What is no path of ASCII is the server's matter. */
function withTarget(request: FuzzRequest, target: string): FuzzRequest {
  return { ...request, target, breaksHttp: !/^\/[!-~]*$/.test(target) || target.includes("\\") };
}

function spoiltHeader(request: FuzzRequest, n: number): FuzzRequest {
  const [name, value] = oneOf(HEADERS, n);
  // What asks for a WebSocket reaches a Worker as a GET, whatever its method: nothing that Weir could tell.
  if (name === "upgrade" && request.method !== "GET") return request;
  const spoilt = n % 2 === 0 ? alsoHeader(request, name, value) : withHeader(request, name, value);
  // More than a server takes, or what it answers itself.
  const breaksHttp = value.length > 10_000 || ["expect", "upgrade", "host", "connection"].includes(name);
  return { ...spoilt, breaksHttp, token: name === "authorization" ? undefined : request.token };
}

const TURNS: readonly Spoil[] = SPOILS.flatMap(([weight, spoil]) => new Array<Spoil>(weight).fill(spoil));

/** One hostile thing, by numbers. */
export interface Hostility {
  readonly way: number;
  readonly n: number;
}

export function spoilt(request: FuzzRequest, { way, n }: Hostility): FuzzRequest {
  return oneOf(TURNS, way)(request, n);
}
