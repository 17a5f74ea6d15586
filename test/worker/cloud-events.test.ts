import { Buffer } from "node:buffer";
import { CloudEvent, type CloudEventV1, HTTP } from "cloudevents";
import { describe, expect, test } from "vitest";
import { expectProblem, paths } from "../support/answers.ts";
import { nativeClient } from "../support/redis.ts";
import { type Answer, startWorker } from "../support/worker.ts";

const worker = startWorker();
const EVENT = "application/cloudevents+json";
const BATCH = "application/cloudevents-batch+json";

const messagesOf = (stream: string) => `/v1/streams/${stream}/messages`;

async function makeStream(name: string, settings: object = {}): Promise<void> {
  expect((await worker.call("PUT", `/v1/streams/${name}`, settings)).status).toBe(201);
}

function post(stream: string, body: unknown, headers: Record<string, string>): Promise<Answer> {
  return worker.call("POST", messagesOf(stream), body, headers);
}

function idsOf(answer: Answer): string[] {
  expect({ status: answer.status, error: answer.json.detail }).toEqual({ status: 201, error: undefined });
  return answer.json.ids;
}

/** What the SDK's HTTP binding makes of an event, as a request. */
function send(stream: string, { headers, body }: ReturnType<typeof HTTP.binary>, more: Record<string, string> = {}) {
  const texts = Object.entries(headers).map(([name, value]) => [name, String(value)]);
  return post(stream, body ?? "", { ...Object.fromEntries(texts), ...more });
}

/** What the SDK's HTTP binding makes of an answer; it checks each event of a batch strictly. */
function received({ headers, text }: Answer): CloudEventV1<unknown>[] {
  const found = HTTP.toEvent({ headers: Object.fromEntries(headers), body: text });
  const events = Array.isArray(found) ? found : [found];
  return events.map((event) => new CloudEvent({ ...event }, true));
}

const getEvent = async (stream: string, id = "") => {
  const answer = await worker.call("GET", `${messagesOf(stream)}/${id}`, undefined, { accept: EVENT });
  expect(answer.status).toBe(200);
  return answer;
};

const readEvents = (stream: string, query = "", accept = BATCH) =>
  worker.call("GET", `${messagesOf(stream)}${query}`, undefined, { accept });

const base = {
  id: "A234",
  source: "https://shop.example/orders#1",
  type: "order.paid",
  time: "2026-01-31T12:00:00.000Z",
};

