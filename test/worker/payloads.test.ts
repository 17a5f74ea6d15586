import { Buffer } from "node:buffer";
import { Redis as IoRedis } from "ioredis";
import { beforeAll, describe, expect, inject, test } from "vitest";
import { compareIds } from "../../shared/ids.ts";
import { nativeClient } from "../support/redis.ts";
import { TEST_CLIENT } from "../support/slow-log.ts";
import { type Answer, startWorker } from "../support/worker.ts";

const worker = startWorker();
const key = (stream: string) => `${worker.prefix}{${stream}}`;

/** A stream with a group that reads all of it. */
async function makeStream(name: string, settings: object = {}): Promise<void> {
  expect((await worker.call("PUT", `/v1/streams/${name}`, settings)).status).toBe(201);
  expect((await worker.call("PUT", `/v1/streams/${name}/groups/mail`, { start: "earliest" })).status).toBe(201);
}

async function produce(stream: string, body: unknown, type = "application/json"): Promise<string[]> {
  const answer = await worker.call("POST", `/v1/streams/${stream}/messages`, body, { "content-type": type });
  expect({ status: answer.status, error: answer.json.detail }).toEqual({ status: 201, error: undefined });
  return answer.json.ids;
}

const consume = (stream: string, batchSize = 100) =>
  worker.call("POST", `/v1/streams/${stream}/groups/mail/consume`, { consumer: "a", batchSize });

const replay = (stream: string, query = "") => worker.call("GET", `/v1/streams/${stream}/messages${query}`);

const idsOf = (answer: Answer): string[] => answer.json.messages.map(({ id }: { id: string }) => id);

