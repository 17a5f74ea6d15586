import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import { expectProblem, paths } from "../support/answers.ts";
import { type Answer, startWorker } from "../support/worker.ts";

const worker = startWorker();

async function makeStream(name: string, settings: object = {}): Promise<string> {
  expect((await worker.call("PUT", `/v1/streams/${name}`, settings)).status).toBe(201);
  return `/v1/streams/${name}/messages`;
}

const post = (path: string, body: unknown, type: string, more: Record<string, string> = {}) =>
  worker.call("POST", path, body, { "content-type": type, ...more });

function idOf(answer: Answer): string {
  expect({ status: answer.status, error: answer.json.detail }).toEqual({ status: 201, error: undefined });
  expect(answer.json.ids).toHaveLength(1);
  return answer.json.ids[0];
}

/** The very bytes of a message, and what is said of their type. */
async function bytesOf(path: string, id: string): Promise<[Buffer, string | undefined]> {
  const { data, dataBase64, datacontenttype } = (await worker.call("GET", `${path}/${id}`)).json;
  return [dataBase64 === undefined ? Buffer.from(data) : Buffer.from(dataBase64, "base64"), datacontenttype];
}

describe("a body of any media type", () => {
  test.each<[string, readonly (string | Uint8Array)[]]>([
    ["text/plain", ["text", "é😀\u0000\u2028", "\ufeffmark", "null", new Uint8Array([0xff, 0xfe])]],
    ["text/plain; charset=utf-8", ["é"]],
    ["text/plain; charset=iso-8859-1", [new Uint8Array([0xe9])]],
    ["application/xml", ["<a/>"]],
    ["multipart/form-data; boundary=x", ['--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n']],
    ["application/x-www-form-urlencoded", ["a=1&b=%20"]],
    ["application/octet-stream", [new Uint8Array(Array.from({ length: 256 }, (_, i) => i))]],
    ["image/png", [new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0]), "text all the same"]],
    ["application/jsonp", ["f({})"]],
    ["application/vnd.shop+json", ["{", "[".repeat(65) + "]".repeat(65)]],
  ])("is one message with those bytes: %s", async (type, bodies) => {
    const path = await makeStream(`any-${type.replaceAll(/[^a-z]/g, "-")}`);
    for (const body of bodies) {
      const id = idOf(await post(path, body, type));
      const [bytes, stated] = await bytesOf(path, id);
      expect(bytes.equals(Buffer.from(body))).toBe(true);
      expect(stated).toBe(type);
    }
  });

  test("that is a kind of JSON is JSON, as the text that it came as", async () => {
    const path = await makeStream("kinds");
    const text = ' {"a": 1.0, "10":12345678901234567890,\t"b":"\\ud800"} ';
    const id = idOf(await post(path, text, "application/vnd.shop+json; v=1"));
    const answer = await worker.call("GET", `${path}/${id}`);
    expect(answer.text).toContain(`"datacontenttype":"application/vnd.shop+json; v=1","data":${text},`);
  });

  test("that is empty is a message all the same, with an empty payload", async () => {
    const path = await makeStream("nothing");
    const id = idOf(await post(path, "", "text/plain"));
    expect((await worker.call("GET", `${path}/${id}`)).json).toMatchObject({
      dataBase64: "",
      datacontenttype: "text/plain",
    });
  });

  test("has its type and key in the query", async () => {
    const path = await makeStream("query");
    const id = idOf(await post(`${path}?type=order%20paid&key=%F0%9F%98%80`, "x", "text/plain"));
    const message = { type: "order paid", key: "😀", data: "x", attributes: {} };
    expect((await worker.call("GET", `${path}/${id}`)).json).toMatchObject(message);
    for (const [query, path_] of [
      ["type=", "type"],
      ["key=", "key"],
      [`type=${"x".repeat(1_025)}`, "type"],
      ["type=a&type=b", "type"],
      ["key=a&keys=b", "keys"],
    ]) {
      const answer = await post(`${path}?${query}`, "p4yl0ad", "text/plain");
      expect(paths(expectProblem(answer, "invalid-request"))).toEqual([path_]);
    }
    expect((await worker.call("GET", "/v1/streams/query")).json.length).toBe(1);
  });

  test("has no type or key in the query when it says that itself", async () => {
    const path = await makeStream("itself");
    for (const [body, type] of [
      ['{"messages":[{}]}', "application/json"],
      ["{}", "application/x-ndjson"],
    ] as const) {
      const { detail, errors } = expectProblem(await post(`${path}?key=a&type=b`, body, type), "invalid-request");
      expect(errors.map((error: { path: string }) => error.path).sort()).toEqual(["key", "type"]);
      expect(detail).toContain("expected in the body");
    }
    expect((await worker.call("GET", "/v1/streams/itself")).json.length).toBe(0);
  });

  test("is told from another by its Idempotency-Key, its type and its bytes", async () => {
    const path = await makeStream("once");
    const once = { "idempotency-key": "k" };
    const id = idOf(await post(`${path}?type=a`, "x", "text/plain", once));
    const again = await post(`${path}?type=a`, "x", "text/plain", once);
    expect(idOf(again)).toBe(id);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    for (const [query, body, type] of [
      ["?type=b", "x", "text/plain"],
      ["?type=a", "y", "text/plain"],
      ["?type=a", "x", "text/xml"],
    ] as const) {
      expectProblem(await post(path + query, body, type, once), "idempotency-mismatch");
    }
  });

  test("is refused when it is larger than the stream takes, base64 included, or than any body may be", async () => {
    const path = await makeStream("large", { maxMessageBytes: 4 * 1024 * 1024 });
    const bytes = (size: number) => new Uint8Array(size).fill(0xff);
    const MiB = 1024 * 1024;
    const id = idOf(await post(path, bytes(3 * MiB - 1_024), "image/png"));
    const [kept] = await bytesOf(path, id);
    expect(kept.equals(bytes(3 * MiB - 1_024))).toBe(true);
    expect(idOf(await post(path, "x".repeat(4 * MiB - 1_024), "text/plain"))).toBeTypeOf("string");
    for (const body of [bytes(3 * MiB), bytes(8 * MiB), bytes(8 * MiB + 1)]) {
      expectProblem(await post(path, body, "image/png"), "payload-too-large");
    }
  });

  test("is refused without a media type that there can be, or in a coding", async () => {
    const path = await makeStream("untyped");
    for (const type of ["json", "", ";", "*/*", "text/*", "text/plain, text/html", "/", "a/", `a/${"b".repeat(300)}`]) {
      expectProblem(await post(path, "x", type), "unsupported-media-type");
    }
    const coded = { "content-encoding": "gzip" };
    expectProblem(await post(path, "x", "text/plain", coded), "unsupported-media-type");
    expect((await worker.call("GET", "/v1/streams/untyped")).json.length).toBe(0);
  });
});
