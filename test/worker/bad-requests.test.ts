import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ErrorCode } from "../../shared/errors.ts";
import { expectProblem, paths } from "../support/answers.ts";
import { ROOT_TOKEN, startWorker } from "../support/worker.ts";

const STREAM = "/v1/streams/orders";
const MESSAGES = `${STREAM}/messages`;
const GROUP = `${STREAM}/groups/mail`;
/** Stands wherever a payload stands in a request that is refused. */
const SECRET = "p4yl0ad";

describe("a request that is not right", () => {
  const worker = startWorker();

  beforeAll(async () => {
    expect((await worker.call("PUT", STREAM)).status).toBe(201);
    expect((await worker.call("PUT", GROUP, { start: "earliest" })).status).toBe(201);
  });

  // Whatever was refused, nothing of it may have been stored.
  afterAll(async () => {
    expect((await worker.call("GET", STREAM)).json).toMatchObject({ length: 0, groups: 1 });
    expect((await worker.call("GET", "/v1/streams")).json.streams).toEqual([
      { name: "orders", length: 0, scheduled: 0 },
    ]);
  });

  const produce = (body: unknown, headers?: Record<string, string>) => worker.call("POST", MESSAGES, body, headers);
  const one = (message: unknown) => produce({ messages: [message] });

  describe("by a name", () => {
    const names = [
      "a%2Fb",
      "%2F",
      "@x",
      "a".repeat(129),
      "%C3%BC",
      "%F0%9F%98%80",
      "a%20b",
      "%7B",
      "%00",
      "%ff",
      "a%0A",
      "~",
    ];

    test.each(names)("%s is refused wherever a stream or group is named", async (name) => {
      expect(paths(expectProblem(await worker.call("PUT", `/v1/streams/${name}`), "invalid-request"))).toEqual([
        "stream",
      ]);
      expect(paths(expectProblem(await worker.call("GET", `/v1/streams/${name}/messages`), "invalid-request"))).toEqual(
        ["stream"],
      );
      expect(paths(expectProblem(await worker.call("PUT", `${STREAM}/groups/${name}`), "invalid-request"))).toEqual([
        "group",
      ]);
    });

    test.each([".", "..", "%2e%2E", "%2e"])("%s leads to no stream", async (name) => {
      const raw = await rawRequest(`GET /v1/streams/${name} HTTP/1.1`);
      expect(raw).toMatch(/^HTTP\/1.1 (400|404) /);
      expect(raw).toContain("application/problem+json");
    });

    test.each(["", ".", "..", "@held:1", "a/b", "ü", "a".repeat(129), "a b", "a~b", "\u0000"])(
      "%j is refused as a consumer",
      async (consumer) => {
        expect(
          paths(expectProblem(await worker.call("POST", `${GROUP}/consume`, { consumer }), "invalid-request")),
        ).toEqual(["consumer"]);
      },
    );

    test("of 128 characters, and with colons and dots, is taken", async () => {
      const name = "a:b.c_d-".repeat(16);
      expect((await worker.call("PUT", `/v1/streams/${name}`)).status).toBe(201);
      expect((await worker.call("DELETE", `/v1/streams/${name}`)).status).toBe(204);
    });
  });

  describe("by its members", () => {
    test("that are not known is refused, each named", async () => {
      const wrong = {
        messages: [
          { data: 1, payload: 2 },
          { Data: 1, id: "1-0" },
        ],
        extra: 1,
      };
      expect(paths(expectProblem(await produce(wrong), "invalid-request")).sort()).toEqual([
        "extra",
        "messages[0].payload",
        "messages[1].Data",
        "messages[1].id",
      ]);
      expect(
        paths(
          expectProblem(await worker.call("PUT", STREAM, { retention: { maxage: 1 }, x: 1 }), "invalid-request"),
        ).sort(),
      ).toEqual(["retention.maxage", "x"]);
      expectProblem(await worker.call("PUT", GROUP, { ackWait: 1 }), "invalid-request");
      expectProblem(await worker.call("POST", `${GROUP}/consume`, { consumer: "a", wait: 1 }), "invalid-request");
      expectProblem(await worker.call("POST", `${GROUP}/settle`, { ack: [] }), "invalid-request");
    });

    test("named __proto__ or constructor is refused like any other", async () => {
      for (const body of [
        '{"messages":[{"data":1}],"__proto__":{}}',
        '{"messages":[{"data":1,"__proto__":{"type":"x"}}]}',
        '{"__proto__":{"messages":[{"data":1}]}}',
        '{"messages":[{"data":1,"constructor":1}]}',
      ]) {
        expectProblem(await produce(body), "invalid-request");
      }
    });

    test.each([
      ["messages", '{"messages":{}}'],
      ["messages", '{"messages":null}'],
      ["messages", "{}"],
      ["messages", '{"messages":[]}'],
      ["messages[0]", '{"messages":[1]}'],
      ["messages[1]", '{"messages":[{},null]}'],
      ["messages[0]", '{"messages":[[]]}'],
      ["messages[0].type", '{"messages":[{"type":1}]}'],
      ["messages[0].type", '{"messages":[{"type":""}]}'],
      ["messages[0].key", '{"messages":[{"key":{}}]}'],
      ["messages[0].attributes", '{"messages":[{"attributes":[]}]}'],
      ["messages[0].attributes.a", '{"messages":[{"attributes":{"a":1}}]}'],
      ["messages[0].attributes.a", '{"messages":[{"attributes":{"a":null}}]}'],
      ["messages[0].dataBase64", '{"messages":[{"dataBase64":1}]}'],
      ["messages[0].dataBase64", '{"messages":[{"dataBase64":"p4yl0ad"}]}'],
      ["messages[0].dataBase64", '{"messages":[{"dataBase64":"AA==","data":1}]}'],
      ["messages[0].datacontenttype", '{"messages":[{"datacontenttype":"text"}]}'],
      ["messages[0].datacontenttype", '{"messages":[{"datacontenttype":"a/b\\nc"}]}'],
      ["messages[0].data", '{"messages":[{"datacontenttype":"text/plain","data":{"a":"p4yl0ad"}}]}'],
      ["messages[0].data", '{"messages":[{"datacontenttype":"text/plain","data":"p4yl0ad\\ud800"}]}'],
      ["messages[0].type", '{"messages":[{"type":"\\udc00"}]}'],
      ["messages[0].key", '{"messages":[{"key":"a\\ud800b"}]}'],
      ["messages[0].attributes.a", '{"messages":[{"attributes":{"a":"p4yl0ad\\ud800"}}]}'],
      ["", "[]"],
      ["", "null"],
      ["", "1e400"],
      ["", '"p4yl0ad"'],
    ])("at %j in %s is refused", async (path, body) => {
      expect(paths(expectProblem(await produce(body), "invalid-request"))).toEqual([path]);
    });

    test("names every fault at once, of the path, the query and the body", async () => {
      const answer = await worker.call("POST", "/v1/streams/@x/messages?a=1", {
        messages: [{ type: 1 }, {}, { key: 2 }],
      });
      const problem = expectProblem(answer, "invalid-request");
      expect(paths(problem).sort()).toEqual(["a", "messages[0].type", "messages[2].key", "stream"]);
      expect(problem.detail).toMatch(/and 3 more/);
    });

    test.each([
      ["batchSize", "0"],
      ["batchSize", "1001"],
      ["batchSize", "1.5"],
      ["batchSize", "-1"],
      ["batchSize", "1e400"],
      ["batchSize", "-1e400"],
      ["batchSize", "9007199254740992"],
      ["batchSize", '"10"'],
      ["batchSize", "null"],
      ["batchSize", "true"],
      ["acks", '"x"'],
      ["acks[0]", "[1]"],
      ["acks", JSON.stringify(Array.from({ length: 1001 }, () => "x"))],
      ["pollState", "1"],
      ["pollState", JSON.stringify("1".repeat(1001))],
    ])("%s cannot be %.40s in a consume", async (path, value) => {
      const member = path.replace(/\[.*/, "");
      const answer = await worker.call("POST", `${GROUP}/consume`, `{"consumer":"a","${member}":${value}}`);
      expect(paths(expectProblem(answer, "invalid-request"))).toEqual([path]);
    });

    test.each([
      ["retention.maxAgeMs", '{"retention":{"maxAgeMs":0}}'],
      ["retention.maxAgeMs", '{"retention":{"maxAgeMs":1e400}}'],
      ["retention.maxLength", '{"retention":{"maxLength":9007199254740992}}'],
      ["retention.maxLength", '{"retention":{"maxLength":0.5}}'],
      ["retention.unfinished", '{"retention":{"unfinished":"lose"}}'],
      ["maxMessageBytes", '{"maxMessageBytes":1023}'],
      ["maxMessageBytes", '{"maxMessageBytes":4194305}'],
      ["dedupeWindowMs", '{"dedupeWindowMs":"5m"}'],
    ])("%s cannot be what %s says", async (path, body) => {
      expect(paths(expectProblem(await worker.call("PUT", STREAM, body), "invalid-request"))).toEqual([path]);
    });

    test.each([
      ["ackWaitMs", '{"ackWaitMs":999}'],
      ["ackWaitMs", '{"ackWaitMs":43200001}'],
      ["maxDeliveries", '{"maxDeliveries":0}'],
      ["maxDeliveries", '{"maxDeliveries":101}'],
      ["start", '{"start":-1}'],
      ["start", '{"start":1.5}'],
      ["start", '{"start":1e400}'],
      ["start", '{"start":9007199254740992}'],
      ["start", '{"start":"2024-02-30"}'],
      ["start", '{"start":"+"}'],
      ["start", '{"start":""}'],
      ["start", '{"start":{}}'],
    ])("of a group: %s cannot be what %s says", async (path, body) => {
      expect(paths(expectProblem(await worker.call("PUT", `${STREAM}/groups/other`, body), "invalid-request"))).toEqual(
        [path],
      );
    });
  });

  describe("by what it settles, claims, seeks and replays", () => {
    const HOURS_12_MS = 12 * 3_600_000;
    const rows: [path: string, method: string, route: string, body: unknown][] = [
      ["retries[0].lease", "POST", "settle", { acks: ["1~x"], retries: [{ lease: "1~x" }] }],
      ["extends[1]", "POST", "settle", { rejects: [{ lease: "b" }], extends: ["a", "b"] }],
      ["rejects[0].lease", "POST", "consume", { consumer: "a", acks: ["x"], rejects: [{ lease: "x" }] }],
      ["acks[0]", "POST", "settle", { acks: [{ lease: "x" }] }],
      ["retries[0]", "POST", "settle", { retries: ["x"] }],
      ["retries[0].lease", "POST", "settle", { retries: [{}] }],
      ["retries[0].delayMs", "POST", "settle", { retries: [{ lease: "x", delayMs: -1 }] }],
      ["retries[0].delayMs", "POST", "settle", { retries: [{ lease: "x", delayMs: HOURS_12_MS + 1 }] }],
      ["retries[0].delayMs", "POST", "settle", { retries: [{ lease: "x", delayMs: 0.5 }] }],
      ["rejects[0].delayMs", "POST", "settle", { rejects: [{ lease: "x", delayMs: 1 }] }],
      ["rejects[0].reason", "POST", "settle", { rejects: [{ lease: "x", reason: 1 }] }],
      ["rejects[0].reason", "POST", "settle", { rejects: [{ lease: "x", reason: "a\ud800" }] }],
      ["nacks", "POST", "settle", { nacks: ["x"] }],
      ["recover", "POST", "consume", { consumer: "a", recover: "yes" }],
      ["consumer", "POST", "claim", {}],
      ["consumer", "POST", "claim", { consumer: "@held:1" }],
      ["ids[0]", "POST", "claim", { consumer: "a", ids: ["1"] }],
      ["ids", "POST", "claim", { consumer: "a", ids: Array.from({ length: 1_001 }, (_, i) => `${i}-0`) }],
      ["limit", "POST", "claim", { consumer: "a", limit: 0 }],
      ["minIdleMs", "POST", "claim", { consumer: "a", minIdleMs: -1 }],
      ["to", "POST", "seek", {}],
      ["to", "POST", "seek", { to: "+" }],
      ["to", "POST", "seek", { to: "2023-02-29" }],
      ["ids[0]", "POST", "replay", { ids: ["x"] }],
      ["limit", "POST", "replay", { start: "-", end: "+", limit: 1_001 }],
      ["ackWaitMs", "PUT", "", { ackWaitMs: 1 }],
      ["backoff.minMs", "PUT", "", { backoff: { minMs: -1 } }],
      ["handoverTo", "DELETE", "consumers/a?handoverTo=%40held:1", undefined],
    ];

    test.each(rows)("is refused at %s in %s /%s %j", async (path, method, route, body) => {
      const answer = await worker.call(method, `${GROUP}${route === "" ? "" : `/${route}`}`, body);
      expect(paths(expectProblem(answer, "invalid-request"))).toEqual([path]);
    });

    test("is refused when the leases are more than 1,000, also over all lists", async () => {
      const leases = (name: string, count: number) => Array.from({ length: count }, (_, i) => `${name}${i}`);
      expectProblem(await worker.call("POST", `${GROUP}/settle`, { acks: leases("a", 1_001) }), "invalid-request");
      const both = { acks: leases("a", 600), extends: leases("b", 401) };
      expectProblem(await worker.call("POST", `${GROUP}/settle`, both), "invalid-request");
      expectProblem(await worker.call("POST", `${GROUP}/consume`, { consumer: "a", ...both }), "invalid-request");
    });

    test("says which of stream, group and consumer is not there", async () => {
      for (const [route, body] of [
        ["settle", { retries: [{ lease: "x" }] }],
        ["claim", { consumer: "a" }],
        ["seek", { to: "earliest" }],
        ["replay", { ids: ["1-0"] }],
      ] as const) {
        expectProblem(await worker.call("POST", `${STREAM}/groups/none/${route}`, body), "unknown-group");
        expectProblem(await worker.call("POST", `/v1/streams/none/groups/mail/${route}`, body), "unknown-stream");
      }
      expectProblem(await worker.call("DELETE", `${GROUP}/consumers/none`), "unknown-consumer");
      expectProblem(await worker.call("DELETE", `${GROUP}/consumers/%ff%2F`), "unknown-consumer");
    });
  });

  describe("by very many faults", () => {
    const many = (count: number, member: (i: number) => string) =>
      Array.from({ length: count }, (_, i) => member(i)).join();

    test.each([
      ["members", `{"messages":[{}],${many(300_000, (i) => `"k${i}":1`)}}`, "application/json"],
      ["members of a line", `{${many(300_000, (i) => `"k${i}":1`)}}`, "application/x-ndjson"],
      ["attributes", `{"messages":[{"attributes":{${many(300_000, (i) => `"weir-${i}":"x"`)}}}]}`, "application/json"],
      ["messages", `{"messages":[${many(1_000_000, () => "1")}]}`, "application/json"],
    ])("in its %s is a 400 like any other, with an answer of bounded size", async (_, body, type) => {
      const answer = await produce(body, { "content-type": type });
      expectProblem(answer, "invalid-request");
      expect(answer.json.errors.length).toBeLessThanOrEqual(1_000);
      expect(answer.text.length).toBeLessThan(1024 * 1024);
    });

    test("in one name that is very long is told by the beginning of the name", async () => {
      const answer = await produce({ messages: [{}], ["x".repeat(1_000_000)]: 1 });
      expect(paths(expectProblem(answer, "invalid-request"))).toEqual([`${"x".repeat(128)}...`]);
    });
  });

  describe("by its messages", () => {
    test("is refused when they are more than 1,000, as JSON and as lines", async () => {
      const messages = Array.from({ length: 1_001 }, () => ({}));
      expect(paths(expectProblem(await produce({ messages }), "invalid-request"))).toEqual(["messages"]);
      const lines = messages.map((message) => JSON.stringify(message)).join("\n");
      expectProblem(await produce(lines, { "content-type": "application/x-ndjson" }), "invalid-request");
    });

    test("is refused when the lines are none, or one of them is no message, which is named by its line", async () => {
      const ndjson = { "content-type": "application/x-ndjson" };
      for (const body of ["", "\n", " \r\n\n"]) expectProblem(await produce(body, ndjson), "invalid-request");
      for (const line of ["[]", "1", "null", '{"x":1}']) {
        const problem = expectProblem(await produce(`{}\n${line}\n`, ndjson), "invalid-request");
        expect(paths(problem)[0]).toMatch(/^messages\[1\]/);
      }
      const broken = expectProblem(await produce(`{}\n\n{}\n{"data":${SECRET}}\n`, ndjson), "invalid-request");
      expect(broken.detail).toContain("line 4 ");
      expectProblem(await produce("\n".repeat(8 * 1024 * 1024), ndjson), "invalid-request");
    });

    test.each([
      "type",
      "key",
      "data",
      "datacontenttype",
      "weir-",
      "weir-encoding",
      "weir-id",
      "a".repeat(129),
      "",
      "\ud800",
    ])("is refused when an attribute is named %j", async (name) => {
      expectProblem(await one({ attributes: { [name]: SECRET } }), "invalid-request");
    });

    test("is refused when an attribute is named __proto__, however that is spelled", async () => {
      for (const name of ["__proto__", "\\u005f_proto__"]) {
        const problem = expectProblem(
          await produce(`{"messages":[{"attributes":{"${name}":"x"}}]}`),
          "invalid-request",
        );
        expect(paths(problem)).toEqual(["messages[0].attributes"]);
      }
    });

    test("is refused with more than 64 attributes", async () => {
      const attributes = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`a${i}`, "x"]));
      expect(paths(expectProblem(await one({ attributes }), "invalid-request"))).toEqual(["messages[0].attributes"]);
    });

    test("is refused when one is larger than the stream takes, which is named, and nothing is stored", async () => {
      const data = SECRET.repeat(10_000);
      const problem = expectProblem(
        await produce({ messages: [{ data: 1 }, { data }, { data: 2 }, { data }] }),
        "payload-too-large",
      );
      expect(paths(problem)).toEqual(["messages[1]", "messages[3]"]);
    });
  });

  describe("by its body", () => {
    test.each([
      "text/plain",
      "application/xml",
      "application/x-ndjson",
      "application/cloudevents+json",
      "json",
      "",
      ";",
    ])("is refused as %j where it must be JSON", async (type) => {
      const answer = await worker.call("POST", `${GROUP}/consume`, "{}", { "content-type": type });
      expectProblem(answer, "unsupported-media-type");
    });

    test("is refused in a charset that is not UTF-8, and taken in one that is, however it is written", async () => {
      for (const charset of ["latin1", "utf-16", '"iso-8859-1"', ""]) {
        expectProblem(
          await produce("{}", { "content-type": `application/json; charset=${charset}` }),
          "unsupported-media-type",
        );
      }
      for (const type of [
        "application/json;charset=UTF-8",
        'Application/JSON; CHARSET="utf-8"',
        "application/json; v=1",
      ]) {
        // An empty list: the media type was taken, then the body refused.
        expectProblem(await produce('{"messages":[]}', { "content-type": type }), "invalid-request");
      }
    });

    test.each([
      "",
      " ",
      "{",
      '{"messages":',
      "{'a':1}",
      `{"data":${SECRET}}`,
      "\u0000",
      '{"a":1}}',
      "NaN",
      `[${SECRET}`,
    ])("is refused as %j, which is not JSON, without a word of it being quoted", async (body) => {
      const { detail } = expectProblem(await produce(body), "invalid-request");
      expect(detail).toContain("not valid JSON");
      if (body.trim() !== "") expect(detail).not.toContain(body);
    });

    test.each([
      [[0xff]],
      [[0x7b, 0x22, 0xc3, 0x22, 0x7d]],
      [[0x22, 0xed, 0xa0, 0x80, 0x22]],
      [[0x22, 0xc0, 0xaf, 0x22]],
      [[0x22, 0xe2, 0x80]],
    ])("is refused as bytes %j, which are not UTF-8", async (bytes) => {
      const { detail } = expectProblem(await produce(new Uint8Array(bytes)), "invalid-request");
      expect(detail).toContain("UTF-8");
    });

    test.each(["gzip", "br", "deflate, gzip", "GZIP", "x"])("is refused when it is encoded as %j", async (encoding) => {
      for (const path of [MESSAGES, `${GROUP}/consume`]) {
        const answer = await worker.call("POST", path, '{"messages":[{}]}', { "content-encoding": encoding });
        const { detail } = expectProblem(answer, "unsupported-media-type");
        expect(detail).toBe(`expected a body that is not compressed, got Content-Encoding: ${encoding}`);
      }
    });

    test("is taken when it says that it is not encoded", async () => {
      const answer = await worker.call("POST", MESSAGES, '{"messages":[]}', { "content-encoding": "Identity" });
      expect(paths(expectProblem(answer, "invalid-request"))).toEqual(["messages"]);
    });

    test("is refused above 8 MiB, whether it says so or not", async () => {
      const body = " ".repeat(8 * 1024 * 1024 + 1);
      expectProblem(await produce(body), "payload-too-large");
      const chunk = `${(1024 * 1024).toString(16)}\r\n${" ".repeat(1024 * 1024)}\r\n`;
      const raw = await rawRequest(
        `POST ${MESSAGES} HTTP/1.1`,
        ["Content-Type: application/json", "Transfer-Encoding: chunked"],
        `${chunk.repeat(9)}0\r\n\r\n`,
      );
      expect(raw).toContain("HTTP/1.1 413");
      expect(raw).toContain('"code":"payload-too-large"');
    });

    test("is not stored when it was cut short, though what came is whole JSON", async () => {
      const body = '{"messages":[{"data":1}]}';
      const headers = ["Content-Type: application/json", `Content-Length: ${body.length + 10}`];
      const raw = await rawRequest(`POST ${MESSAGES} HTTP/1.1`, headers, body, { cut: true });
      expect(raw).not.toContain("HTTP/1.1 201");
      expect((await worker.call("GET", STREAM)).json.length).toBe(0);
    });
  });

  describe("by its query", () => {
    test.each([
      ["limit", "limit=0"],
      ["limit", "limit=1001"],
      ["limit", "limit=ten"],
      ["limit", "limit="],
      ["limit", "limit=1.0"],
      ["limit", "limit=-1"],
      ["limit", "limit=1e2"],
      ["limit", "limit=99999999999999999999"],
      ["limit", "limit=1&limit=2"],
      ["limit", "limit=1&limit=1"],
      ["cursor", "cursor=x"],
      ["cursor", "cursor=1"],
      ["cursor", "cursor=(1-0"],
      ["cursor", "cursor=18446744073709551616-0"],
      ["start", "start=yesterday"],
      ["start", "start=2024-02-30"],
      ["start", "start=%2B&start=-"],
      ["end", "end=1-2-3"],
      ["end", "end=latest"],
      ["order", "order=up"],
      ["foo", "foo=1"],
      ["__proto__", "__proto__=1"],
      ["LIMIT", "LIMIT=1"],
    ])("at %s in ?%s is refused", async (path, query) => {
      expect(paths(expectProblem(await worker.call("GET", `${MESSAGES}?${query}`), "invalid-request"))).toEqual([path]);
    });

    test("is refused on routes that take none", async () => {
      expectProblem(await worker.call("GET", `${STREAM}?x=1`), "invalid-request");
      expectProblem(await worker.call("DELETE", `${STREAM}?force=true`), "invalid-request");
      expectProblem(await worker.call("GET", `${GROUP}/pending?minIdleMs=-1`), "invalid-request");
      expectProblem(await worker.call("GET", `${GROUP}/dead-letters?reason=bad`), "invalid-request");
      expectProblem(await worker.call("GET", "/v1/streams?cursor=%40x"), "invalid-request");
    });
  });

  describe("by its Idempotency-Key", () => {
    test.each(["", "\u00e9", "a b", "a\tb", "a".repeat(256)])("%j is refused", async (key) => {
      const body = '{"messages":[{}]}';
      const headers = ["Content-Type: application/json", `Content-Length: ${body.length}`, `Idempotency-Key: ${key}`];
      const raw = await rawRequest(`POST ${MESSAGES} HTTP/1.1`, headers, body);
      expect(raw).toMatch(/^HTTP\/1.1 400 /);
      expect(raw).toContain("Idempotency-Key: expected 1 to 255 visible ASCII characters");
    });
  });

  describe("by what it names", () => {
    test("says which of stream, group and message is not there", async () => {
      const requests: [ErrorCode, string, string, unknown?][] = [
        ["unknown-stream", "GET", "/v1/streams/none"],
        ["unknown-stream", "DELETE", "/v1/streams/none"],
        ["unknown-stream", "POST", "/v1/streams/none/messages", { messages: [{}] }],
        ["unknown-stream", "GET", "/v1/streams/none/messages"],
        ["unknown-stream", "GET", "/v1/streams/none/messages/1-0"],
        ["unknown-stream", "DELETE", "/v1/streams/none/messages/1-0"],
        ["unknown-stream", "PUT", "/v1/streams/none/groups/mail"],
        ["unknown-stream", "GET", "/v1/streams/none/groups"],
        ["unknown-stream", "GET", "/v1/streams/none/groups/mail"],
        ["unknown-stream", "DELETE", "/v1/streams/none/groups/mail"],
        ["unknown-stream", "POST", "/v1/streams/none/groups/mail/consume", { consumer: "a" }],
        ["unknown-stream", "POST", "/v1/streams/none/groups/mail/settle", {}],
        ["unknown-stream", "GET", "/v1/streams/none/groups/mail/pending"],
        ["unknown-stream", "GET", "/v1/streams/none/groups/mail/consumers"],
        ["unknown-stream", "GET", "/v1/streams/none/groups/mail/dead-letters"],
        ["unknown-group", "GET", `${STREAM}/groups/none`],
        ["unknown-group", "DELETE", `${STREAM}/groups/none`],
        ["unknown-group", "POST", `${STREAM}/groups/none/consume`, { consumer: "a" }],
        ["unknown-group", "POST", `${STREAM}/groups/none/settle`, {}],
        ["unknown-group", "GET", `${STREAM}/groups/none/consumers`],
        ["unknown-group", "GET", `${STREAM}/groups/none/dead-letters`],
        ["unknown-message", "GET", `${MESSAGES}/1-0`],
        ["unknown-message", "DELETE", `${MESSAGES}/1-0`],
        ["invalid-request", "GET", `${MESSAGES}/1`],
        ["invalid-request", "DELETE", `${MESSAGES}/*`],
      ];
      for (const [code, method, path, body] of requests) {
        const answer = await worker.call(method, path, body);
        expect(`${method} ${path} ${answer.json?.code}`).toBe(`${method} ${path} ${code}`);
        expectProblem(answer, code);
      }
    });

    test.each([
      "/v1",
      "/v1/",
      "/v1/streams/",
      `${STREAM}/`,
      `${MESSAGES}/`,
      `${STREAM}/nothing`,
      "/v2/streams",
      "//v1/streams",
      "/healthz/",
      `${STREAM}//messages`,
    ])("finds no route at %s", async (path) => {
      expectProblem(await worker.call("GET", path), "not-found");
    });

    test.each([
      ["PATCH", STREAM, "DELETE, GET, PUT"],
      ["POST", STREAM, "DELETE, GET, PUT"],
      ["OPTIONS", STREAM, "DELETE, GET, PUT"],
      ["PUT", MESSAGES, "GET, POST"],
      ["GET", `${GROUP}/consume`, "POST"],
      ["OPTIONS", `${GROUP}/settle`, "POST"],
      ["POST", `${MESSAGES}/1-0`, "DELETE, GET"],
      ["DELETE", "/v1/reaper", "GET"],
      ["POST", "/healthz", "GET"],
      ["POST", "/openapi.json", "GET"],
    ])("has no %s at %s, and says what it has", async (method, path, allow) => {
      const answer = await worker.call(method, path);
      expectProblem(answer, "method-not-allowed");
      expect(answer.headers.get("allow")).toBe(allow);
    });

    test("takes HEAD where it takes GET, and nowhere else", async () => {
      expect(await rawRequest(`HEAD ${STREAM} HTTP/1.1`)).toMatch(/^HTTP\/1.1 200 [^{]*\r\n\r\n$/);
      const refused = await rawRequest(`HEAD ${GROUP}/consume HTTP/1.1`);
      expect(refused).toMatch(/^HTTP\/1.1 405 [^{]*\r\n\r\n$/);
      expect(refused).toMatch(/\r\nallow: POST\r\n/i);
    });
  });

  describe("by its Authorization", () => {
    const withHeader = (value: string | null) =>
      rawRequest("GET /v1/streams HTTP/1.1", [], "", { authorization: value });

    test.each([
      null,
      "",
      "Bearer",
      "Bearer ",
      `Basic ${btoa(`root:${ROOT_TOKEN}`)}`,
      ROOT_TOKEN,
      `Bearer ${ROOT_TOKEN}x`,
      `Bearer ${ROOT_TOKEN.slice(0, -1)}`,
      `Bearer ${ROOT_TOKEN} ${ROOT_TOKEN}`,
      `Bearer ${ROOT_TOKEN}, Basic x`,
      `Bearer "${ROOT_TOKEN}"`,
      `Bearer ${ROOT_TOKEN.toUpperCase()}`,
      "Bearer undefined",
      "Bearer null",
      `Token ${ROOT_TOKEN}`,
    ])("is refused with %j", async (value) => {
      const raw = await withHeader(value);
      expect(raw).toMatch(/^HTTP\/1.1 401 /);
      expect(raw).toMatch(/\r\nwww-authenticate: Bearer realm="weir"\r\n/i);
      expect(raw).toContain('"code":"unauthenticated"');
      expect(raw).not.toContain(ROOT_TOKEN);
    });

    test.each([`Bearer ${ROOT_TOKEN}`, `bearer ${ROOT_TOKEN}`, `BEARER   ${ROOT_TOKEN} `])(
      "passes with %j",
      async (value) => {
        expect(await withHeader(value)).toMatch(/^HTTP\/1.1 200 /);
      },
    );

    test("tells somebody without a token nothing: not which routes there are, nor what is wrong with a body", async () => {
      for (const path of ["/v1/nothing", "/v1/streams/@x", STREAM, "/v1"]) {
        const answer = await worker.call("PATCH", path, "{", { authorization: "Bearer wrong" });
        expectProblem(answer, "unauthenticated");
      }
    });
  });

  /** What the server answers to a request that fetch would mend or refuse to send. */
  async function rawRequest(
    requestLine: string,
    headers: readonly string[] = [],
    body = "",
    { cut = false, authorization = `Bearer ${ROOT_TOKEN}` }: { cut?: boolean; authorization?: string | null } = {},
  ): Promise<string> {
    const url = worker.url();
    const socket = connect(Number(url.port), url.hostname);
    await once(socket, "connect");
    const authorize = authorization === null ? [] : [`Authorization: ${authorization}`];
    socket.write(
      [requestLine, `Host: ${url.host}`, "Connection: close", ...authorize, ...headers, "", body].join("\r\n"),
    );
    if (cut) socket.end();
    // The server may answer and close before it has read the whole body.
    socket.on("error", () => socket.destroy());
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    await once(socket, "close");
    return Buffer.concat(chunks).toString();
  }
});