describe("a payload", () => {
  const DATA = [
    "12345678901234567890123456789",
    "-9007199254740993",
    "1.0",
    "-0",
    "-0.0",
    "1e5",
    "1E+05",
    "1e400",
    "0.1000000000000000055511151231257827",
    '{"10":1,"9":2,"b":3,"a":4}',
    '{"a":1,"a":2}',
    '{ "spaced" :\t[ 1 , 2 ] }',
    '{"__proto__":{"a":1},"constructor":null}',
    '"OK"',
    '"null"',
    '""',
    "null",
    "true",
    "false",
    "[]",
    "{}",
    '"42"',
    '"😀 é \u2028\u2029 \u007f"',
    '"\\ud83d\\ude00 \\ud800 \\u0000 \\/ \\""',
    '"}],\\"data\\":1"',
    `"${"x".repeat(60_000)}"`,
    "[".repeat(64) + "]".repeat(64),
    `"${"é".repeat(30_000)}"`,
  ];

  test("comes back by consume, replay and get as the text that it was, byte for byte", async () => {
    await makeStream("texts");
    const ids = await produce("texts", `{"messages":[${DATA.map((data) => `{"data":${data}}`).join(",")}]}`);
    const handed = await consume("texts");
    const replayed = await replay("texts");
    expect(idsOf(handed)).toEqual(ids);
    expect(idsOf(replayed)).toEqual(ids);
    for (const [i, data] of DATA.entries()) {
      const message = `"id":"${ids[i]}","type":null,"data":${data},"attributes":{}`;
      expect(handed.text.includes(message), data.slice(0, 80)).toBe(true);
      expect(replayed.text.includes(message), data.slice(0, 80)).toBe(true);
      expect((await worker.call("GET", `/v1/streams/texts/messages/${ids[i]}`)).text).toContain(message);
    }
  });

  test("of a repeated or escaped member is the one that JSON.parse sees", async () => {
    await makeStream("members");
    await produce(
      "members",
      '{"messages":[{"data":0}],"message\\u0073":[{"data":1,"data":2.0},{"\\u0064ata":3.0},{"attributes":{"a":"data"},"key":"data"}]}',
    );
    const { text, json } = await replay("members");
    expect(json.messages).toHaveLength(3);
    expect(text).toContain('"data":2.0,');
    expect(text).toContain('"data":3.0,');
    expect(json.messages[2]).not.toHaveProperty("data");
  });

  test("that is absent, null and the string null are three things", async () => {
    await makeStream("nulls");
    await produce("nulls", '{"messages":[{},{"data":null},{"data":"null"}]}');
    for (const answer of [await replay("nulls"), await consume("nulls")]) {
      const [absent, isNull, text] = answer.json.messages;
      expect(absent).not.toHaveProperty("data");
      expect(isNull).toHaveProperty("data", null);
      expect(text).toHaveProperty("data", "null");
    }
  });

  test("of 64 KiB, names and all, is taken; one byte more is not", async () => {
    await makeStream("sizes");
    const data = "x".repeat(64 * 1024 - '""'.length - "data".length);
    const ids = await produce("sizes", { messages: [{ data }] });
    const more = await worker.call("POST", "/v1/streams/sizes/messages", { messages: [{ data: `${data}x` }] });
    expect(more).toMatchObject({ status: 413, json: { code: "payload-too-large" } });
    const handed = await consume("sizes");
    expect(idsOf(handed)).toEqual(ids);
    expect(handed.json.messages[0].data).toBe(data);
  });

  test("that is no JSON comes back as the string that it was, with its type", async () => {
    await makeStream("plain");
    const texts = ["", "null", "{", '"quoted"', "OK", "42", "line\r\nbreak\u0000\u2028😀"];
    await produce("plain", { messages: texts.map((data) => ({ data, datacontenttype: "text/plain; charset=utf-8" })) });
    for (const answer of [await replay("plain"), await consume("plain")]) {
      const got = answer.json.messages.map((m: { data: string; datacontenttype: string }) => [
        m.datacontenttype,
        m.data,
      ]);
      expect(got).toEqual(texts.map((text) => ["text/plain; charset=utf-8", text]));
    }
  });

  test("that is binary comes back as the base64 that it was", async () => {
    await makeStream("binary");
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString("base64");
    const sent = ["", "AA==", "/+8=", all];
    await produce("binary", { messages: sent.map((dataBase64) => ({ dataBase64, datacontenttype: "image/png" })) });
    await produce("binary", { messages: [{ dataBase64: "AAAA" }] });
    const { messages } = (await consume("binary")).json;
    expect(messages.map((m: { dataBase64: string }) => m.dataBase64)).toEqual([...sent, "AAAA"]);
    expect(messages[0]).toMatchObject({ datacontenttype: "image/png" });
    for (const message of messages) expect(message).not.toHaveProperty("data");
  });

  test("of a type that is a kind of JSON is JSON, and keeps its type; application/json says nothing new", async () => {
    await makeStream("kinds");
    await produce(
      "kinds",
      '{"messages":[{"datacontenttype":"application/cloudevents+json","data":{"a":1.0}},{"datacontenttype":"application/json","data":[1.0]}]}',
    );
    const { text, json } = await consume("kinds");
    expect(text).toContain('"datacontenttype":"application/cloudevents+json","data":{"a":1.0}');
    expect(text).toContain('"type":null,"data":[1.0]');
    expect(json.messages[1]).not.toHaveProperty("datacontenttype");
  });

  test("comes by lines as it does by list, whatever ends the lines", async () => {
    await makeStream("lines");
    const lines =
      '\r\n{"data":1.0}\r\n\n   \n{"type":"t","data":12345678901234567890}\n\t{"data":{"10":1,"9":2}} \r\n{}';
    expect(await produce("lines", lines, "application/x-ndjson")).toHaveLength(4);
    const { text, json } = await consume("lines");
    expect(json.messages).toHaveLength(4);
    for (const data of ["1.0", "12345678901234567890", '{"10":1,"9":2}']) expect(text).toContain(`"data":${data},`);
    expect(json.messages[3]).not.toHaveProperty("data");
  });

  test("nested 100,000 deep, as another client may have stored it, harms nobody", async () => {
    await makeStream("deep");
    const deep = "[".repeat(100_000) + "]".repeat(100_000);
    await nativeClient().xadd(key("deep"), "*", "data", deep);
    await produce("deep", { messages: [{ data: 1 }] });
    const answer = await worker.call("GET", "/v1/streams/deep/messages?limit=1");
    expect(answer.text).toContain(`"data":${deep},`);
  });
});