/** Events with every kind of attribute and of data. */
const EVENTS: readonly CloudEvent<unknown>[] = [
  { ...base, data: { order: 4711, total: 12.5 }, datacontenttype: "application/json" },
  { ...base, data: [1, "two", null], datacontenttype: "application/vnd.shop+json" },
  { ...base, data: "<order/>", datacontenttype: "text/xml" },
  {
    ...base,
    data: "é😀",
    datacontenttype: "text/plain; charset=utf-8",
    subject: "parcel 7",
    dataschema: "urn:schema:1",
  },
  { ...base, data: new Uint8Array([0, 255, 1, 254]), datacontenttype: "image/png" },
  { ...base, traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", partitionkey: "4711" },
].map((event) => new CloudEvent<unknown>(event));

/** An event less what differs by the way it took. */
function plain({ weirid, data, data_base64, datacontenttype, ...rest }: Record<string, unknown>) {
  const bytes = data_base64 ?? (data instanceof Uint8Array ? Buffer.from(data).toString("base64") : undefined);
  return {
    ...rest,
    ...(bytes === undefined ? { data } : { bytes }),
    datacontenttype: data === undefined ? undefined : datacontenttype,
  };
}

describe("a CloudEvent of the SDK", () => {
  test.each(["structured", "binary"] as const)("comes back as it was when it was sent in %s mode", async (mode) => {
    await makeStream(mode);
    for (const event of EVENTS) {
      const [id] = idsOf(await send(mode, HTTP[mode](event)));
      const answer = await getEvent(mode, id);
      expect(answer.headers.get("content-type")).toBe(EVENT);
      const [got] = received(answer);
      expect(got?.weirid).toBe(id);
      expect(plain(answer.json)).toEqual(plain(event.toJSON()));
    }
  });

  test("comes back as it was when it was sent in a batch, in order", async () => {
    await makeStream("batches");
    const ids = idsOf(await post("batches", JSON.stringify(EVENTS), { "content-type": `${BATCH}; charset=UTF-8` }));
    const answer = await readEvents("batches");
    expect(answer.headers.get("content-type")).toBe(BATCH);
    const got = received(answer);
    expect(got.map(({ weirid }) => weirid)).toEqual(ids);
    expect(answer.json.map(plain)).toEqual(EVENTS.map((event) => plain(event.toJSON())));
  });

  test("has extensions that keep their type, which headers cannot tell", async () => {
    await makeStream("types");
    const extensions = {
      sequence: 42,
      negative: -7,
      zero: 0,
      retried: true,
      last: false,
      digits: "42",
      yes: "true",
      empty: "",
    };
    const event = new CloudEvent({ ...base, ...extensions });
    const [asJson = ""] = idsOf(await send("types", HTTP.structured(event)));
    expect((await getEvent("types", asJson)).json).toMatchObject(extensions);
    const [asHeaders] = idsOf(await send("types", HTTP.binary(event)));
    const texts = Object.fromEntries(Object.entries(extensions).map(([name, value]) => [name, String(value)]));
    // Servers drop headers with nothing in them.
    expect((await getEvent("types", asHeaders)).json).toMatchObject(
      Object.fromEntries(Object.entries(texts).filter(([, text]) => text !== "")),
    );
    expect((await worker.call("GET", `${messagesOf("types")}/${asJson}`)).json.attributes).toEqual({
      "ce-specversion": "1.0",
      "ce-id": "A234",
      "ce-source": base.source,
      "ce-time": base.time,
      ...Object.fromEntries(Object.entries(texts).map(([name, value]) => [`ce-${name}`, value])),
    });
  });

  test("is a message like any other: type, data and media type, the rest as attributes, its partition key as the key", async () => {
    await makeStream("consumed");
    await worker.call("PUT", "/v1/streams/consumed/groups/mail", { start: "earliest" });
    await send(
      "consumed",
      HTTP.structured(new CloudEvent({ ...base, partitionkey: "4711", data: "x", datacontenttype: "text/xml" })),
    );
    const { json } = await worker.call("POST", "/v1/streams/consumed/groups/mail/consume", { consumer: "a" });
    expect(json.messages).toMatchObject([
      {
        ...{ type: "order.paid", data: "x", datacontenttype: "text/xml", key: "4711" },
        attributes: {
          "ce-specversion": "1.0",
          "ce-id": "A234",
          "ce-source": base.source,
          "ce-time": base.time,
          "ce-partitionkey": "4711",
        },
      },
    ]);
  });

  test("is appended again when it comes again: only an Idempotency-Key tells a repeat, whatever the mode", async () => {
    await makeStream("repeats");
    const event = new CloudEvent({ ...base, data: 1 });
    const first = idsOf(await send("repeats", HTTP.structured(event)));
    expect(idsOf(await send("repeats", HTTP.structured(event)))).not.toEqual(first);
    const once = { "idempotency-key": "k" };
    const kept = idsOf(await send("repeats", HTTP.structured(event), once));
    const batch = JSON.stringify([event], null, 1);
    for (const answer of [
      await send("repeats", HTTP.structured(event), once),
      await post("repeats", batch, { "content-type": BATCH, ...once }),
    ]) {
      expect(idsOf(answer)).toEqual(kept);
      expect(answer.headers.get("idempotency-replayed")).toBe("true");
    }
    const other = await send("repeats", HTTP.structured(event.cloneWith({ id: "other" })), once);
    expectProblem(other, "idempotency-mismatch");
    expect((await worker.call("GET", "/v1/streams/repeats")).json.length).toBe(3);
  });

  test("costs what any message costs", async () => {
    await makeStream("costs");
    const answers = [
      await post("costs", { messages: [{}] }, {}),
      await send("costs", HTTP.structured(new CloudEvent(base))),
      await send("costs", HTTP.binary(new CloudEvent(base))),
    ];
    const desc = answers.map(({ headers }) => headers.get("server-timing")?.replace(/dur=[\d.]+/, ""));
    expect(desc).toEqual([
      'redis;;desc="2 commands, 1 round trip"',
      'redis;;desc="2 commands, 1 round trip"',
      'redis;;desc="2 commands, 1 round trip"',
    ]);
  });
});

describe("data", () => {
  const DATA = [
    "12345678901234567890123456789",
    "1.0",
    "-0",
    '{"10":1,"9":2}',
    '"\\ud800"',
    '{ "a" :\t[ ] }',
    "null",
    '"OK"',
  ];
  const event = (data: string) => `{"specversion":"1.0","id":"1","source":"/","type":"t", "d\\u0061ta": ${data} }`;

  test("is kept byte for byte, in every mode", async () => {
    await makeStream("texts");
    const singles = await Promise.all(
      DATA.flatMap((data) => [
        post("texts", event(data), { "content-type": EVENT }),
        post("texts", data, {
          "content-type": "application/json",
          "ce-specversion": "1.0",
          "ce-id": "1",
          "ce-source": "/",
          "ce-type": "t",
        }),
      ]),
    );
    const single = singles.flatMap(idsOf);
    const batch = idsOf(await post("texts", ` [ ${DATA.map(event).join(" , ")} ] `, { "content-type": BATCH }));
    for (const [i, data] of DATA.entries()) {
      for (const id of [single[2 * i], single[2 * i + 1], batch[i]]) {
        expect((await getEvent("texts", id)).text).toContain(`"datacontenttype":"application/json","data":${data}}`);
        expect((await worker.call("GET", `${messagesOf("texts")}/${id}`)).text).toContain(`"data":${data},`);
      }
    }
  });

  test("that is absent, null, empty text, empty bytes: each comes back as it was", async () => {
    await makeStream("nothing");
    const head = '"specversion":"1.0","id":"1","source":"/","type":"t"';
    const parts = [
      "",
      ',"data":null',
      ',"datacontenttype":"text/plain","data":""',
      ',"data_base64":""',
      ',"data_base64":null',
    ];
    idsOf(await post("nothing", `[${parts.map((part) => `{${head}${part}}`).join(",")}]`, { "content-type": BATCH }));
    const { json } = await readEvents("nothing");
    expect(json[0]).not.toHaveProperty("data");
    expect(json[1]).toHaveProperty("data", null);
    expect(json[2]).toMatchObject({ data: "", datacontenttype: "text/plain" });
    expect(json[3]).toHaveProperty("data_base64", "");
    expect(json[4]).not.toHaveProperty("data_base64");
  });

  test("that a header says is JSON, and that is none, is kept as the bytes that it is", async () => {
    await makeStream("broken");
    const headers = { "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/", "ce-type": "t" };
    const [id] = idsOf(await post("broken", "{", { ...headers, "content-type": "application/json" }));
    expect((await getEvent("broken", id)).json).toMatchObject({
      datacontenttype: "application/json",
      data_base64: "ew==",
    });
  });
});

describe("headers", () => {
  const needed = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "/",
    "ce-type": "t",
    "content-type": "text/plain",
  };

  test("are percent-decoded, once, and out of quotes", async () => {
    await makeStream("headers");
    const values: [string, string][] = [
      ["Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"],
      ["a%2520b", "a%20b"],
      ["100%", "100%"],
      ["%zz%", "%zz%"],
      ['"a \\"b\\" %41"', 'a "b" A'],
      ['a"b', 'a"b'],
    ];
    for (const [sent, expected] of values) {
      const [id] = idsOf(await post("headers", "", { ...needed, "CE-Note": sent }));
      expect((await getEvent("headers", id)).json.note, sent).toBe(expected);
    }
  });

  test("that are wrong are named, all of them", async () => {
    await makeStream("wrong-headers");
    const refused = async (headers: Record<string, string>) =>
      paths(expectProblem(await post("wrong-headers", "p4yl0ad", headers), "invalid-request"));
    expect(await refused({ "content-type": "text/plain", "ce-id": "1" })).toEqual([
      "ce-specversion",
      "ce-source",
      "ce-type",
    ]);
    expect(await refused({ ...needed, "ce-specversion": "0.3", "ce-source": "a b" })).toEqual([
      "ce-specversion",
      "ce-source",
    ]);
    expect(await refused({ ...needed, "ce-time": "noon" })).toEqual(["ce-time"]);
    expect(await refused({ ...needed, "ce-a": "%C0%A0", "ce-b": "%ff", "ce-data": "x" })).toEqual([
      "ce-a",
      "ce-b",
      "ce-data",
    ]);
    expect(await refused({ ...needed, "ce-x-y": "x", "ce-__proto__": "x" })).toEqual(["ce-__proto__", "ce-x-y"]);
    expect(await refused({ ...needed, "ce-subject": "%0A" })).toEqual(["ce-subject"]);
    expect(await refused({ ...needed, "ce-subject": "caf\u00e9" })).toEqual(["ce-subject"]);
    expectProblem(await post("wrong-headers", "", { ...needed, "content-type": "json" }), "unsupported-media-type");
    expect((await worker.call("GET", "/v1/streams/wrong-headers")).json.length).toBe(0);
  });

  test("beside a body that is an event itself say nothing", async () => {
    await makeStream("both");
    const body = { specversion: "1.0", id: "in the body", source: "/", type: "t" };
    const [id] = idsOf(await post("both", body, { "content-type": EVENT, "ce-id": "in a header" }));
    expect((await getEvent("both", id)).json.id).toBe("in the body");
  });
});

