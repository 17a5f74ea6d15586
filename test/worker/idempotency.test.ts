import { beforeAll, describe, expect, test } from "vitest";
import { expectProblem } from "../support/answers.ts";
import { startWorker } from "../support/worker.ts";

describe("an Idempotency-Key", () => {
  const worker = startWorker();
  const path = "/v1/streams/orders/messages";
  const produce = (body: unknown, key: string, headers?: Record<string, string>) =>
    worker.call("POST", path, body, { "idempotency-key": key, ...headers });

  beforeAll(async () => {
    await worker.call("PUT", "/v1/streams/orders");
  });

  test("with the same messages answers the same ids, says so, and appends nothing", async () => {
    const body = { messages: [{ type: "t", data: { a: 1.5 }, attributes: { x: "y" } }, {}] };
    const first = await produce(body, "same");
    expect(first).toMatchObject({ status: 201, json: { ids: [expect.any(String), expect.any(String)] } });
    expect(first.headers.has("idempotency-replayed")).toBe(false);
    const length = (await worker.call("GET", "/v1/streams/orders")).json.length;
    const again = await produce(body, "same");
    expect(again).toMatchObject({ status: 201, json: first.json });
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect((await worker.call("GET", "/v1/streams/orders")).json.length).toBe(length);
  });

  test("takes JSON, JSON spaced otherwise, and NDJSON of the same messages as the same content", async () => {
    const { json } = await produce('{"messages":[{"type":"t","data":[1.0]},{"key":"k"}]}', "forms");
    const spaced = await produce('{ "messages" : [ { "data":[1.0], "type":"t" },\n{"key":"k"} ] }', "forms");
    const lines = await produce('{"type":"t","data":[1.0]}\r\n\n{"key":"k"}', "forms", {
      "content-type": "application/x-ndjson",
    });
    for (const again of [spaced, lines]) {
      expect(again).toMatchObject({ status: 201, json });
      expect(again.headers.get("idempotency-replayed")).toBe("true");
    }
  });

  test("with other messages is refused, however little they differ, and appends nothing", async () => {
    await produce('{"messages":[{"data":1,"attributes":{"a":"b"}}]}', "other");
    const length = (await worker.call("GET", "/v1/streams/orders")).json.length;
    for (const body of [
      '{"messages":[{"data":2,"attributes":{"a":"b"}}]}',
      '{"messages":[{"data":1.0,"attributes":{"a":"b"}}]}',
      '{"messages":[{"data":1,"attributes":{"a":"b"}},{}]}',
      '{"messages":[{"data":1}]}',
      '{"messages":[{"data":"1","attributes":{"a":"b"}}]}',
    ]) {
      expectProblem(await produce(body, "other"), "idempotency-mismatch");
    }
    expect((await worker.call("GET", "/v1/streams/orders")).json.length).toBe(length);
  });

  test("counts for its own stream only, and for the stream that was there when it was used", async () => {
    await worker.call("PUT", "/v1/streams/else");
    const first = await produce({ messages: [{ data: 1 }] }, "scope");
    const other = await worker.call(
      "POST",
      "/v1/streams/else/messages",
      { messages: [{ data: 2 }] },
      { "idempotency-key": "scope" },
    );
    expect(other.status).toBe(201);
    expect(first.status).toBe(201);
    await worker.call("DELETE", "/v1/streams/else");
    await worker.call("PUT", "/v1/streams/else");
    const anew = await worker.call(
      "POST",
      "/v1/streams/else/messages",
      { messages: [{ data: 2 }] },
      { "idempotency-key": "scope" },
    );
    expect(anew.headers.has("idempotency-replayed")).toBe(false);
    expect((await worker.call("GET", "/v1/streams/else")).json.length).toBe(1);
  });

  test("of 255 characters is taken, also one that looks like a key of Weir's", async () => {
    for (const key of ["a".repeat(255), ":config", "{x}:dead:mail", "%41", '"', "\\"]) {
      expect((await produce({ messages: [{}] }, key)).status).toBe(201);
    }
  });
});