describe("type, key and attributes", () => {
  test("come back as they were, whatever they are called and hold", async () => {
    await makeStream("attributes");
    const attributes = {
      ...Object.fromEntries(Array.from({ length: 56 }, (_, i) => [`n${i}`, `v${i}`])),
      id: "not the id",
      lease: "x",
      constructor: "c",
      "10": "ten",
      '\u2028 "é😀"': '"\\\n\u0000',
      empty: "",
      weir: "yes",
      ["a".repeat(128)]: "é",
    };
    const sent = { type: 'order."paid"\u2028😀', key: "k\n", attributes };
    const [id] = await produce("attributes", { messages: [sent] });
    for (const answer of [await replay("attributes"), await consume("attributes")]) {
      expect(answer.json.messages[0]).toMatchObject({ ...sent, id });
      expect(Object.keys(answer.json.messages[0].attributes)).toHaveLength(64);
    }
  });

  test("that are null are as if absent", async () => {
    await makeStream("absent");
    await produce("absent", { messages: [{ type: null, key: null, attributes: null, datacontenttype: null }] });
    expect((await replay("absent")).json.messages[0]).toMatchObject({ type: null, key: null, attributes: {} });
  });
});

describe("what another client wrote", () => {
  beforeAll(() => makeStream("foreign"));

  test("never breaks the batch that it is in, however odd it is", async () => {
    const redis = nativeClient();
    const stream = key("foreign");
    const many = Array.from({ length: 10_000 }, (_, i) => [`f${i}`, String(i)]).flat();
    await produce("foreign", { messages: [{ data: "first" }] });
    await redis.xadd(stream, "*", "data", '{"broken":');
    await redis.xadd(stream, "*", "data", '1},{"id":"0-0"');
    await redis.xadd(stream, "*", "data", Buffer.from([0xff, 0x00, 0xfe]));
    await redis.xadd(stream, "*", "a", Buffer.from([0xff]), Buffer.from([0xfe]), "b");
    await redis.xadd(stream, "*", ...many);
    await redis.xadd(stream, "*", "no", "data");
    await redis.xadd(stream, "*", "", "", "__proto__", "p", "data", "1", "data", "2.0");
    await redis.xadd(stream, "*", "weir-encoding", "base64", "data", "not base64");
    await redis.xadd(stream, "*", "data", "OK", "type", Buffer.from([0xff]));
    await produce("foreign", { messages: [{ data: "last" }] });

    for (const answer of [await replay("foreign"), await consume("foreign")]) {
      expect(answer.status).toBe(200);
      const messages = answer.json.messages;
      expect(messages).toHaveLength(11);
      expect(messages[0].data).toBe("first");
      expect(messages[1]).toMatchObject({ data: '{"broken":', datacontenttype: "text/plain" });
      expect(messages[2]).toMatchObject({ data: '1},{"id":"0-0"', datacontenttype: "text/plain" });
      expect(messages[3]).toMatchObject({ dataBase64: "/wD+", datacontenttype: "application/octet-stream" });
      expect(messages[4]).toMatchObject({ attributes: { "\ufffd": "b" }, attributesBase64: { a: "/w==" } });
      expect(Object.keys(messages[5].attributes)).toHaveLength(10_000);
      expect(messages[6]).toMatchObject({ attributes: { no: "data" } });
      expect(messages[6]).not.toHaveProperty("data");
      expect(messages[7]).toMatchObject({ data: 2, attributes: { "": "" } });
      expect(answer.text).toContain('"__proto__":"p"');
      expect(messages[8]).toMatchObject({ data: "not base64", datacontenttype: "text/plain" });
      expect(messages[9]).toMatchObject({ data: "OK", type: null, attributesBase64: { type: "/w==" } });
      expect(messages[10].data).toBe("last");
    }
  });

  test("and was never acknowledged goes to the dead letters whole, and can be read there", async () => {
    await makeStream("poison");
    await worker.call("PUT", "/v1/streams/poison/groups/mail", { maxDeliveries: 1 });
    const redis = nativeClient();
    const many = Array.from({ length: 10_000 }, (_, i) => [`f${i}`, String(i)]).flat();
    const ids = [
      await redis.xadd(key("poison"), "*", "data", "{", "b", Buffer.from([0xff])),
      await redis.xadd(key("poison"), "*", ...many),
      await redis.xadd(key("poison"), "*", "weir-id", "5-5", "weir-reason", "mine", "data", "1.0"),
    ];
    await consume("poison");
    await redis.call(
      "XCLAIM",
      key("poison"),
      "mail",
      "a",
      0,
      ...ids.map(String),
      "IDLE",
      60_000,
      "RETRYCOUNT",
      1,
      "JUSTID",
    );
    await consume("poison");
    const answer = await worker.call("GET", "/v1/streams/poison/groups/mail/dead-letters");
    expect(answer.status).toBe(200);
    const letters = answer.json.deadLetters;
    expect(letters.map((letter: { message: { id: string } }) => letter.message.id)).toEqual(ids);
    expect(letters[0].message).toMatchObject({ data: "{", attributesBase64: { b: "/w==" } });
    expect(Object.keys(letters[1].message.attributes)).toHaveLength(10_000);
    expect(letters[2]).toMatchObject({ reason: "max-deliveries", message: { data: 1 } });
  });
});