describe("an event that is not right", () => {
  const event = { specversion: "1.0", id: "1", source: "/", type: "t" };
  const one = (change: object, stream = "wrong") => post(stream, { ...event, ...change }, { "content-type": EVENT });

  test.each<[string, object]>([
    ["specversion", { specversion: "0.3" }],
    ["specversion", { specversion: 1 }],
    ["id", { id: "" }],
    ["id", { id: null }],
    ["id", { id: 7 }],
    ["id", { id: "a\nb" }],
    ["source", { source: "" }],
    ["source", { source: "not a URI" }],
    ["type", { type: "" }],
    ["type", { type: "x".repeat(1_025) }],
    ["subject", { subject: "" }],
    ["time", { time: "2026-02-30T00:00:00Z" }],
    ["time", { time: 1_700_000_000_000 }],
    ["dataschema", { dataschema: "/relative" }],
    ["partitionkey", { partitionkey: "" }],
    ["partitionkey", { partitionkey: 7 }],
    ["datacontenttype", { datacontenttype: "text" }],
    ["data", { datacontenttype: "text/plain", data: { a: "p4yl0ad" } }],
    ["data_base64", { data_base64: "p4yl0ad" }],
    ["data_base64", { data: 1, data_base64: "AAAA" }],
    ["Upper", { Upper: "x" }],
    ["a-b", { "a-b": "x" }],
    ["a".repeat(126), { ["a".repeat(126)]: "x" }],
    ["ext", { ext: 1.5 }],
    ["ext", { ext: 2 ** 31 }],
    ["ext", { ext: { a: 1 } }],
    ["ext", { ext: ["p4yl0ad"] }],
    ["ext", { ext: "a\u0000" }],
    ["ext", { ext: "\ud800" }],
  ])("is refused at %s: %j", async (path, change) => {
    await worker.call("PUT", "/v1/streams/wrong");
    expect(paths(expectProblem(await one(change), "invalid-request"))).toEqual([path]);
    const batch = [event, { ...event, ...change }];
    const answer = await post("wrong", batch, { "content-type": BATCH });
    expect(paths(expectProblem(answer, "invalid-request"))).toEqual([`messages[1].${path}`]);
    expect((await worker.call("GET", "/v1/streams/wrong")).json.length).toBe(0);
  });

  test("is refused when it is no object, or names __proto__, however that is spelled", async () => {
    for (const body of ["[]", "1", "null", '"p4yl0ad"']) {
      expectProblem(await post("wrong", body, { "content-type": EVENT }), "invalid-request");
    }
    for (const name of ["__proto__", "\\u005f_proto__"]) {
      const body = `${JSON.stringify(event).slice(0, -1)},"${name}":"x"}`;
      const answer = await post("wrong", body, { "content-type": EVENT });
      expect(paths(expectProblem(answer, "invalid-request"))).toEqual(["__proto__"]);
    }
  });

  test("has at most 64 attributes beside its type and its data, and names of 125 characters", async () => {
    await makeStream("many");
    const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`a${i}`, "x"]));
    const full = { ...many(60), ["a".repeat(125)]: "x", datacontenttype: "text/plain", data: "" };
    expect((await one(full, "many")).status).toBe(201);
    expect(Object.keys((await readEvents("many")).json[0])).toHaveLength(64 + 3 + 1);
    expect(paths(expectProblem(await one({ ...full, more: "x" }, "many"), "invalid-request"))).toEqual([""]);
    expect(paths(expectProblem(await one(many(100_000), "many"), "invalid-request"))).toEqual([""]);
  });

  test("is refused with its data nested too deeply, which is named", async () => {
    const deep = (levels: number) =>
      `${JSON.stringify(event).slice(0, -1)},"data":${"[".repeat(levels)}${"]".repeat(levels)}}`;
    await makeStream("deep");
    expect((await post("deep", deep(64), { "content-type": EVENT })).status).toBe(201);
    expect((await post("deep", `[${deep(64)}]`, { "content-type": BATCH })).status).toBe(201);
    const single = expectProblem(await post("deep", deep(65), { "content-type": EVENT }), "invalid-request");
    expect(paths(single)).toEqual(["data"]);
    const batch = await post("deep", `[${deep(1)},${deep(65)}]`, { "content-type": BATCH });
    expect(paths(expectProblem(batch, "invalid-request"))).toEqual(["messages[1].data"]);
  });

  test("is refused as a batch of none, of more than 1,000, or that is no list", async () => {
    await makeStream("counts");
    const batch = (count: number) =>
      post(
        "counts",
        Array.from({ length: count }, () => event),
        { "content-type": BATCH },
      );
    expect(idsOf(await batch(1_000))).toHaveLength(1_000);
    for (const answer of [await batch(0), await batch(1_001), await post("counts", event, { "content-type": BATCH })]) {
      expect(paths(expectProblem(answer, "invalid-request"))).toEqual(["messages"]);
    }
    expectProblem(await post("counts", "{", { "content-type": BATCH }), "invalid-request");
    expect((await worker.call("GET", "/v1/streams/counts")).json.length).toBe(1_000);
  });

  test("is refused when it is larger than the stream takes", async () => {
    const batch = [event, { ...event, data: "p4yl0ad".repeat(10_000) }];
    const answer = await post("counts", batch, { "content-type": BATCH });
    expect(paths(expectProblem(answer, "payload-too-large"))).toEqual(["messages[1]"]);
  });

  test("is refused in another format, charset or coding", async () => {
    for (const type of ["application/cloudevents+xml", "application/cloudevents", `${EVENT}; charset=latin1`]) {
      expectProblem(await post("counts", event, { "content-type": type }), "unsupported-media-type");
    }
    const coded = { "content-type": EVENT, "content-encoding": "gzip" };
    expectProblem(await post("counts", event, coded), "unsupported-media-type");
    const inQuery = await worker.call("POST", `${messagesOf("counts")}?type=x&key=y`, event, { "content-type": EVENT });
    expect(paths(expectProblem(inQuery, "invalid-request"))).toEqual(["type", "key"]);
    expectProblem(await post("none", event, { "content-type": EVENT }), "unknown-stream");
  });
});

describe("messages as CloudEvents", () => {
  test("are valid events, also those that did not come as such, and those of another client", async () => {
    await makeStream("mixed");
    await post(
      "mixed",
      { messages: [{ type: "a", key: "k", data: 1, attributes: { source: "shop", note: "n" } }, {}] },
      {},
    );
    await post("mixed", EVENTS, { "content-type": BATCH });
    const redis = nativeClient();
    const key = `${worker.prefix}{mixed}`;
    await redis.xadd(key, "*", "data", "{", "type", Buffer.from([0xff]), "a", Buffer.from([0xff]), "ce-id", "7");
    await redis.xadd(key, "18446744073709551615-0", "", "", "datacontenttype", "odd", "data", "x");
    const answer = await readEvents("mixed");
    const events = received(answer);
    expect(events).toHaveLength(2 + EVENTS.length + 2);
    expect(events[0]).toMatchObject({ source: "/v1/streams/mixed", type: "a", partitionkey: "k", note: "n", data: 1 });
    expect(events[0]?.id).toBe(events[0]?.weirid);
    expect(answer.headers.get("link")).toBe(null);
    for (const { weirid } of events) received(await getEvent("mixed", String(weirid)));
  });

  test("come by pages, each with a link to the next", async () => {
    await makeStream("pages");
    const ids = idsOf(await post("pages", { messages: Array.from({ length: 7 }, (_, data) => ({ data })) }, {}));
    for (const [query, expected] of [
      ["?limit=3", ids],
      ["?limit=2&order=desc&start=-&end=%2B", ids.toReversed()],
    ] as const) {
      const found: unknown[] = [];
      let path: string | undefined = messagesOf("pages") + query;
      for (let pages = 0; path !== undefined && pages < 10; pages++) {
        const answer: Answer = await worker.call("GET", path, undefined, { accept: BATCH });
        found.push(...received(answer).map(({ weirid }) => weirid));
        const [, link] = /^<([^>]*)>; rel="next"$/.exec(answer.headers.get("link") ?? "") ?? [];
        const next: URL | undefined = link === undefined ? undefined : new URL(link, new URL(path, worker.url()));
        path = next && next.pathname + next.search;
      }
      expect(found).toEqual(expected);
    }
    expect((await readEvents("pages", "?start=2999-01-01")).text).toBe("[]");
  });

  test.each([
    ["*/*", false],
    ["application/*", false],
    ["text/html", false],
    [BATCH, true],
    [BATCH.toUpperCase(), true],
    [`text/html, ${BATCH};q=0.5, */*;q=0.1`, true],
    [`${BATCH};q=0.5, application/json`, false],
    [`application/json;q=0.5, ${BATCH};q=0.6`, true],
    [`${BATCH};q=0`, false],
    [EVENT, false],
    ["", false],
    [",;=,", false],
  ])("are answered to Accept: %s: %s", async (accept, areEvents) => {
    await worker.call("PUT", "/v1/streams/accepted");
    const answer = await readEvents("accepted", "", accept);
    expect(answer.headers.get("content-type")).toBe(areEvents ? BATCH : "application/json");
    expect(answer.headers.get("vary")).toBe("Accept");
  });

  test("are problems where there is none", async () => {
    await makeStream("empty");
    expectProblem(await readEvents("none"), "unknown-stream");
    expectProblem(
      await worker.call("GET", `${messagesOf("empty")}/1-0`, undefined, { accept: EVENT }),
      "unknown-message",
    );
  });
});