describe("large messages", () => {
  const COUNT = 100;
  const BYTES = 256 * 1024;

  test("of 256 KiB, 100 of them, come in batches of about 16 MiB, whole and in order", async () => {
    await makeStream("large", { maxMessageBytes: BYTES + 1024 });
    const sent = Array.from({ length: COUNT }, (_, i) => `${i}:`.padEnd(BYTES, "x"));
    const ids: string[] = [];
    for (let i = 0; i < COUNT; i += 25) {
      ids.push(...(await produce("large", { messages: sent.slice(i, i + 25).map((data) => ({ data })) })));
    }
    const got: { id: string; data: string }[] = [];
    let pollState: string | undefined;
    for (let polls = 0; got.length < COUNT && polls < 20; polls++) {
      const body = { consumer: "a", batchSize: 1_000, pollState };
      const answer = await worker.call("POST", "/v1/streams/large/groups/mail/consume", body);
      expect(answer.status).toBe(200);
      expect(answer.text.length).toBeLessThan(17 * 1024 * 1024);
      got.push(...answer.json.messages);
      pollState = answer.json.pollState;
      if (got.length < COUNT) expect(answer.json.pollAfterMs).toBe(0);
    }
    expect(got.map(({ id }) => id)).toEqual(ids);
    expect(got.every(({ data }, i) => data === sent[i])).toBe(true);

    const page = await replay("large", "?limit=1000");
    expect(page.text.length).toBeLessThan(17 * 1024 * 1024);
    expect(page.json.next).toBe(idsOf(page).at(-1));
  });
});

describe("paging through a stream", () => {
  const TIMES = [1_700_000_000_000, 1_700_000_001_000, 1_700_000_002_000];
  let ids: string[] = [];

  beforeAll(async () => {
    await makeStream("pages");
    const redis = new IoRedis(inject("redisUrl"), { protocol: 2, connectionName: TEST_CLIENT });
    ids = TIMES.flatMap((ms) => [0, 1, 2, 3].map((sequence) => `${ms}-${sequence}`));
    for (const id of ids) await redis.xadd(key("pages"), id, "data", `"${id}"`);
    redis.disconnect();
  });

  async function allPages(query: string): Promise<string[]> {
    const found: string[] = [];
    for (let cursor = "", more = true; more; ) {
      const { json } = await replay("pages", `?${query}${cursor}`);
      found.push(...json.messages.map(({ id }: { id: string }) => id));
      more = json.next !== null;
      cursor = `&cursor=${json.next}`;
      expect(found.length).toBeLessThanOrEqual(ids.length);
    }
    return found;
  }

  test.each([1, 5, 6, 11, 12, 13, 1_000])("%i at a time gives each message once, either way", async (limit) => {
    expect(await allPages(`limit=${limit}`)).toEqual(ids);
    expect(await allPages(`limit=${limit}&order=desc`)).toEqual(ids.toReversed());
    expect([...ids].sort(compareIds)).toEqual(ids);
  });

  test.each([
    ["an id", TIMES.map((ms) => `${ms}-1`), 1],
    ["milliseconds", TIMES.map(String), 0],
    ["an ISO time", TIMES.map((ms) => new Date(ms).toISOString()), 0],
    [
      "an ISO time with an offset",
      TIMES.map((ms) => new Date(ms + 7_200_000).toISOString().replace("Z", "%2B02:00")),
      0,
    ],
  ])("starts at %s, itself included", async (_, starts, sequence) => {
    for (const [i, start] of starts.entries()) {
      const expected = ids.slice(i * 4 + sequence);
      expect(await allPages(`start=${start}&limit=3`)).toEqual(expected);
      expect(await allPages(`start=${start}&limit=3&order=desc`)).toEqual(expected.toReversed());
    }
  });

  test("ends at an id, or with the whole of a millisecond", async () => {
    expect(await allPages(`end=${TIMES[1]}-1&limit=4`)).toEqual(ids.slice(0, 6));
    expect(await allPages(`end=${TIMES[1]}&limit=4`)).toEqual(ids.slice(0, 8));
    expect(await allPages(`end=${TIMES[1]}&limit=3&order=desc`)).toEqual(ids.slice(0, 8).toReversed());
    expect(await allPages(`start=${TIMES[1]}&end=${TIMES[1]}&limit=1`)).toEqual(ids.slice(4, 8));
  });

  test("takes - and + for the ends, and finds nothing where there is nothing", async () => {
    expect(await allPages("start=-&end=%2B")).toEqual(ids);
    expect(await allPages("start=%2B")).toEqual([]);
    expect(await allPages("end=-")).toEqual([]);
    expect(await allPages(`start=${TIMES[2]}&end=${TIMES[0]}`)).toEqual([]);
    expect(await allPages("start=0&end=1999-01-01")).toEqual([]);
    expect((await replay("pages", "?start=2999-01-01")).json).toEqual({ messages: [], next: null });
  });

  test("goes on where it was although messages came and went in between", async () => {
    const first = await replay("pages", "?limit=5");
    const [gone = ""] = ids.slice(4, 5);
    expect((await worker.call("DELETE", `/v1/streams/pages/messages/${gone}`)).status).toBe(204);
    expect(idsOf(await replay("pages", `?limit=3&cursor=${first.json.next}`))).toEqual(ids.slice(5, 8));
  });
});

test("ids are in the order of the messages, within a request and between requests", async () => {
  // Small messages: how many a batch may have follows from how large they may be.
  await makeStream("order", { maxMessageBytes: 1024 });
  const all: string[] = [];
  for (let i = 0; i < 5; i++)
    all.push(...(await produce("order", { messages: Array.from({ length: 1_000 }, (_, n) => ({ data: n })) })));
  expect(new Set(all).size).toBe(5_000);
  expect([...all].sort(compareIds)).toEqual(all);
  const { json } = await consume("order", 1_000);
  expect(json.messages.map(({ data }: { data: number }) => data)).toEqual(Array.from({ length: 1_000 }, (_, n) => n));
});
